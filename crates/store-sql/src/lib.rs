//! The [`kernel::store::Store`] port on SQL databases.
//!
//! `schema` says what the tables are and `statements` what is done with them, both as SQL text made once from the
//! declared collections; `plan` says what a store lacks that is there. An adapter (`sqlite`, `postgres`, `mysql`) adds
//! connections, transactions and the reading of rows.

mod dialect;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod network;
mod open;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod packets;
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod reach;
mod rows;
mod schema;
mod sqlite;
mod statements;

#[cfg(feature = "mysql")]
pub use crate::mysql::{MysqlOptions, MysqlStore};
pub use crate::open::OpenError;
#[cfg(feature = "postgres")]
pub use crate::postgres::{PostgresOptions, PostgresStore};
pub use crate::sqlite::{SqliteOptions, SqliteStore, check_unused, snapshot};
