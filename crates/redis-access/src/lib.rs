//! How a Redis is reached: what its URL says, over TLS or not, and what to do about it where it is not.
//!
//! For the adapters that speak to one. What they need of it besides, each finds out for itself.
#![warn(missing_docs)]

mod failure;
mod place;
mod prefix;

pub use failure::{AccessError, code, words};
pub use place::Place;
pub use prefix::Prefix;
