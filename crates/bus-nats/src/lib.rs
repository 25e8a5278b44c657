//! The [`kernel::bus::Bus`] port on NATS JetStream: a stream for each service, a subject for each lane.
//!
//! `streams` says what is on the server, and what must be so. A lane is read by a consumer that the server forgets by itself
//! (`log`); how far a group has come in it and who receives it are keys in one bucket (`bucket`). What follows from that is
//! the same over any log: [`kernel::bus::log`]. See docs/decisions/0014-brokers.md.

mod bucket;
mod bus;
mod connect;
mod failure;
mod log;
mod options;
mod streams;

pub use crate::bus::NatsBus;
pub use crate::failure::OpenError;
pub use crate::options::{MAX_AGE_DEFAULT, NatsOptions, PREFIX_DEFAULT};
