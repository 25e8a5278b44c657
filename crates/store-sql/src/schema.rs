//! The tables, as DDL, and their first rows. A person with a database shell should find their way in them without the
//! source.

use jiff::Timestamp;
use kernel::document::{Collection, Column, ColumnType, Index};
use uuid::Uuid;

use crate::dialect::Dialect;

/// The tables that every service has. `head` has one row; whoever writes takes it first.
///
/// Times are microseconds since 1970. `head.lanes` is a JSON list with the last position of each lane, and
/// `head.rebuilding` a JSON list of the collections that were emptied and are not yet filled again, or null.
pub(crate) fn journal(dialect: &Dialect) -> [String; 4] {
    let (number, key, text) = (dialect.number, dialect.key, dialect.text);
    let (create, end) = (dialect.create_table, dialect.table_options);
    let tables = [
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
    ];
    // A person sees them in `tradewind migrate --plan` and in the database, without the indentation of this file.
    tables.map(|table| table.replace(INDENTATION, "\n"))
}

/// Of the texts of the tables above.
const INDENTATION: &str = "\n            ";

/// The row of `head` in a journal without events. It stays as it is if it is there.
pub(crate) fn first_head(dialect: &Dialect, epoch: Uuid, lanes: u16) -> String {
    let lanes = serde_json::json!(vec![0; usize::from(lanes)]).to_string();
    format!(
        "INSERT INTO head (one, epoch, position, time, lanes) VALUES (1, {}, 0, 0, {}){}",
        literal(&epoch.to_string()),
        literal(&lanes),
        dialect.unless_there
    )
}

/// The rows of `migrations` in tables that have the newest form from the first.
pub(crate) fn first_migrations(now: Timestamp) -> impl Iterator<Item = String> {
    (1_u64..).zip(MIGRATIONS).map(move |(version, name)| {
        format!(
            "INSERT INTO migrations (version, name, applied_at) VALUES ({version}, {}, {})",
            literal(name),
            literal(&now.to_string())
        )
    })
}

/// Notes which collections are incomplete, as a JSON list.
pub(crate) fn mark_rebuilding(list: &str) -> String {
    format!("UPDATE head SET rebuilding = {} WHERE one = 1", literal(list))
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

/// Where a column of text was not looked up before and now is, or the other way round. Only MySQL needs it.
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
    let columns = [index.columns, &["id"]].concat();
    let condition = match dialect.has_partial_indexes {
        true => format!(" WHERE {} IS NOT NULL", quoted(index.columns[0])),
        false => String::new(),
    };
    format!(
        "{}{condition}",
        index_over(collection.name, &index_name(collection, index), &columns)
    )
}

/// What makes a declared index, so that it can be told later by which statement it was made.
pub(crate) fn make_index(dialect: &Dialect, collection: &Collection, index: &Index) -> Vec<String> {
    let create = create_index(dialect, collection, index);
    match dialect.rewords_indexes {
        true => {
            let name = quoted(&index_name(collection, index));
            let comment = format!("COMMENT ON INDEX {name} IS {}", literal(&create));
            vec![create, comment]
        }
        false => vec![create],
    }
}

/// An index over all rows of a table.
pub(crate) fn index_over(table: &str, name: &str, columns: &[impl AsRef<str>]) -> String {
    let columns = columns.iter().map(|column| match column.as_ref() {
        "id" => "id".to_owned(),
        column => quoted(column),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    format!("CREATE INDEX {} ON {} ({columns})", quoted(name), quoted(table))
}

pub(crate) fn drop_index(dialect: &Dialect, collection: &Collection, name: &str) -> String {
    let name = quoted(name);
    match dialect.indexes_belong_to_tables {
        true => format!("DROP INDEX {name} ON {}", quoted(collection.name)),
        false => format!("DROP INDEX {name}"),
    }
}

/// An index's name, unique in the whole database.
pub(crate) fn index_name(collection: &Collection, index: &Index) -> String {
    format!("{}{}", index_prefix(collection), index.name)
}

/// How the names of a collection's indexes begin.
pub(crate) fn index_prefix(collection: &Collection) -> String {
    format!("{}__", collection.name)
}

/// Names of collections and columns are plain (the kernel checks them), but may be reserved words; names of databases come
/// from outside.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as a value. A backslash would mean something to MySQL, and is in none of those that opening writes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
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

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    /// `tests/migrating/released.rs` opens a store of each.
    #[test]
    fn each_form_has_a_fixture_of_every_database() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released");
        let files = ["sqlite.sql", "postgres.sql", "mysql.sql"];
        testkit::released::assert_fixtures(directory, MIGRATIONS.len(), &files);
    }
}
