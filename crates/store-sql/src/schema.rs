//! The tables, as DDL. A person with a database shell should find their way in them without the source.

use kernel::document::{Collection, Column, ColumnType, Index};

use crate::dialect::Dialect;

/// The tables that every service has. `head` has one row; whoever writes takes it first.
///
/// Times are microseconds since 1970. `head.lanes` is a JSON list with the last position of each lane, and
/// `head.rebuilding` a JSON list of the collections that were emptied and are not yet filled again, or null.
pub(crate) fn journal(dialect: &Dialect) -> Vec<String> {
    let (number, key, text) = (dialect.number, dialect.key, dialect.text);
    let (create, end) = (dialect.create_table, dialect.table_options);
    vec![
        format!(
            "{create} journal (
                position {number} PRIMARY KEY,
                prev {number} NOT NULL,
                stream {key} NOT NULL,
                version {number} NOT NULL,
                lane {number} NOT NULL,
                id {key} NOT NULL,
                type {key} NOT NULL,
                time {number} NOT NULL,
                data {text} NOT NULL,
                meta {text} NOT NULL,
                UNIQUE (stream, version)
            ){end}"
        ),
        format!(
            "{create} head (
                one {number} PRIMARY KEY CHECK (one = 1),
                epoch {key} NOT NULL,
                position {number} NOT NULL,
                time {number} NOT NULL,
                lanes {text} NOT NULL,
                rebuilding {text}
            ){end}"
        ),
        format!(
            "{create} batches (
                writer {key} PRIMARY KEY NOT NULL,
                id {key} NOT NULL,
                last {number} NOT NULL
            ){}",
            dialect.small_table_options
        ),
        format!(
            "{create} migrations (
                version {number} PRIMARY KEY,
                name {key} NOT NULL,
                applied_at {key} NOT NULL
            ){end}"
        ),
    ]
}

/// The forms that the tables above have had, in order. A store that went further belongs to a newer binary.
pub(crate) const MIGRATIONS: [&str; 1] = ["journal, head, batches and collections"];

/// A collection's table. `doc` comes last, so that filtering by a column never reads past a long document.
pub(crate) fn create_table(dialect: &Dialect, collection: &Collection) -> String {
    let columns: String = collection
        .columns
        .iter()
        .map(|column| format!("{}, ", definition(dialect, collection, column)))
        .collect();
    format!(
        "CREATE TABLE {} (id {} PRIMARY KEY NOT NULL, version {} NOT NULL, {columns}doc {} NOT NULL){}",
        quoted(collection.name),
        dialect.key,
        dialect.number,
        dialect.text,
        dialect.table_options,
    )
}

pub(crate) fn drop_table(collection: &Collection) -> String {
    format!("DROP TABLE IF EXISTS {}", quoted(collection.name))
}

pub(crate) fn add_column(dialect: &Dialect, collection: &Collection, column: &Column) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {}",
        quoted(collection.name),
        definition(dialect, collection, column)
    )
}

/// Where a column of text was not looked up before and now is, or the other way round.
#[cfg(feature = "mysql")]
pub(crate) fn change_column(dialect: &Dialect, collection: &Collection, column: &Column) -> String {
    format!(
        "ALTER TABLE {} MODIFY COLUMN {}",
        quoted(collection.name),
        definition(dialect, collection, column)
    )
}

/// A declared index: its columns, then the id. Documents whose first column is null are left out where the database can
/// do so, and then an index over what is pending costs nothing for what is done.
pub(crate) fn create_index(dialect: &Dialect, collection: &Collection, index: &Index) -> String {
    let columns: String = index.columns.iter().map(|name| format!("{}, ", quoted(name))).collect();
    let condition = match dialect.has_partial_indexes {
        true => format!(" WHERE {} IS NOT NULL", quoted(index.columns[0])),
        false => String::new(),
    };
    format!(
        "CREATE INDEX {} ON {} ({columns}id){condition}",
        index_name(collection, index),
        quoted(collection.name),
    )
}

/// `name` is quoted, as [`index_name`] gives it.
pub(crate) fn drop_index(dialect: &Dialect, collection: &Collection, name: &str) -> String {
    match dialect.indexes_belong_to_tables {
        true => format!("DROP INDEX {name} ON {}", quoted(collection.name)),
        false => format!("DROP INDEX {name}"),
    }
}

/// An index's name, unique in the whole database.
pub(crate) fn index_name(collection: &Collection, index: &Index) -> String {
    format!("\"{}__{}\"", collection.name, index.name)
}

/// Names are plain (the kernel checks them), but may be reserved words.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

pub(crate) fn column_type(dialect: &Dialect, collection: &Collection, column: &Column) -> &'static str {
    let is_indexed = collection
        .indexes
        .iter()
        .any(|index| index.columns.contains(&column.name));
    match column.column_type {
        ColumnType::Integer => dialect.number,
        ColumnType::Text if is_indexed => dialect.key,
        ColumnType::Text => dialect.text,
    }
}

fn definition(dialect: &Dialect, collection: &Collection, column: &Column) -> String {
    format!("{} {}", quoted(column.name), column_type(dialect, collection, column))
}
