//! How events get into the log: copies of the other services' public events, and custom events.

use std::sync::{Arc, LazyLock};

use contracts::cloud_event::{ContentType, SpecVersion};
use contracts::{EventData, EventId, PublicEvent, Service};
use kernel::bus::Message;
use kernel::document::{Collection, Document, Kind};
use kernel::event::{Meta, NewEvent, StreamId};
use kernel::reaction::{Failed, Reaction};
use kernel::unit::Unit;
use kernel::writer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::stored::Stored;

/// The stream of custom events about a subject is `custom/<subject>`. Permanent.
pub(crate) const CUSTOM: &str = "custom";

/// How many events a stream of the log has. Streams of the log are `orders/3` (the copies of one lane of one service) and
/// `custom/<subject>`.
///
/// A copy cannot have the stream and the version of its original: the versions of a stream have no gaps, and internal
/// events are not copied. One document per lane costs a batch of copies next to nothing, and a lane keeps the order of
/// every subject in it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct LogStream {
    version: u64,
}

impl Document for LogStream {
    const COLLECTION: &'static Collection = &Collection {
        name: "log_streams",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// Copies the public events of the other services into the log.
#[derive(Clone, Copy, Debug)]
pub struct Log;

static PUBLIC_TYPES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| PublicEvent::TYPES.iter().map(|kind| kind.name).collect());

/// Who copied what and why is the same for all; the copy holds who caused the event.
static COPIED: LazyLock<Arc<Meta>> = LazyLock::new(|| {
    let (actor, correlation) = (format!("service:{}", Service::Events).into(), "log".into());
    Arc::new(Meta {
        schema: 1,
        actor,
        correlation,
        causation: None,
        trace: None,
    })
});

impl Reaction for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn sources(&self) -> &'static [Service] {
        &[
            Service::Users,
            Service::Catalog,
            Service::Inventory,
            Service::Orders,
            Service::Payments,
            Service::Notifications,
        ]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&PUBLIC_TYPES)
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let event = &message.event;
        let stored = Stored {
            specversion: SpecVersion::Only,
            id: event.id,
            source: message.source.source(),
            r#type: &event.event_type,
            subject: event.stream.as_str(),
            time: event.time,
            datacontenttype: ContentType::Only,
            schemaversion: event.meta.schema,
            partitionkey: event.stream.as_str(),
            traceparent: event.meta.trace.as_deref(),
            streamversion: event.version,
            actor: &event.meta.actor,
            correlationid: &event.meta.correlation,
            causationid: event.meta.causation,
            data: &event.data,
        };
        let data = stored.encode().map_err(|error| Failed::Poison(error.to_string()))?;
        let stream = StreamId::new(format!("{}/{}", message.source, event.lane.0));
        let copy = NewEvent {
            id: event.id,
            version: next_version(unit, &stream),
            lane: unit.lane_of(&stream),
            stream,
            event_type: event.event_type.clone(),
            time: unit.now(),
            data,
            meta: Arc::clone(&COPIED),
        };
        unit.record(copy);
        Ok(())
    }
}

/// Appends a custom event as the next one of its stream.
pub(crate) fn append_custom(
    unit: &mut Unit<'_>,
    id: EventId,
    stream: StreamId,
    event_type: &str,
    subject: &str,
    data: &RawValue,
) -> Result<(), writer::Error> {
    let version = next_version(unit, &stream);
    let origin = unit.origin();
    let meta = Meta {
        schema: 1,
        actor: Arc::clone(&origin.actor),
        correlation: Arc::clone(&origin.correlation),
        causation: origin.causation,
        trace: origin.trace.clone(),
    };
    let stored = Stored {
        specversion: SpecVersion::Only,
        id,
        source: Service::Events.source(),
        r#type: event_type,
        subject,
        time: unit.now(),
        datacontenttype: ContentType::Only,
        schemaversion: meta.schema,
        partitionkey: subject,
        traceparent: meta.trace.as_deref(),
        streamversion: version,
        actor: &meta.actor,
        correlationid: &meta.correlation,
        causationid: meta.causation,
        data,
    };
    let data = stored
        .encode()
        .map_err(|error| writer::Error::Content(error.to_string().into()))?;
    let lane = unit.lane_of(&stream);
    let (event_type, time) = (event_type.to_owned().into(), unit.now());
    unit.record(NewEvent {
        id,
        stream,
        version,
        lane,
        event_type,
        time,
        data,
        meta: Arc::new(meta),
    });
    Ok(())
}

fn next_version(unit: &mut Unit<'_>, stream: &StreamId) -> u64 {
    let version = unit.get::<LogStream>(stream).map_or(0, |stream| stream.version) + 1;
    unit.put(stream, LogStream { version });
    version
}
