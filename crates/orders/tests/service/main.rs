//! The orders service on memory stores, with the events of all other services in the test's hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod erasure;
mod listing;
mod placing;
mod process;
mod rebuild;
mod refusals;
mod shop;
mod stored;
mod texts;
