//! Opening a file: whose it is, which form it has, and what the schema declares beyond it.

mod collections;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::open::{self, OpenError};
use crate::schema;
use crate::sqlite::{SQLITE, SqliteOptions};

/// "TWND": marks a file as ours, where SQLite's own tools and `file` look for it.
const APPLICATION_ID: i32 = 0x5457_4E44;

/// How long a statement waits for another process that has the file, such as a person's shell.
const BUSY_MS: u64 = 5_000;

/// Memory for pages of each writing connection. Reading ones share the operating system's copy of the file.
const WRITER_CACHE_KIB: i64 = 4 * 1024;

/// Shapes of queries whose statements a reading connection keeps.
const READER_STATEMENTS_MAX: usize = 256;

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
        for table in schema::journal(&SQLITE) {
            transaction.execute_batch(&table)?;
        }
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
    let form: i64 = transaction.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    open::check_form(form)?;
    let lanes: usize = transaction.query_row("SELECT json_array_length(lanes) FROM head", [], |row| row.get(0))?;
    open::check_lanes(lanes, options.schema.lanes)?;
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
