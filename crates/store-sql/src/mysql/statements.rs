//! The statements. Each takes many rows at once, so its text depends on how many there are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::document::Collection;
use kernel::store::serial::Keys;
use kernel::store::{CommitError, Schema};

use crate::schema::quoted;

pub(super) const HEAD: &str = "SELECT epoch, position, time, lanes FROM head WHERE one = 1";
pub(super) const ADVANCE: &str = "UPDATE head SET epoch = ?, position = ?, time = ?, lanes = ? WHERE one = 1";
pub(super) const LEAVE_BATCH: &str = "INSERT INTO batches (writer, id, last) VALUES (?, ?, ?)
    ON DUPLICATE KEY UPDATE id = VALUES(id), last = VALUES(last)";

/// No more than the event that fills the tail is sent. Only lengths are summed up: the events themselves would be copied
/// into a table on the disk.
pub(super) const TAIL: &str = "
    SELECT journal.position, prev, stream, version, lane, id, type, time, data, meta FROM (
        SELECT position, SUM(length) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - length AS sent FROM (
            SELECT position, OCTET_LENGTH(data) AS length FROM journal WHERE position > ? ORDER BY position LIMIT ?
        ) AS following
    ) AS lengths STRAIGHT_JOIN journal ON journal.position = lengths.position
    WHERE sent < ? ORDER BY lengths.position";
pub(super) const STREAM: &str = "
    SELECT position, prev, stream, version, lane, id, type, time, data, meta FROM journal FORCE INDEX (stream)
    WHERE stream = ? AND version >= ? ORDER BY version LIMIT ?";

const APPEND: &str = "INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)";
/// What each row of the journal has.
pub(super) const EVENT_CELLS: usize = 10;

/// Rows and ids of one statement at most, a power of two.
///
/// Whatever number of them there is, statements have 1, 2, 4, … or so many: few texts, which a connection prepares once and
/// keeps. To forget one costs more than to prepare it. The driver sends that and the next statement apart, without
/// `TCP_NODELAY`, so that the second waits some 40 ms for the first to be acknowledged.
pub(super) const ROWS_MAX: usize = 128;
/// Statements that a connection keeps prepared: what a service has in use. A server has 16,382 for all connections unless
/// `max_prepared_stmt_count` says more, which six services of eight connections stay below.
pub(super) const PREPARED_MAX: usize = 300;
/// What a statement has beside its values, and each value beside its text.
const STATEMENT_BYTES: usize = 64 * 1024;
const CELL_BYTES: usize = 10;

/// What a commit does with each collection.
#[derive(Debug)]
pub(super) struct Statements {
    collections: BTreeMap<&'static str, Writes>,
    packet_bytes_max: usize,
}

/// The texts for one collection.
#[derive(Debug)]
pub(super) struct Writes {
    insert: String,
    update: String,
    delete: String,
    /// Its id, version, document and columns.
    pub(super) cells: usize,
}

impl Statements {
    pub(super) fn new(schema: &Schema, packet_bytes_max: usize) -> Self {
        let collections = schema.collections.iter();
        Self {
            collections: collections.map(|it| (it.name, Writes::of(it))).collect(),
            packet_bytes_max,
        }
    }

    pub(super) fn of(&self, collection: &str) -> &Writes {
        &self.collections[collection]
    }

    /// Rows in pieces of one statement each, as many as a power of two. `text_bytes` is what a row's values come to.
    pub(super) fn pieces<'a, T>(
        &self,
        mut rows: &'a [T],
        cells: usize,
        text_bytes: impl Fn(&T) -> usize,
    ) -> Result<Vec<&'a [T]>, CommitError> {
        let mut pieces = Vec::new();
        while !rows.is_empty() {
            let mut left = self.packet_bytes_max.saturating_sub(STATEMENT_BYTES);
            let fits = |row: &&T| {
                let bytes = text_bytes(row) + cells * CELL_BYTES;
                let fits = bytes <= left;
                left = left.saturating_sub(bytes);
                fits
            };
            let count = rows.iter().take(ROWS_MAX).take_while(fits).count();
            if count == 0 {
                return Err(CommitError::Content(format!(
                    "a row of {} bytes is longer than the server's max_allowed_packet",
                    text_bytes(&rows[0])
                )));
            }
            let (piece, rest) = rows.split_at(1 << count.ilog2());
            pieces.push(piece);
            rows = rest;
        }
        Ok(pieces)
    }
}

impl Writes {
    fn of(collection: &Collection) -> Self {
        let table = quoted(collection.name);
        let (mut names, mut set) = (String::new(), String::new());
        for column in collection.columns {
            let name = quoted(column.name);
            let _ = write!(names, ", {name}");
            let _ = write!(set, ", {name} = VALUES({name})");
        }
        Self {
            insert: format!("INSERT INTO {table} (id, version, doc{names})"),
            update: format!("ON DUPLICATE KEY UPDATE version = VALUES(version), doc = VALUES(doc){set}"),
            delete: format!("DELETE FROM {table} WHERE id IN"),
            cells: 3 + collection.columns.len(),
        }
    }

    /// Writes so many documents: the id, version, document and columns of each.
    pub(super) fn put(&self, rows: usize) -> String {
        format!("{} VALUES {} {}", self.insert, tuples(rows, self.cells), self.update)
    }

    /// Removes documents by so many ids.
    pub(super) fn delete(&self, ids: usize) -> String {
        format!("{} {}", self.delete, tuples(1, ids))
    }
}

/// Adds so many events.
pub(super) fn append(events: usize) -> String {
    format!("{APPEND} VALUES {}", tuples(events, EVENT_CELLS))
}

/// The last version of each of so many streams by its place among them, 0 if it is not there: by one step into the index
/// for each, where grouping would read a long stream whole.
pub(super) fn stream_versions(streams: usize) -> String {
    let selects =
        (0..streams).map(|place| format!("SELECT {place}, COALESCE(MAX(version), 0) FROM journal WHERE stream = ?"));
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}

/// The documents of some ids in some collections, each with the place of its collection among them.
pub(super) fn of_each(keys: &Keys<'_>, columns: &str) -> String {
    let selects = keys.iter().zip(0..).map(|((collection, ids), place)| {
        let (table, ids) = (quoted(collection), tuples(1, ids.len()));
        // While the server has not counted a new table's rows it takes it for empty, and would read all of it.
        format!("SELECT {place}, id, {columns} FROM {table} FORCE INDEX (PRIMARY) WHERE id IN {ids}")
    });
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}

/// Keys in groups of one statement each, which asks for as many ids of each collection.
pub(super) fn groups<'a>(keys: &Keys<'a>) -> Vec<Keys<'a>> {
    let most = keys.values().map(Vec::len).max().unwrap_or(0).min(ROWS_MAX);
    let mut groups: Vec<Keys<'a>> = Vec::new();
    for (collection, ids) in keys {
        for (place, ids) in ids.chunks(ROWS_MAX).enumerate() {
            if groups.len() == place {
                groups.push(Keys::new());
            }
            groups[place].insert(collection, rounded(ids, most));
        }
    }
    groups
}

/// The same ids, the last one again until they are a power of two and no fewer than `least`.
pub(super) fn rounded<'a>(ids: &[&'a str], least: usize) -> Vec<&'a str> {
    let last = ids.last().into_iter().cycle();
    let count = ids.len().max(least).next_power_of_two();
    ids.iter().chain(last).take(count).copied().collect()
}

/// So many times so many parameters.
fn tuples(count: usize, cells: usize) -> String {
    let tuple = format!("({})", vec!["?"; cells].join(", "));
    vec![tuple; count].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(statements: &Statements, rows: &[usize]) -> Vec<usize> {
        let pieces = statements.pieces(rows, 1, |bytes| *bytes).expect("each row fits");
        pieces.iter().map(|piece| piece.len()).collect()
    }

    #[test]
    fn rows_are_written_in_powers_of_two_that_fit_a_packet() {
        let statements = Statements {
            collections: BTreeMap::new(),
            packet_bytes_max: STATEMENT_BYTES + 1000,
        };
        assert_eq!(lengths(&statements, &[1; 25]), [16, 8, 1]);
        assert_eq!(lengths(&statements, &[1; 300]), [64, 64, 64, 64, 32, 8, 4]);
        assert_eq!(lengths(&statements, &[300; 5]), [2, 2, 1]);
        assert_eq!(lengths(&statements, &[]), [0; 0]);
        let refused = statements.pieces(&[1, 991], 1, |bytes| *bytes);
        assert!(matches!(refused, Err(CommitError::Content(_))), "{refused:?}");
    }

    #[test]
    fn ids_are_asked_for_in_powers_of_two() {
        let keys = Keys::from([("a", vec!["1"; 129]), ("b", vec!["1", "2", "3"])]);
        let groups = groups(&keys);
        let counts = |place: usize| -> Vec<usize> { groups[place].values().map(Vec::len).collect() };
        assert_eq!((counts(0), counts(1)), (vec![128, 128], vec![128]));
        assert_eq!(rounded(&["1", "2", "3"], 1), ["1", "2", "3", "3"]);
        assert!(rounded(&[], 0).is_empty());
    }
}
