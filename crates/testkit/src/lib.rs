//! What tests share: given/when/then for aggregates, a service on memory stores, contract suites for adapters.

pub mod aggregate;
pub mod faults;
pub mod harness;
pub mod store_suite;
