//! What documents in MongoDB mean.

use std::borrow::Cow;
use std::fmt::Display;

use bson::raw::{RawBsonRef, RawDocument};
use bson::{Bson, Document, doc};
use jiff::Timestamp;
use kernel::document::Value;
use kernel::event::{Epoch, Lane, Position, Recorded, StreamId};
use kernel::store::serial::{Latest, Row};
use kernel::store::{Head, StoreError, Stored};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// An event in `journal`. Times are microseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    #[serde(rename = "_id")]
    position: i64,
    prev: i64,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    version: i64,
    lane: i64,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    time: i64,
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    meta: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    pub(crate) fn of(event: &'a Recorded) -> Self {
        let meta = serde_json::to_string(&event.meta).expect("metadata is plain text and numbers");
        Self {
            position: signed(event.position.0),
            prev: signed(event.prev.0),
            stream: event.stream.as_str().into(),
            version: signed(event.version),
            lane: event.lane.0.into(),
            id: event.id.to_string().into(),
            event_type: (&*event.event_type).into(),
            time: event.time.as_microsecond(),
            data: event.data.get().into(),
            meta: meta.into(),
        }
    }

    pub(crate) fn read(document: &'a RawDocument) -> Result<Self, StoreError> {
        bson::deserialize_from_slice(document.as_bytes()).map_err(damaged)
    }

    pub(crate) fn event(self) -> Result<Recorded, StoreError> {
        Ok(Recorded {
            position: Position(unsigned(self.position)?),
            prev: Position(unsigned(self.prev)?),
            id: self.id.parse().map_err(damaged)?,
            stream: StreamId::new(&*self.stream),
            version: unsigned(self.version)?,
            lane: Lane(self.lane.try_into().map_err(damaged)?),
            event_type: self.event_type.into_owned().into(),
            time: time(self.time)?,
            data: RawValue::from_string(self.data.into_owned()).map_err(damaged)?,
            meta: serde_json::from_str(&self.meta).map_err(damaged)?,
        })
    }
}

/// The document in `head`. Whoever writes takes it first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeadRow {
    pub(crate) epoch: String,
    pub(crate) position: i64,
    pub(crate) time: i64,
    /// The last position of each lane.
    pub(crate) lanes: Vec<i64>,
    /// The collections that were emptied and are not yet filled again.
    pub(crate) rebuilding: Option<Vec<String>>,
    /// Which of [`crate::names::FORMS`] the collections have, counted from 1.
    pub(crate) form: i64,
    /// When it was made.
    pub(crate) made_at: String,
    /// How many transactions have taken it. MongoDB passes over an update that changes nothing, and with it the lock.
    pub(crate) taken: i64,
}

impl HeadRow {
    pub(crate) fn head(&self) -> Result<Head, StoreError> {
        let lanes = self.lanes.iter().map(|last| unsigned(*last).map(Position));
        Ok(Head {
            epoch: Epoch(self.epoch.parse().map_err(damaged)?),
            position: Position(unsigned(self.position)?),
            time: time(self.time)?,
            lanes: lanes.collect::<Result<_, _>>()?,
        })
    }
}

/// What a commit leaves in `head`.
pub(crate) fn moved(head: &Head) -> Document {
    let lanes: Vec<i64> = head.lanes.iter().map(|last| signed(last.0)).collect();
    doc! { "$set": {
        "epoch": head.epoch.0.to_string(),
        "position": signed(head.position.0),
        "time": head.time.as_microsecond(),
        "lanes": lanes,
    } }
}

/// A writer's latest batch in `batches`, whose `_id` is the writer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BatchRow {
    id: String,
    last: i64,
}

impl BatchRow {
    pub(crate) fn latest(&self) -> Result<Latest, StoreError> {
        Ok(Latest {
            batch: self.id.parse().map_err(damaged)?,
            last: Position(unsigned(self.last)?),
        })
    }
}

/// What a commit leaves in `batches`.
pub(crate) fn left(latest: Latest) -> Document {
    doc! { "id": latest.batch.to_string(), "last": signed(latest.last.0) }
}

/// A document to write: `doc` comes last, so that filtering by a column never reads past a long document.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) row: &'a Row<'a>,
    pub(crate) columns: &'a [kernel::document::Column],
}

impl Written<'_> {
    /// About as many bytes as MongoDB has to take for it.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.columns.iter().zip(self.row.columns);
        let columns = columns.map(|(column, value)| {
            FIELD_BYTES
                + column.name.len()
                + match value {
                    Value::Text(text) => text.len(),
                    Value::Integer(_) | Value::Null => 0,
                }
        });
        // The id is there twice: as what to look for, and in the document.
        8 * FIELD_BYTES + 2 * self.row.id.len() + self.row.document.len() + columns.sum::<usize>()
    }
}

/// What a field takes beside its name and its text.
const FIELD_BYTES: usize = 16;

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("_id", self.row.id)?;
        map.serialize_entry("version", &signed(self.row.version))?;
        for (column, value) in self.columns.iter().zip(self.row.columns) {
            match value {
                Value::Null => map.serialize_entry(column.name, &None::<i64>)?,
                Value::Integer(number) => map.serialize_entry(column.name, number)?,
                Value::Text(text) => map.serialize_entry(column.name, &**text)?,
            }
        }
        map.serialize_entry("doc", self.row.document)?;
        map.end()
    }
}

/// The version and the document.
pub(crate) fn stored(row: &RawDocument) -> Result<Stored, StoreError> {
    Ok(Stored {
        version: version(row)?,
        document: row.get_str("doc").map_err(damaged)?.into(),
    })
}

/// From 1.
pub(crate) fn version(row: &RawDocument) -> Result<u64, StoreError> {
    unsigned(row.get_i64("version").map_err(damaged)?)
}

/// The value of a column.
pub(crate) fn column(row: &RawDocument, name: &str) -> Result<Value, StoreError> {
    match row.get(name).map_err(damaged)? {
        None | Some(RawBsonRef::Null) => Ok(Value::Null),
        Some(RawBsonRef::Int64(number)) => Ok(Value::Integer(number)),
        Some(RawBsonRef::String(text)) => Ok(text.into()),
        Some(other) => Err(damaged(format_args!("{name} is a {:?}", other.element_type()))),
    }
}

/// A value as MongoDB has it.
pub(crate) fn bson_of(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Integer(number) => Bson::Int64(*number),
        Value::Text(text) => Bson::String((**text).to_owned()),
    }
}

/// Versions and positions count one by one from 1, so a larger number than the database has is one that nothing has.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    number.try_into().map_err(damaged)
}

fn time(microseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(microseconds).map_err(damaged)
}

/// Something that no commit of ours wrote.
pub(crate) fn damaged(error: impl Display) -> StoreError {
    StoreError::new(format_args!("the journal is damaged: {error}"))
}
