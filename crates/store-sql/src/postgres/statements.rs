//! The statements, each of which takes as many rows as there are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::document::{Collection, ColumnType};
use kernel::store::Schema;
use kernel::store::serial::{Keys, Subjects};

use crate::schema::quoted;

/// Statements that a connection keeps prepared. What a commit writes is one text for each set of collections that commands change
/// together, and what it looks at another: some dozens of each in a service.
pub(super) const PREPARED_MAX: usize = 300;

pub(super) const HEAD: &str = "SELECT epoch, position, time, lanes FROM head";

/// Leaves the head as it is now; the parameters begin at `first`, as they do below.
pub(super) fn move_head(first: usize) -> String {
    format!(
        "UPDATE head SET epoch = ${first}, position = ${}, time = ${}, lanes = ${}",
        first + 1,
        first + 2,
        first + 3
    )
}

/// Notes the writer's batch.
pub(super) fn note_batch(first: usize) -> String {
    format!(
        "INSERT INTO batches (writer, id, last) VALUES (${first}, ${}, ${})
        ON CONFLICT (writer) DO UPDATE SET id = excluded.id, last = excluded.last",
        first + 1,
        first + 2
    )
}

/// Adds events to the journal.
pub(super) fn append(first: usize) -> String {
    format!(
        "INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
        SELECT * FROM unnest({})",
        lists(first, &EVENT)
    )
}

/// The lists of an event's columns.
const EVENT: [&str; 10] = [
    "bigint[]", "bigint[]", "text[]", "bigint[]", "bigint[]", "text[]", "text[]", "bigint[]", "text[]", "text[]",
];

/// `$1::text[], $2::bigint[]`, and so on.
fn lists(first: usize, types: &[&str]) -> String {
    let lists = (first..).zip(types).map(|(place, list)| format!("${place}::{list}"));
    lists.collect::<Vec<_>>().join(", ")
}

/// No more than the event that fills the tail is sent.
pub(super) const TAIL: &str = "
    SELECT position, prev, stream, version, lane, id, type, time, data, meta FROM (
        SELECT *, sum(octet_length(data)) OVER (ORDER BY position) - octet_length(data) AS before
        FROM (SELECT * FROM journal WHERE position > $1 ORDER BY position LIMIT $2) AS next
    ) AS next WHERE before < $3 ORDER BY position";
pub(super) const STREAM: &str = "
    SELECT position, prev, stream, version, lane, id, type, time, data, meta FROM journal
    WHERE stream = $1 AND version >= $2 ORDER BY version LIMIT $3";

/// What a commit does with each collection.
#[derive(Debug)]
pub(super) struct Statements {
    collections: BTreeMap<&'static str, Writes>,
}

/// How one collection is written.
#[derive(Debug)]
pub(super) struct Writes {
    table: String,
    /// What is written of a document: its id, version and text, then each of its columns.
    names: String,
    lists: Vec<&'static str>,
    /// What is overwritten.
    set: String,
    /// The types of the columns.
    pub(super) columns: Vec<ColumnType>,
}

impl Statements {
    pub(super) fn new(schema: &Schema) -> Self {
        let collections = schema.collections.iter();
        Self {
            collections: collections.map(|it| (it.name, Writes::of(it))).collect(),
        }
    }

    pub(super) fn of(&self, collection: &str) -> &Writes {
        &self.collections[collection]
    }
}

impl Writes {
    fn of(collection: &Collection) -> Self {
        let mut names = "id, version, doc".to_owned();
        let mut set = "version = excluded.version, doc = excluded.doc".to_owned();
        let mut lists = vec!["text[]", "bigint[]", "text[]"];
        for column in collection.columns {
            let name = quoted(column.name);
            let _ = write!(names, ", {name}");
            let _ = write!(set, ", {name} = excluded.{name}");
            lists.push(list_of(column.column_type));
        }
        Self {
            table: quoted(collection.name),
            names,
            lists,
            set,
            columns: collection.columns.iter().map(|column| column.column_type).collect(),
        }
    }

    /// Writes documents: ids, versions, documents, then the values of each column.
    pub(super) fn put(&self, first: usize) -> String {
        let Self { table, names, set, .. } = self;
        format!(
            "INSERT INTO {table} ({names}) SELECT * FROM unnest({}) ON CONFLICT (id) DO UPDATE SET {set}",
            lists(first, &self.lists)
        )
    }

    /// Removes documents by their ids, which are parameter `place`.
    pub(super) fn delete(&self, place: usize) -> String {
        format!("DELETE FROM {} WHERE id = ANY(${place})", self.table)
    }
}

fn list_of(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Integer => "bigint[]",
        ColumnType::Text => "text[]",
    }
}

/// The versions of documents as [`of_each`] has them, and after those the last version of each stream that is there, by one
/// step into the index for each.
pub(super) fn versions(of: &Subjects<'_>) -> String {
    let place = of.documents.len();
    let streams = format!(
        "SELECT {place}::bigint, wanted.stream, latest.version FROM unnest(${}::text[]) AS wanted (stream)
        CROSS JOIN LATERAL (
            SELECT version FROM journal WHERE stream = wanted.stream ORDER BY version DESC LIMIT 1
        ) AS latest",
        place + 1
    );
    let documents = of_each(&of.documents, "version");
    match (of.documents.is_empty(), of.streams.is_empty()) {
        (_, true) => documents,
        (true, false) => streams,
        (false, false) => format!("{documents} UNION ALL {streams}"),
    }
}

/// The documents of some ids in some collections, each with the place of its collection among them.
pub(super) fn of_each(keys: &Keys<'_>, columns: &str) -> String {
    let selects = keys.keys().zip(1..).map(|(collection, place)| {
        let table = quoted(collection);
        format!(
            "SELECT {}::bigint, id, {columns} FROM {table} WHERE id = ANY(${place})",
            place - 1
        )
    });
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}
