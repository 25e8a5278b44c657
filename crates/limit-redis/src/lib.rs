//! The [`RateLimiter`](gateway::RateLimiter) port on Redis: gateways that name the same one count together.
//!
//! # What is on the server
//!
//! Under keys that all begin with the prefix, here `TRADEWIND`, one for each subject whose quota is not whole:
//!
//! | key | type | what |
//! |---|---|---|
//! | `TRADEWIND:limit:user:018f6d2c…` | string | when the quota will be whole again: seconds and nanoseconds of the server's clock |
//!
//! The subject is an address or a user's id, in hexadecimal. A key expires at the moment that it names. So a subject costs about
//! 150 bytes for as long as what it has used takes to come back: 9 s after one request of `100/15m`, and never longer than the
//! window. Nothing of it has to survive a restart: a server without an append-only file will do, and one that evicts keys.
//!
//! One script (`take.lua`) asks and counts in one step, by the
//! [generic cell rate algorithm](https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm), and with one command that writes.
//!
//! # When it is away
//!
//! A request waits for the server at most [`ANSWER_MAX`]. From the first one that waited in vain, or was told an error, the server
//! is not asked: each gateway counts for itself, in a [`LocalLimiter`](gateway::limit::LocalLimiter), so that a shop has limits all
//! the same. Once a second the server is tried with a request of nobody's, and asked again from when it has counted that. A
//! connection that the server has closed is made again at once. So requests do not notice how long an outage lasts, and the log
//! tells of each once when it begins and once when it is over.
//!
//! A full server (`maxmemory` with `noeviction`) is away for as long as it is full.
#![warn(missing_docs)]

mod count;
mod failure;
mod limiter;
mod link;
mod options;
mod server;

pub use crate::failure::OpenError;
pub use crate::limiter::RedisLimiter;
pub use crate::options::{ANSWER_MAX, RedisLimiterOptions};
