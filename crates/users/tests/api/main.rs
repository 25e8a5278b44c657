//! The users service over HTTP, on a memory store.
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that is not as expected should stop the test"
)]

mod access;
mod accounts;
mod admins;
mod authorisation;
mod erasure;
mod fixture;
mod idempotency;
mod passwords;
mod sessions;
