//! The statements, each of which takes as many rows as there are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::document::{Collection, ColumnType};
use kernel::store::Schema;
use kernel::store::serial::{Keys, Subjects};

use crate::schema::quoted;

pub(super) const HEAD: &str = "SELECT epoch, position, time, lanes FROM head";

/// Moves the head and notes the writer's batch.
macro_rules! leave {
    () => {
        "WITH moved AS (UPDATE head SET epoch = $1, position = $2, time = $3, lanes = $4), noted AS (
            INSERT INTO batches (writer, id, last) VALUES ($5, $6, $7)
            ON CONFLICT (writer) DO UPDATE SET id = excluded.id, last = excluded.last
        )"
    };
}

pub(super) const LEAVE: &str = concat!(leave!(), " SELECT 1");
pub(super) const APPEND_AND_LEAVE: &str = concat!(
    leave!(),
    " INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
    SELECT * FROM unnest($8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::text[],
        $15::bigint[], $16::text[], $17::text[])"
);
pub(super) const APPEND: &str = "
    INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
        $8::bigint[], $9::text[], $10::text[])";

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

/// The texts for one collection.
#[derive(Debug)]
pub(super) struct Writes {
    /// Writes documents: ids, versions, documents, then the values of each column.
    pub(super) put: String,
    /// Removes documents by their ids.
    pub(super) delete: String,
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
        let table = quoted(collection.name);
        let (mut names, mut places, mut set) = (String::new(), String::new(), String::new());
        for (place, column) in (4..).zip(collection.columns) {
            let (name, list) = (quoted(column.name), list_of(column.column_type));
            let _ = write!(names, ", {name}");
            let _ = write!(places, ", ${place}::{list}");
            let _ = write!(set, ", {name} = excluded.{name}");
        }
        Self {
            put: format!(
                "INSERT INTO {table} (id, version, doc{names}) \
                 SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[]{places}) \
                 ON CONFLICT (id) DO UPDATE SET version = excluded.version, doc = excluded.doc{set}"
            ),
            delete: format!("DELETE FROM {table} WHERE id = ANY($1)"),
            columns: collection.columns.iter().map(|column| column.column_type).collect(),
        }
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
