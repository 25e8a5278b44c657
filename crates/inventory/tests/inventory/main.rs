//! The inventory on memory stores, with the journals of the catalogue and of the orders in the tests' hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod books;
mod buyers;
mod facade;
mod http;
mod lifecycle;
mod replicas;
mod restart;
mod shop;
mod waiting;
