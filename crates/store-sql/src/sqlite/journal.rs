//! Reading the journal.

use contracts::EventId;
use jiff::Timestamp;
use kernel::event::{Epoch, Lane, Meta, Position, Recorded, StreamId};
use kernel::store::{Head, StoreError, TAIL_BYTES_MAX, Tail};
use rusqlite::{Connection, Row, Rows, params};
use serde_json::value::RawValue;

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
    let rows = select.query(params![id.as_str(), from_version, row_limit(limit)]);
    events(rows.map_err(|error| unavailable(&error))?, usize::MAX)
}

pub(super) fn tail(connection: &mut Connection, after: Position, limit: usize) -> Result<Tail, StoreError> {
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    if limit > 0 {
        let mut select = connection
            .prepare_cached(statements::TAIL)
            .map_err(|error| unavailable(&error))?;
        let rows = select.query(params![after, row_limit(limit)]);
        found = events(rows.map_err(|error| unavailable(&error))?, TAIL_BYTES_MAX)?;
    }
    // Read after the events, so the head is at or beyond them without a transaction around both.
    let mut select = connection
        .prepare_cached(statements::HEAD)
        .map_err(|error| unavailable(&error))?;
    let head = select
        .query_row([], |row| Ok(head(row)))
        .map_err(|error| unavailable(&error))??;
    Ok(Tail { head, events: found })
}

/// The row of `head`.
pub(super) fn head(row: &Row<'_>) -> Result<Head, StoreError> {
    let text = |column| row.get_ref(column).map_err(damaged)?.as_str().map_err(damaged);
    Ok(Head {
        epoch: Epoch(text(0)?.parse().map_err(damaged)?),
        position: Position(row.get(1).map_err(damaged)?),
        time: time(row, 2)?,
        lanes: serde_json::from_str(text(3)?).map_err(damaged)?,
    })
}

/// A limit that SQLite takes: beyond what it can count there is none.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The events up to and with the one that brings their data to `bytes_max`.
fn events(mut rows: Rows<'_>, bytes_max: usize) -> Result<Vec<Recorded>, StoreError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max
        && let Some(row) = rows.next().map_err(|error| unavailable(&error))?
    {
        let event = event(row)?;
        bytes += event.data.get().len();
        events.push(event);
    }
    Ok(events)
}

fn event(row: &Row<'_>) -> Result<Recorded, StoreError> {
    let text = |column| row.get_ref(column).map_err(damaged)?.as_str().map_err(damaged);
    let id: EventId = text(5)?.parse().map_err(damaged)?;
    let lane: u16 = row.get(4).map_err(damaged)?;
    let meta: Meta = serde_json::from_str(text(9)?).map_err(damaged)?;
    Ok(Recorded {
        position: Position(row.get(0).map_err(damaged)?),
        prev: Position(row.get(1).map_err(damaged)?),
        id,
        stream: StreamId::new(text(2)?),
        version: row.get(3).map_err(damaged)?,
        lane: Lane(lane),
        event_type: text(6)?.to_owned().into(),
        time: time(row, 7)?,
        data: RawValue::from_string(text(8)?.to_owned()).map_err(damaged)?,
        meta,
    })
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(row.get(column).map_err(damaged)?).map_err(damaged)
}

/// Something that no commit of ours wrote.
fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::new(format_args!("the journal is damaged: {error}"))
}
