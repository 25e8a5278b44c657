//! What tests share: given/when/then for aggregates, a service on memory stores, the audit of a whole shop, contract suites for adapters.

pub mod aggregate;
pub mod books;
pub mod bus_suite;
pub mod faults;
pub mod harness;
#[cfg(feature = "limiters")]
pub mod limiter_suite;
pub mod line;
pub mod lives;
pub mod released;
pub mod store_suite;
