//! The contract on the outside, row by row, against the real binary: whom an answer is for, its status, its headers and
//! its body, and what is refused.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[path = "../books.rs"]
mod books;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
#[path = "../support.rs"]
mod support;

mod bodies;
mod catalog;
mod conventions;
mod erasure;
mod events;
mod history;
mod idempotency;
mod limits;
mod lists;
mod notifications;
mod operations;
mod orders;
mod payments;
mod placing;
mod sessions;
mod stock;
mod tokens;
mod users;
mod versions;

/// The id part of a well-formed id from 2023 that nothing has.
const UNKNOWN: &str = "01h455vb4pex5vsknk084sn02q";
