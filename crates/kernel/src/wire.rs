//! A message as a broker carries it: a [CloudEvents 1.0](https://github.com/cloudevents/spec) JSON message, structured mode,
//! of the type [`CONTENT_TYPE`].
//!
//! ```json
//! {"specversion":"1.0","id":"evt_…","source":"/services/orders","type":"order.placed","subject":"ord_…",
//!  "time":"2026-01-02T03:04:05.678901Z","datacontenttype":"application/json","schemaversion":1,"partitionkey":"ord_…",
//!  "traceparent":"00-…","sequence":"00000000000000000042","prev":"00000000000000000041","epoch":"…","lane":3,
//!  "streamversion":1,"actor":"usr_…","correlationid":"…","causationid":"evt_…","data":{…}}
//! ```
//!
//! `partitionkey` (the stream), `sequence` (the position, as text of 20 digits that sorts) and `traceparent` are as the
//! extensions for partitioning, sequence and distributed tracing have them; `schemaversion`, `prev`, `epoch`, `lane`,
//! `streamversion`, `actor`, `correlationid` and `causationid` are ours. Members that are not known are passed over, so that a
//! newer publisher may add some. `data` goes through byte for byte.

use std::borrow::Cow;
use std::sync::Arc;

use contracts::{CloudEvent, Service, cloud_event};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::bus::{BusError, Message};
use crate::event::{Epoch, Lane, Meta, Position, Recorded, StreamId};
use crate::store::{ENVELOPE_BYTES_MAX, EVENT_BYTES_MAX};

pub use contracts::cloud_event::CONTENT_TYPE;

/// The largest message: the largest data, which may hold another event in its envelope, and the envelope around it. Every
/// broker takes so much, or is refused when it is opened.
pub const MESSAGE_BYTES_MAX: usize = EVENT_BYTES_MAX + 2 * ENVELOPE_BYTES_MAX;

/// Why bytes are no message of ours.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No JSON, or not of a CloudEvent that we write: something is missing, or of another kind.
    #[error("it is no event of ours: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The partition key is not the stream, so its order would not be the stream's.
    #[error("its partition key {key} is not its subject {subject}")]
    Key {
        /// What the broker goes by.
        key: String,
        /// The stream.
        subject: String,
    },
    /// It is in no journal.
    #[error("its sequence is 0: positions begin with 1")]
    Position,
    /// It would come before its predecessor.
    #[error("its prev {prev} is not before its sequence {position}")]
    Prev {
        /// The predecessor's position.
        prev: Position,
        /// Its own.
        position: Position,
    },
    /// It is at no place in its stream.
    #[error("its streamversion is 0: versions begin with 1")]
    Version,
    /// The journal's life has no name.
    #[error("its epoch {0} is no UUID")]
    Epoch(String),
    /// Journals keep whole microseconds.
    #[error("its time {0} is finer than microseconds")]
    Time(jiff::Timestamp),
    /// Nobody caused it.
    #[error("it has no actor")]
    Actor,
    /// What it follows from is not an event.
    #[error("its causationid {0} is no id of an event")]
    Causation(String),
}

/// The event of a service's journal with its envelope.
#[must_use]
pub fn cloud_event(source: Service, epoch: Epoch, event: &Recorded) -> CloudEvent {
    envelope(source, epoch, event, event.data.clone())
}

fn envelope<'a, T, D>(source: Service, epoch: Epoch, event: &'a Recorded, data: D) -> CloudEvent<T, D>
where
    T: From<&'a str> + From<String>,
{
    CloudEvent {
        specversion: cloud_event::SpecVersion::Only,
        id: event.id,
        source,
        r#type: T::from(&*event.event_type),
        subject: T::from(event.stream.as_str()),
        time: event.time,
        datacontenttype: cloud_event::ContentType::Only,
        schemaversion: event.meta.schema,
        partitionkey: T::from(event.stream.as_str()),
        traceparent: event.meta.trace.as_deref().map(T::from),
        sequence: event.position.0,
        prev: event.prev.0,
        epoch: T::from(epoch.0.to_string()),
        lane: event.lane.0,
        streamversion: event.version,
        actor: Some(T::from(&*event.meta.actor)),
        correlationid: T::from(&*event.meta.correlation),
        causationid: event.meta.causation.map(|cause| T::from(cause.to_string())),
        data,
    }
}

/// The message as bytes of JSON.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let Message { source, epoch, event } = message;
    let event: CloudEvent<Cow<'_, str>, _> = envelope(*source, *epoch, event, &event.data);
    serde_json::to_vec(&event).expect("texts, numbers and JSON have a JSON form")
}

/// The message as bytes of JSON, to a broker with so many lanes.
///
/// # Errors
/// If it is in none of them, or larger than brokers take.
pub fn to_send(message: &Message, lanes: u16) -> Result<Vec<u8>, BusError> {
    let event = &message.event;
    if event.lane.0 >= lanes {
        let found = format_args!("0 to {}", event.lane.0);
        return Err(BusError::lanes(message.source, found, lanes));
    }
    let bytes = encode(message);
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(BusError::TooLarge {
            service: message.source,
            position: event.position,
            bytes: bytes.len(),
            bytes_max: MESSAGE_BYTES_MAX,
        });
    }
    Ok(bytes)
}

/// The message that the bytes are.
///
/// # Errors
/// With what is wrong, where [`encode`] did not write them.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    let event: CloudEvent<Text<'_>, &RawValue> = serde_json::from_slice(bytes)?;
    let (position, prev) = (Position(event.sequence), Position(event.prev));
    if event.partitionkey.0 != event.subject.0 {
        return Err(WireError::Key {
            key: event.partitionkey.0.into(),
            subject: event.subject.0.into(),
        });
    }
    if position == Position::START {
        return Err(WireError::Position);
    }
    if prev >= position {
        return Err(WireError::Prev { prev, position });
    }
    if event.streamversion == 0 {
        return Err(WireError::Version);
    }
    if event.time.subsec_nanosecond() % 1000 != 0 {
        return Err(WireError::Time(event.time));
    }
    let Ok(epoch) = Uuid::try_parse(&event.epoch.0) else {
        return Err(WireError::Epoch(event.epoch.0.into()));
    };
    let causation = event
        .causationid
        .map(|id| id.0.parse().map_err(|_| WireError::Causation(id.0.into())));
    let meta = Meta {
        schema: event.schemaversion,
        actor: event.actor.ok_or(WireError::Actor)?.0.into(),
        correlation: event.correlationid.0.into(),
        causation: causation.transpose()?,
        trace: event.traceparent.map(|trace| trace.0.into()),
    };
    let recorded = Recorded {
        position,
        prev,
        id: event.id,
        stream: StreamId::new(event.subject.0),
        version: event.streamversion,
        lane: Lane(event.lane),
        event_type: event.r#type.0.into_owned().into(),
        time: event.time,
        data: event.data.to_owned(),
        meta,
    };
    Ok(Message {
        source: event.source,
        epoch: Epoch(epoch),
        event: Arc::new(recorded),
    })
}

/// A text of a message, borrowed where it stands there as it is meant.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
