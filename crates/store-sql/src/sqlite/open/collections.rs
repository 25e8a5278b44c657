//! Bringing the collections' tables in line with what the schema declares.

use std::collections::BTreeMap;

use kernel::document::Collection;
use rusqlite::{Connection, OptionalExtension};

use crate::open::{self, OpenError};
use crate::schema;
use crate::sqlite::{SQLITE, SqliteOptions};

/// Adds the tables, columns and indexes that are missing, and empties what is to be rebuilt.
pub(super) fn declare(connection: &Connection, options: &SqliteOptions) -> Result<(), OpenError> {
    mark_rebuild(connection, &options.rebuild)?;
    for collection in &options.schema.collections {
        if options.rebuild.contains(&collection.name) {
            connection.execute_batch(&schema::drop_table(collection))?;
        }
        let columns = columns(connection, collection)?;
        if columns.is_empty() {
            connection.execute_batch(&schema::create_table(&SQLITE, collection))?;
        } else {
            declare_columns(connection, collection, &columns)?;
        }
        declare_indexes(connection, collection)?;
    }
    Ok(())
}

/// Notes which collections will be incomplete until the rebuild is finished, and refuses to go on without it.
fn mark_rebuild(connection: &Connection, rebuild: &[&'static str]) -> Result<(), OpenError> {
    let noted: Option<String> = connection.query_row("SELECT rebuilding FROM head", [], |row| row.get(0))?;
    if let Some(list) = open::rebuilding(noted.as_deref(), rebuild)? {
        connection.execute("UPDATE head SET rebuilding = ?1", [list])?;
    }
    Ok(())
}

/// The table's columns with their types; none if there is no table.
fn columns(connection: &Connection, collection: &Collection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut select = connection.prepare_cached("SELECT name, type FROM pragma_table_info(?1)")?;
    let rows = select.query_map([collection.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn declare_columns(
    connection: &Connection,
    collection: &'static Collection,
    existing: &BTreeMap<String, String>,
) -> Result<(), OpenError> {
    let any = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(collection.name));
    let is_empty = connection.query_row(&any, [], |_| Ok(())).optional()?.is_none();
    for column in open::columns_to_add(&SQLITE, collection, existing, is_empty)? {
        connection.execute_batch(&schema::add_column(&SQLITE, collection, column))?;
    }
    Ok(())
}

/// An index is made from the table, so one that differs from its declaration is simply made again.
fn declare_indexes(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    for index in collection.indexes {
        let wanted = schema::create_index(&SQLITE, collection, index);
        let name = schema::index_name(collection, index);
        let existing: Option<String> = connection
            .prepare_cached("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1")?
            .query_row([name.trim_matches('"')], |row| row.get(0))
            .optional()?;
        match existing {
            Some(existing) if existing == wanted => continue,
            Some(_) => connection.execute_batch(&schema::drop_index(&SQLITE, collection, &name))?,
            None => {}
        }
        connection.execute_batch(&wanted)?;
    }
    Ok(())
}
