//! The [`kernel::store::Store`] port on SQL databases.
//!
//! `schema` says what the tables are and `statements` what is done with them, both as SQL text made once from the
//! declared collections; an adapter (`sqlite`) adds connections, transactions and the reading of rows.

mod schema;
mod sqlite;
mod statements;

pub use crate::sqlite::{OpenError, SqliteOptions, SqliteStore};
