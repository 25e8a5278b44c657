//! Opening a file: whose it is, which form it has, and what the schema declares beyond it.

mod collections;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::schema;
use crate::sqlite::SqliteOptions;

/// "TWND": marks a file as ours, where SQLite's own tools and `file` look for it.
const APPLICATION_ID: i32 = 0x5457_4E44;

/// How long a statement waits for another process that has the file, such as a person's shell.
const BUSY_MS: u64 = 5_000;

/// Memory for pages of each writing connection. Reading ones share the operating system's copy of the file.
const WRITER_CACHE_KIB: i64 = 4 * 1024;

/// Shapes of queries whose statements a reading connection keeps.
const READER_STATEMENTS_MAX: usize = 256;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The declared schema cannot be kept: a mistake in the program.
    #[error("the schema is wrong: {0}")]
    Schema(String),
    /// Something else is in that file.
    #[error("{path} is not a Tradewind store: {reason}")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        reason: &'static str,
    },
    /// SQLite would open it all the same, and refuse each write.
    #[error("{0} is read-only: let this user write it, and its directory")]
    ReadOnly(PathBuf),
    /// A newer binary has migrated it.
    #[error("the store is of form {found}, and this version of tradewind knows forms up to {known}: use a newer one")]
    Newer {
        /// The form of the store.
        found: i64,
        /// The last form that this binary knows.
        known: usize,
    },
    /// The number of lanes is fixed when a store is made.
    #[error("the store was made with {stored} lanes, and {declared} are configured: set the number back to {stored}")]
    Lanes {
        /// Of the store.
        stored: usize,
        /// Of the configuration.
        declared: u16,
    },
    /// Documents are there that lack what the schema declares about them.
    #[error("collection {collection}: {reason}; {remedy}")]
    Columns {
        /// Which.
        collection: &'static str,
        /// What is different.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// An earlier rebuild was cut short.
    #[error("a rebuild was not finished, and {0} is incomplete: run it again")]
    Unfinished(String),
    /// The database said no.
    #[error("the database cannot be opened: {0}")]
    Database(#[from] rusqlite::Error),
    /// The row of `head` is not readable.
    #[error(transparent)]
    Head(#[from] kernel::store::StoreError),
    /// Of the two that every store has.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// Makes the file for its owner alone, if it is not there; the log and its index take after it.
fn make_private(path: &Path) {
    // Where it cannot be made, opening it says why.
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// The connection that writes, to a file that has everything the schema declares.
pub(super) fn writer(options: &SqliteOptions) -> Result<Connection, OpenError> {
    options.schema.check().map_err(OpenError::Schema)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    make_private(&options.path);
    let mut connection = Connection::open_with_flags(&options.path, flags)?;
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Err(OpenError::ReadOnly(options.path.clone()));
    }
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    // Before anything is written: even the journal mode would change a file that is not ours.
    let new = is_new(&connection, &options.path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| match row.get_ref(0)?.as_str()? {
        "wal" => Ok(()),
        other => Err(rusqlite::Error::InvalidParameterName(format!(
            "its log cannot be write-ahead but is {other}"
        ))),
    })?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // `checkpoint` does it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;

    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if new {
        transaction.execute_batch(schema::JOURNAL)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let lanes = serde_json::json!(vec![0; usize::from(options.schema.lanes)]).to_string();
        let epoch = options.new_epoch.to_string();
        let head = "INSERT INTO head (one, epoch, position, time, lanes) VALUES (1, ?1, 0, 0, ?2)";
        transaction.execute(head, params![epoch, lanes])?;
        let migration = "INSERT INTO migrations (version, name, applied_at) VALUES (?1, ?2, ?3)";
        for (version, name) in (1_i64..).zip(schema::MIGRATIONS) {
            transaction.execute(migration, params![version, name, options.now.to_string()])?;
        }
    }
    check_form(&transaction)?;
    check_lanes(&transaction, options.schema.lanes)?;
    collections::declare(&transaction, options)?;
    transaction.commit()?;
    Ok(connection)
}

/// A connection that writes the log back.
pub(super) fn checkpointer(path: &Path) -> Result<Connection, OpenError> {
    let connection = existing(path)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// A connection that can only read.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let connection = existing(path)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(READER_STATEMENTS_MAX);
    // Else a statement is planned anew whenever another value is bound that could bear on the plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn existing(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    Ok(connection)
}

fn is_new(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let not_ours = |reason| OpenError::NotOurs {
        path: path.to_owned(),
        reason,
    };
    let id: i32 = match connection.query_row("PRAGMA application_id", [], |row| row.get(0)) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err(not_ours("it is no SQLite database"));
        }
        other => other?,
    };
    if id == APPLICATION_ID {
        return Ok(false);
    }
    let something = connection
        .query_row("SELECT 1 FROM sqlite_schema", [], |_| Ok(()))
        .optional()?;
    if id != 0 || something.is_some() {
        return Err(not_ours("it is another program's database"));
    }
    Ok(true)
}

fn check_form(connection: &Connection) -> Result<(), OpenError> {
    let found: i64 = connection.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    let known = schema::MIGRATIONS.len();
    match usize::try_from(found) {
        Ok(found) if found <= known => Ok(()),
        _ => Err(OpenError::Newer { found, known }),
    }
}

fn check_lanes(connection: &Connection, declared: u16) -> Result<(), OpenError> {
    let stored: usize = connection.query_row("SELECT json_array_length(lanes) FROM head", [], |row| row.get(0))?;
    if stored == usize::from(declared) {
        Ok(())
    } else {
        Err(OpenError::Lanes { stored, declared })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tempfile::TempDir;
    use testkit::store_suite::fixture::schema;
    use uuid::Uuid;

    use super::*;

    /// SQLite's word for `FULL`: a commit is on the disk before it is answered.
    const FULL: i64 = 2;

    /// P1, should the power fail: a process that is killed shows nothing of it.
    #[test]
    fn whoever_writes_waits_for_the_disk() {
        let directory = TempDir::new().expect("a directory for the test");
        let path = directory.path().join("store.db");
        let options = SqliteOptions::new(path.clone(), schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        let writer = writer(&options).expect("it opens");
        let checkpointer = checkpointer(&path).expect("it opens");
        for connection in [writer, checkpointer] {
            let synchronous = connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
            assert_eq!(synchronous, Ok(FULL));
        }
    }
}
