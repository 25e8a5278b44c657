//! The [`kernel::bus::Bus`] port on NATS JetStream: a stream for each service, a subject for each lane.
//!
//! `streams` says what is on the server, and what must be so. A lane is read by a consumer that the server forgets by itself
//! (`reader`); how far a group has come in it (`cursors`) and who receives it (`ledger`) are keys in one bucket. So what was
//! not acknowledged comes again as soon as somebody reads from the cursor, and in order. See
//! docs/decisions/0014-brokers.md.

mod bus;
mod connect;
mod cursors;
mod failure;
mod ledger;
mod options;
mod reader;
mod streams;
mod subscription;

pub use crate::bus::NatsBus;
pub use crate::failure::OpenError;
pub use crate::options::{MAX_AGE_DEFAULT, NatsOptions, PREFIX_DEFAULT};
