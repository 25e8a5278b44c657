//! What is in a file before it is opened.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::open::OpenError;
use crate::plan::{Existing, Head};
use crate::schema;
use crate::sqlite::SqliteOptions;
use crate::sqlite::open::APPLICATION_ID;

/// Whether there is nothing in the file. Refuses one that is not ours.
pub(super) fn is_new(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
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

/// Reads it, in the transaction that the caller has begun.
pub(super) fn read(connection: &Connection, options: &SqliteOptions) -> Result<Existing, OpenError> {
    let mut existing = Existing::default();
    if is_new(connection, &options.path)? {
        return Ok(existing);
    }
    let form = "SELECT coalesce(max(version), 0) FROM migrations";
    existing.form = connection.query_row(form, [], |row| row.get(0))?;
    let head = "SELECT lanes, rebuilding FROM head";
    let (lanes, rebuilding): (String, _) = connection.query_row(head, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    existing.head = Some(Head::read(&lanes, rebuilding)?);
    for collection in &options.schema.collections {
        let columns = "SELECT name, type FROM pragma_table_info(?1)";
        let columns = pairs(connection, columns, collection.name)?;
        if columns.is_empty() {
            continue;
        }
        let any = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(collection.name));
        let any = connection.query_row(&any, [], |_| Ok(())).optional()?;
        let table = existing.table(collection);
        table.is_empty = any.is_none();
        table.columns = columns;
        // Those that come with the table have no statement.
        let indexes = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL";
        table.indexes = pairs(connection, indexes, collection.name)?;
    }
    Ok(existing)
}

/// Two texts of each row of a statement about a table.
fn pairs(connection: &Connection, statement: &str, table: &str) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut select = connection.prepare_cached(statement)?;
    let rows = select.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
