//! The time as somebody outside of the shop sees it.

use std::time::Instant;

/// Now, for commands that wait for a server or measure one. Nothing in the shop is decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "a command looks at another process from outside; nothing is decided by this time"
)]
pub fn now() -> Instant {
    Instant::now()
}
