//! The [`kernel::store::Store`] port on MongoDB: a database for each service, on a replica set.
//!
//! `names` says what the collections are and `rows` what is in them. A commit is one transaction (`commit`); what is
//! read is read as of one time, at or after this handle's last commit (`sessions`).

mod abandoned;
mod commit;
mod connect;
mod each;
mod failure;
mod names;
mod open;
mod page;
mod rows;
mod sessions;
mod snapshot;
mod store;
mod transaction;

pub use crate::failure::OpenError;
pub use crate::store::{MongodbOptions, MongodbStore};
