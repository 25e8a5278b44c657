//! Opening a file: whose it is, which form it has, and what the schema declares beyond it.

mod existing;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::open::OpenError;
use crate::plan::{Declared, Existing};
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

/// Keeps other processes out for as long as the file is open that this gives. SQLite's own locks are on the database: closing
/// another handle of it would drop them.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|error| OpenError::Database(Box::new(error)))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::Database(Box::new(error))),
    }
}

/// The connection that writes, to a file that has everything the schema declares.
pub(super) fn writer(options: &SqliteOptions) -> Result<Connection, OpenError> {
    options.schema.check().map_err(OpenError::Schema)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    make_private(&options.path);
    let mut connection = Connection::open_with_flags(&options.path, flags)?;
    check_writable(&connection, &options.path)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    // Before anything is written: even the journal mode would change a file that is not ours.
    existing::is_new(&connection, &options.path)?;
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
    let existing = existing::read(&transaction, options)?;
    for statement in statements(&existing, options)? {
        transaction.execute_batch(&statement)?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// What [`writer`] would run before it is there. Makes no file, and leaves one as it is.
pub(super) fn plan(options: &SqliteOptions) -> Result<Vec<String>, OpenError> {
    options.schema.check().map_err(OpenError::Schema)?;
    // Of one that may not even be looked for, opening it says why.
    if let Ok(false) = options.path.try_exists() {
        return statements(&Existing::default(), options);
    }
    let mut log = options.path.clone().into_os_string();
    log.push("-wal");
    let has_log = Path::new(&log).exists();
    let mut connection = existing(&options.path)?;
    check_writable(&connection, &options.path)?;
    // What a process that was killed has left in the log stays there, for whoever opens the store.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    let transaction = connection.transaction()?;
    statements(&existing::read(&transaction, options)?, options)
}

/// What makes the file a store, or the one that it should be.
fn statements(existing: &Existing, options: &SqliteOptions) -> Result<Vec<String>, OpenError> {
    let declared = Declared {
        schema: &options.schema,
        rebuild: &options.rebuild,
        epoch: options.new_epoch,
        now: options.now,
    };
    let mut plan = existing.plan(&SQLITE, &declared)?;
    if existing.form == 0 {
        plan.insert(0, format!("PRAGMA application_id = {APPLICATION_ID}"));
    }
    Ok(plan)
}

/// SQLite would open it all the same.
fn check_writable(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match connection.is_readonly(rusqlite::MAIN_DB)? {
        true => Err(OpenError::ReadOnly(path.to_owned())),
        false => Ok(()),
    }
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
