//! The statements, as SQL text: a fixed set for the journal, one set per collection, and one text per shape of query.

mod page;

use std::fmt::Write;

use kernel::document::Collection;
use kernel::store::carry::PIECE_DOCUMENTS_MAX;

use crate::dialect::Dialect;
use crate::schema::quoted;
pub(crate) use crate::statements::page::{Page, Parameter, Section};

pub(crate) const HEAD: &str = "SELECT epoch, position, time, lanes FROM head";
pub(crate) const ADVANCE: &str = "UPDATE head SET position = ?1, time = ?2, lanes = ?3";
pub(crate) const LEAVE_HEAD: &str = "UPDATE head SET epoch = ?1, position = ?2, time = ?3, lanes = ?4";
pub(crate) const BATCH: &str = "SELECT id, last FROM batches WHERE writer = ?1";
pub(crate) const LEAVE_BATCH: &str = "INSERT INTO batches (writer, id, last) VALUES (?1, ?2, ?3)
    ON CONFLICT (writer) DO UPDATE SET id = excluded.id, last = excluded.last";

/// An event as it was elsewhere.
pub(crate) const APPEND: &str = "
    INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// The first event of a stream. No row is written if the stream has one.
pub(crate) const APPEND_FIRST: &str = "
    INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (stream, version) DO NOTHING";

/// A later event of a stream. No row is written if the stream has it already, or lacks the one before it.
pub(crate) const APPEND_NEXT: &str = "
    INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
    WHERE EXISTS (SELECT 1 FROM journal WHERE stream = ?3 AND version = ?4 - 1)
    ON CONFLICT (stream, version) DO NOTHING";

pub(crate) const TAIL: &str = "
    SELECT position, prev, stream, version, lane, id, type, time, data, meta FROM journal
    WHERE position > ?1 ORDER BY position LIMIT ?2";
pub(crate) const STREAM: &str = "
    SELECT position, prev, stream, version, lane, id, type, time, data, meta FROM journal
    WHERE stream = ?1 AND version >= ?2 ORDER BY version LIMIT ?3";

/// What a commit does with one collection. Parameters: the id, the document, the columns, the expected version.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Must be absent: no row is written if it is there.
    pub(crate) insert: String,
    /// Must have the version: no row is written if it has not.
    pub(crate) update: String,
    /// Whatever was there.
    pub(crate) upsert: String,
    /// Removes what has the version given.
    pub(crate) delete_version: String,
    /// Removes what is there.
    pub(crate) delete: String,
    /// The version that is there.
    pub(crate) version: String,
}

impl Writes {
    pub(crate) fn of(collection: &Collection) -> Self {
        let table = quoted(collection.name);
        let (mut names, mut places, mut set, mut excluded) =
            (String::new(), String::new(), String::new(), String::new());
        for (place, column) in (3..).zip(collection.columns) {
            let name = quoted(column.name);
            push(&mut names, format_args!(", {name}"));
            push(&mut places, format_args!(", ?{place}"));
            push(&mut set, format_args!(", {name} = ?{place}"));
            push(&mut excluded, format_args!(", {name} = excluded.{name}"));
        }
        let expected = collection.columns.len() + 3;
        let insert =
            format!("INSERT INTO {table} (id, version, doc{names}) VALUES (?1, 1, ?2{places}) ON CONFLICT (id) DO");
        Self {
            upsert: format!("{insert} UPDATE SET version = version + 1, doc = excluded.doc{excluded}"),
            insert: format!("{insert} NOTHING"),
            update: format!(
                "UPDATE {table} SET version = version + 1, doc = ?2{set} WHERE id = ?1 AND version = ?{expected}"
            ),
            delete_version: format!("DELETE FROM {table} WHERE id = ?1 AND version = ?2"),
            delete: format!("DELETE FROM {table} WHERE id = ?1"),
            version: format!("SELECT version FROM {table} WHERE id = ?1"),
        }
    }
}

/// Whole rows of a collection by id: id, version, document, columns. With a parameter, those after that id.
pub(crate) fn carried(dialect: &Dialect, collection: &Collection, after: bool) -> String {
    let columns: String = collection
        .columns
        .iter()
        .map(|it| format!(", {}", quoted(it.name)))
        .collect();
    let condition = match after {
        true => format!(" WHERE id > {}", (dialect.parameter)(1)),
        false => String::new(),
    };
    format!(
        "SELECT id, version, doc{columns} FROM {}{condition} ORDER BY id LIMIT {PIECE_DOCUMENTS_MAX}",
        quoted(collection.name)
    )
}

/// One document as it was elsewhere. Parameters: the id, the version, the document, the columns.
pub(crate) fn put_carried(collection: &Collection) -> String {
    let names: String = collection
        .columns
        .iter()
        .map(|it| format!(", {}", quoted(it.name)))
        .collect();
    let places: String = (4..)
        .zip(collection.columns)
        .map(|(place, _)| format!(", ?{place}"))
        .collect();
    format!(
        "INSERT OR REPLACE INTO {} (id, version, doc{names}) VALUES (?1, ?2, ?3{places})",
        quoted(collection.name)
    )
}

/// One document.
pub(crate) fn get(collection: &str) -> String {
    format!("SELECT version, doc FROM {} WHERE id = ?1", quoted(collection))
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes what is written");
}
