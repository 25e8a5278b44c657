//! Events and documents as lines of JSON.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contracts::EventId;
use jiff::Timestamp;
use kernel::document::{Collection, Value};
use kernel::event::{Lane, Meta, Position, Recorded, StreamId};
use kernel::store::carry::Carried;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Texts that must come back byte for byte are JSON strings, whatever is in them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// Of the journal.
    Event(Event<'a>),
    /// Of a collection.
    Document(Document<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Event<'a> {
    position: u64,
    prev: u64,
    stream: Cow<'a, str>,
    version: u64,
    lane: u16,
    id: EventId,
    #[serde(rename = "type")]
    event_type: Cow<'a, str>,
    /// Microseconds since 1970.
    time: i64,
    data: Cow<'a, str>,
    meta: Cow<'a, Meta>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document<'a> {
    pub(super) collection: Cow<'a, str>,
    id: Cow<'a, str>,
    version: u64,
    document: Cow<'a, str>,
    columns: Vec<Column>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Column {
    Null,
    Integer(i64),
    Text(Arc<str>),
}

impl<'a> From<&'a Recorded> for Line<'a> {
    fn from(event: &'a Recorded) -> Self {
        Self::Event(Event {
            position: event.position.0,
            prev: event.prev.0,
            stream: event.stream.as_str().into(),
            version: event.version,
            lane: event.lane.0,
            id: event.id,
            event_type: (&*event.event_type).into(),
            time: event.time.as_microsecond(),
            data: event.data.get().into(),
            meta: Cow::Borrowed(&event.meta),
        })
    }
}

impl<'a> Line<'a> {
    pub(super) fn of(collection: &Collection, carried: &'a Carried) -> Self {
        let columns = carried.columns.iter().map(|value| match value {
            Value::Null => Column::Null,
            Value::Integer(number) => Column::Integer(*number),
            Value::Text(text) => Column::Text(Arc::clone(text)),
        });
        Self::Document(Document {
            collection: collection.name.into(),
            id: (&*carried.id).into(),
            version: carried.version,
            document: (&*carried.document).into(),
            columns: columns.collect(),
        })
    }
}

impl Event<'_> {
    pub(super) fn recorded(self) -> Result<Recorded> {
        let data = RawValue::from_string(self.data.into_owned());
        Ok(Recorded {
            position: Position(self.position),
            prev: Position(self.prev),
            id: self.id,
            stream: StreamId::new(self.stream),
            version: self.version,
            lane: Lane(self.lane),
            event_type: self.event_type.into_owned().into(),
            time: Timestamp::from_microsecond(self.time)?,
            data: data.with_context(|| format!("the data of event {} is no JSON", self.position))?,
            meta: self.meta.into_owned(),
        })
    }
}

impl Document<'_> {
    pub(super) fn carried(self) -> Carried {
        let columns = self.columns.into_iter().map(|column| match column {
            Column::Null => Value::Null,
            Column::Integer(number) => Value::Integer(number),
            Column::Text(text) => Value::Text(text),
        });
        Carried {
            id: self.id.into(),
            version: self.version,
            document: self.document.into(),
            columns: columns.collect(),
        }
    }
}
