//! Bringing the collections' tables in line with what the schema declares.

use std::collections::{BTreeMap, BTreeSet};

use kernel::document::{Collection, Kind};
use rusqlite::{Connection, OptionalExtension};

use crate::schema;
use crate::sqlite::SqliteOptions;
use crate::sqlite::open::OpenError;

/// Adds the tables, columns and indexes that are missing, and empties what is to be rebuilt.
pub(super) fn declare(connection: &Connection, options: &SqliteOptions) -> Result<(), OpenError> {
    mark_rebuild(connection, &options.rebuild)?;
    for collection in &options.schema.collections {
        if options.rebuild.contains(&collection.name) {
            connection.execute_batch(&schema::drop_table(collection))?;
        }
        let columns = columns(connection, collection)?;
        if columns.is_empty() {
            connection.execute_batch(&schema::create_table(collection))?;
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
    let noted: BTreeSet<String> = noted
        .map(|list| serde_json::from_str(&list))
        .transpose()
        .map_err(kernel::store::StoreError::new)?
        .unwrap_or_default();
    if let Some(unfinished) = noted.iter().find(|name| !rebuild.contains(&name.as_str())) {
        return Err(OpenError::Unfinished(unfinished.clone()));
    }
    if !rebuild.is_empty() {
        let list = serde_json::json!(rebuild).to_string();
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
    let refuse = |reason| {
        Err(OpenError::Columns {
            collection: collection.name,
            reason,
            remedy: remedy(collection),
        })
    };
    let fixed = ["id", "version", "doc"];
    let known = |name: &str| fixed.contains(&name) || collection.column(name).is_some();
    if let Some(unknown) = existing.keys().find(|name| !known(name)) {
        return refuse(format!("this version of tradewind does not know its column {unknown}"));
    }
    let count = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(collection.name));
    let empty = connection.query_row(&count, [], |_| Ok(())).optional()?.is_none();
    for column in collection.columns {
        match existing.get(column.name) {
            Some(found) if found == schema::type_name(column.column_type) => {}
            Some(found) => return refuse(format!("its column {} has the type {found}", column.name)),
            None if empty => connection.execute_batch(&schema::add_column(collection, column))?,
            None => {
                return refuse(format!(
                    "its documents have no values for the new column {}",
                    column.name
                ));
            }
        }
    }
    Ok(())
}

fn remedy(collection: &Collection) -> String {
    match collection.kind {
        Kind::View => "run `tradewind rebuild`".into(),
        Kind::Replica { consumer } => format!("reset the consumer {consumer}, which feeds it"),
        Kind::Record => "go back to the version that wrote it, or migrate it".into(),
    }
}

/// An index is made from the table, so one that differs from its declaration is simply made again.
fn declare_indexes(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    for index in collection.indexes {
        let wanted = schema::create_index(collection, index);
        let name = schema::index_name(collection, index);
        let existing: Option<String> = connection
            .prepare_cached("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1")?
            .query_row([name.trim_matches('"')], |row| row.get(0))
            .optional()?;
        match existing {
            Some(existing) if existing == wanted => continue,
            Some(_) => connection.execute_batch(&schema::drop_index(collection, index))?,
            None => {}
        }
        connection.execute_batch(&wanted)?;
    }
    Ok(())
}
