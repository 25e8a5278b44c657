//! The [`kernel::bus::Bus`] port on RabbitMQ: an exchange for each service, a stream for each of its lanes.
//!
//! `streams` says what is on the broker, and what must be so. A stream is a log that any number of groups read without changing it
//! (`log`, `tap`). Who of a group receives it and how far the group has come are entries in a stream of the group's own (`book`), whose
//! order decides who was first (`fold`). The rest is [`kernel::bus::log`]. See docs/decisions/0018-rabbitmq.md.

mod batch;
mod book;
mod bus;
mod connect;
mod connection;
mod failure;
mod fold;
mod log;
mod opening;
mod options;
mod place;
mod publisher;
mod streams;
mod tap;

pub use crate::bus::RabbitmqBus;
pub use crate::failure::OpenError;
pub use crate::options::{MAX_AGE_DEFAULT, PREFIX_DEFAULT, RabbitmqOptions};
