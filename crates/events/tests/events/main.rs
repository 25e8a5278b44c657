//! The event service on memory stores: the log, live streams, routes.

#![expect(clippy::unwrap_used, reason = "a fixture that is not valid should stop the test")]

mod http;
mod live;
mod log;
mod rig;
