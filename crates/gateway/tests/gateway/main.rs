//! What the gateway promises, with services that only say what reached them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod answers;
mod bodies;
mod dead_letters;
mod fixture;
mod journals;
mod limits;
mod live;
mod pages;
mod pool;
mod routing;
