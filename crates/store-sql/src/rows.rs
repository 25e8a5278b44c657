//! What the rows of `head` and `journal` mean, whichever database they come from.

use std::fmt::Display;

use contracts::EventId;
use jiff::Timestamp;
use kernel::event::{Epoch, Lane, Meta, Position, Recorded, StreamId};
use kernel::store::{Head, StoreError};
use serde_json::value::RawValue;

/// A row, by the places of its columns.
pub(crate) trait Cells {
    /// A number that is there.
    fn number(&self, place: usize) -> Result<i64, StoreError>;

    /// Text that is there.
    fn text(&self, place: usize) -> Result<&str, StoreError>;
}

/// `epoch, position, time, lanes`.
pub(crate) fn head(row: &impl Cells) -> Result<Head, StoreError> {
    Ok(Head {
        epoch: Epoch(row.text(0)?.parse().map_err(damaged)?),
        position: position(row, 1)?,
        time: time(row, 2)?,
        lanes: serde_json::from_str(row.text(3)?).map_err(damaged)?,
    })
}

/// `position, prev, stream, version, lane, id, type, time, data, meta`.
pub(crate) fn event(row: &impl Cells) -> Result<Recorded, StoreError> {
    let id: EventId = row.text(5)?.parse().map_err(damaged)?;
    let meta: Meta = serde_json::from_str(row.text(9)?).map_err(damaged)?;
    Ok(Recorded {
        position: position(row, 0)?,
        prev: position(row, 1)?,
        id,
        stream: StreamId::new(row.text(2)?),
        version: count(row, 3)?,
        lane: Lane(row.number(4)?.try_into().map_err(damaged)?),
        event_type: row.text(6)?.to_owned().into(),
        time: time(row, 7)?,
        data: RawValue::from_string(row.text(8)?.to_owned()).map_err(damaged)?,
        meta,
    })
}

/// A version or a position.
pub(crate) fn count(row: &impl Cells, place: usize) -> Result<u64, StoreError> {
    row.number(place)?.try_into().map_err(damaged)
}

/// Something that no commit of ours wrote.
pub(crate) fn damaged(error: impl Display) -> StoreError {
    StoreError::new(format_args!("the journal is damaged: {error}"))
}

/// A limit that the database takes: beyond what it can count there is none.
pub(crate) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn position(row: &impl Cells, place: usize) -> Result<Position, StoreError> {
    count(row, place).map(Position)
}

fn time(row: &impl Cells, place: usize) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(row.number(place)?).map_err(damaged)
}
