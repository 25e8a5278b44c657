//! Events as the journal keeps them, and the words for where they are.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use contracts::EventId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// An event's place in its service's journal: dense, from 1, in commit order. `Position::START` is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position `count` events further on. Clients name positions, too: there is none beyond the last number.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The events of one aggregate: its id in text (`ord_…`, `sku:…`). Unique within a service's journal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// Any text; aggregates use their TypeID.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many lanes a deployment has; fixed when its first journal is made.
pub const LANES_DEFAULT: u16 = 8;

/// A sub-sequence of a journal that one consumer at a time handles in order. An aggregate stays in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(pub u16);

impl Lane {
    /// CRC-32 (ISO-HDLC) of the stream id, modulo `lanes`. Never changes: journals and brokers depend on it.
    #[must_use]
    pub fn of(stream: &StreamId, lanes: u16) -> Self {
        let hash = crc32fast::hash(stream.as_str().as_bytes());
        Self(u16::try_from(hash % u32::from(lanes)).expect("a remainder below a u16 fits a u16"))
    }

    /// As an index into per-lane lists.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The life of a journal between restores. Positions of different epochs say nothing about each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub Uuid);

/// Who caused a change: `usr_…`, `service:<name>` or `system`; never a name or an address.
pub type Actor = Arc<str>;

/// What an event carries besides its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the data's stored form.
    pub schema: u16,
    /// Who caused it.
    pub actor: Actor,
    /// The request that everything downstream of it shares.
    pub correlation: Arc<str>,
    /// The event that a reaction answered with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<EventId>,
    /// W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<str>>,
}

/// An event on its way into the journal.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Unique for ever; consumers outside dedupe by it.
    pub id: EventId,
    /// The aggregate's stream.
    pub stream: StreamId,
    /// Place in the stream, from 1; also the expectation that it is the next one.
    pub version: u64,
    /// [`Lane::of`] the stream.
    pub lane: Lane,
    /// `order.placed` and the like; permanent.
    pub event_type: Cow<'static, str>,
    /// When it was decided; never before the journal's last event.
    pub time: Timestamp,
    /// The payload as JSON.
    pub data: Box<RawValue>,
    /// Who, why, and in which form.
    pub meta: Arc<Meta>,
}

impl NewEvent {
    /// The event as it is in the journal.
    #[must_use]
    pub fn recorded(&self, position: Position, prev: Position) -> Recorded {
        Recorded {
            position,
            prev,
            id: self.id,
            stream: self.stream.clone(),
            version: self.version,
            lane: self.lane,
            event_type: self.event_type.clone(),
            time: self.time,
            data: self.data.clone(),
            meta: Meta::clone(&self.meta),
        }
    }
}

/// An event in the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Place in the journal.
    pub position: Position,
    /// Position of the same lane's previous event, or [`Position::START`].
    pub prev: Position,
    /// Unique for ever.
    pub id: EventId,
    /// The aggregate's stream.
    pub stream: StreamId,
    /// Place in the stream, from 1.
    pub version: u64,
    /// The stream's lane.
    pub lane: Lane,
    /// `order.placed` and the like.
    pub event_type: Cow<'static, str>,
    /// When it was decided, in whole microseconds.
    pub time: Timestamp,
    /// The payload as JSON, byte for byte as committed.
    pub data: Box<RawValue>,
    /// Who, why, and in which form.
    pub meta: Meta,
}
