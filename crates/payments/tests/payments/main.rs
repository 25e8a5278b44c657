//! Payments from the outside: the facade and the routes on memory stores, with a provider on a bad line.

#![expect(clippy::unwrap_used, reason = "a fixture that is not valid should stop the test")]

mod faults;
mod golden;
mod interleavings;
mod ledgers;
mod pay;
mod refunds;
mod repeats;
mod routes;
mod shop;
