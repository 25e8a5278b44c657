//! What every service stands on: ports to databases and brokers, the group-commit writer, reactions, timers, effects
//! and the HTTP kit.
#![warn(missing_docs)]

pub mod access;
pub mod aggregate;
pub mod auth;
pub mod bus;
mod cache;
pub mod clock;
mod complaint;
pub mod context;
pub mod deadline;
pub mod document;
pub mod effect;
pub mod embedded;
pub mod engine;
pub mod erasure;
pub mod event;
pub mod feed;
pub mod freshness;
pub mod http;
pub mod idempotency;
pub mod lease;
pub mod memory;
mod overlay;
mod owner;
mod problem;
pub mod reaction;
pub mod reader;
pub mod rebuild;
pub mod relay;
pub mod secret;
pub mod store;
pub mod unit;
pub mod wire;
pub mod writer;
