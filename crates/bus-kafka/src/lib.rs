//! The [`kernel::bus::Bus`] port on Apache Kafka: a topic for each service, a partition for each lane.
//!
//! `kafka-protocol` has the words of the protocol; who says them to whom is here, because no client keeps a lane with a handler
//! that takes long while others come and go (docs/decisions/0017-kafka.md). `topics` says what is on the brokers, and what
//! must be so; `publisher` writes, idempotently; `log` reads a lane from the cursor of its group on, and keeps the cursor as
//! the group's offset. Who receives which lanes is agreed by Kafka's own group protocol (`membership`), under an assignment
//! of our own (`assignment`).

mod api;
mod assignment;
mod bus;
mod client;
mod connection;
mod coordinator;
mod dialer;
mod failure;
mod log;
mod membership;
mod options;
mod publisher;
mod sasl;
mod topics;

pub use crate::bus::KafkaBus;
pub use crate::failure::OpenError;
pub use crate::options::{KafkaOptions, MAX_AGE_DEFAULT, PREFIX_DEFAULT};
