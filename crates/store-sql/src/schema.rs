//! The tables, as DDL. A person with a database shell should find their way in them without the source.

use kernel::document::{Collection, Column, ColumnType, Index};

/// The tables that every service has. `head` has one row; whoever writes takes it first.
///
/// Times are microseconds since 1970. `head.lanes` is a JSON list with the last position of each lane, and
/// `head.rebuilding` a JSON list of the collections that were emptied and are not yet filled again, or null.
pub(crate) const JOURNAL: &str = "
    CREATE TABLE journal (
        position INTEGER PRIMARY KEY,
        prev INTEGER NOT NULL,
        stream TEXT NOT NULL,
        version INTEGER NOT NULL,
        lane INTEGER NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        time INTEGER NOT NULL,
        data TEXT NOT NULL,
        meta TEXT NOT NULL,
        UNIQUE (stream, version)
    ) STRICT;
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch TEXT NOT NULL,
        position INTEGER NOT NULL,
        time INTEGER NOT NULL,
        lanes TEXT NOT NULL,
        rebuilding TEXT
    ) STRICT;
    CREATE TABLE batches (
        writer TEXT PRIMARY KEY NOT NULL,
        id TEXT NOT NULL,
        last INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        applied_at TEXT NOT NULL
    ) STRICT;
";

/// The forms that the tables above have had, in order. A store that went further belongs to a newer binary.
pub(crate) const MIGRATIONS: [&str; 1] = ["journal, head, batches and collections"];

/// A collection's table. `doc` comes last, so that filtering by a column never reads past a long document.
pub(crate) fn create_table(collection: &Collection) -> String {
    let columns: String = collection
        .columns
        .iter()
        .map(|column| format!("{}, ", definition(column)))
        .collect();
    format!(
        "CREATE TABLE {} (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, {columns}doc TEXT NOT NULL) STRICT",
        quoted(collection.name)
    )
}

pub(crate) fn drop_table(collection: &Collection) -> String {
    format!("DROP TABLE IF EXISTS {}", quoted(collection.name))
}

pub(crate) fn add_column(collection: &Collection, column: &Column) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {}",
        quoted(collection.name),
        definition(column)
    )
}

/// A declared index: its columns, then the id. Documents whose first column is null are left out, so an index over
/// what is pending costs nothing for what is done.
pub(crate) fn create_index(collection: &Collection, index: &Index) -> String {
    let columns: String = index.columns.iter().map(|name| format!("{}, ", quoted(name))).collect();
    format!(
        "CREATE INDEX {} ON {} ({columns}id) WHERE {} IS NOT NULL",
        index_name(collection, index),
        quoted(collection.name),
        quoted(index.columns[0])
    )
}

pub(crate) fn drop_index(collection: &Collection, index: &Index) -> String {
    format!("DROP INDEX {}", index_name(collection, index))
}

/// An index's name, unique in the whole database.
pub(crate) fn index_name(collection: &Collection, index: &Index) -> String {
    format!("\"{}__{}\"", collection.name, index.name)
}

pub(crate) fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Text => "TEXT",
        ColumnType::Integer => "INTEGER",
    }
}

/// Names are plain (the kernel checks them), but may be reserved words.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn definition(column: &Column) -> String {
    format!("{} {}", quoted(column.name), type_name(column.column_type))
}
