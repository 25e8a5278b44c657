//! Reading the journal.

use kernel::event::{Position, Recorded, StreamId};
use kernel::store::{StoreError, TAIL_BYTES_MAX, Tail};
use rusqlite::{Connection, Row, Rows, params};

use crate::rows::{self, Cells};
use crate::sqlite::failure::unavailable;
use crate::statements;

pub(super) fn stream(
    connection: &mut Connection,
    id: &StreamId,
    from_version: u64,
    limit: usize,
) -> Result<Vec<Recorded>, StoreError> {
    let from_version = i64::try_from(from_version).unwrap_or(i64::MAX);
    let mut select = connection
        .prepare_cached(statements::STREAM)
        .map_err(|error| unavailable(&error))?;
    let rows = select.query(params![id.as_str(), from_version, rows::limit(limit)]);
    events(rows.map_err(|error| unavailable(&error))?, usize::MAX)
}

pub(super) fn tail(connection: &mut Connection, after: Position, limit: usize) -> Result<Tail, StoreError> {
    let events = match limit {
        0 => Vec::new(),
        limit => self::after(connection, after, limit)?,
    };
    // Read after the events, so the head is at or beyond them without a transaction around both.
    let mut select = connection
        .prepare_cached(statements::HEAD)
        .map_err(|error| unavailable(&error))?;
    let head = select
        .query_row([], |row| Ok(rows::head(row)))
        .map_err(|error| unavailable(&error))??;
    Ok(Tail { head, events })
}

/// The events after a position, up to and with the one that fills a tail.
pub(super) fn after(connection: &Connection, after: Position, limit: usize) -> Result<Vec<Recorded>, StoreError> {
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let mut select = connection
        .prepare_cached(statements::TAIL)
        .map_err(|error| unavailable(&error))?;
    let rows = select.query(params![after, rows::limit(limit)]);
    events(rows.map_err(|error| unavailable(&error))?, TAIL_BYTES_MAX)
}

/// The events up to and with the one that brings their data to `bytes_max`.
fn events(mut rows: Rows<'_>, bytes_max: usize) -> Result<Vec<Recorded>, StoreError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max
        && let Some(row) = rows.next().map_err(|error| unavailable(&error))?
    {
        let event = rows::event(row)?;
        bytes += event.data.get().len();
        events.push(event);
    }
    Ok(events)
}

impl Cells for Row<'_> {
    fn number(&self, place: usize) -> Result<i64, StoreError> {
        self.get(place).map_err(rows::damaged)
    }

    fn text(&self, place: usize) -> Result<&str, StoreError> {
        self.get_ref(place)
            .map_err(rows::damaged)?
            .as_str()
            .map_err(rows::damaged)
    }
}
