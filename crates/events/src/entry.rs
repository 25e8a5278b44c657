//! An entry of the log as it is handed out, prepared once for all who read it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use contracts::cloud_event::{ContentType, SpecVersion};
use contracts::log::TypePattern;
use contracts::{EventData, Service, Text, UserId};
use kernel::access::Access;
use kernel::event::{Epoch, Position, Recorded};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::stored::Stored;

/// An event with its place in the log: a CloudEvent, and the frame of a live stream around it.
#[derive(Clone, Debug)]
pub struct Entry {
    event_type: Box<str>,
    subject: Box<str>,
    source: Service,
    /// Whose order it is about.
    owner: Option<UserId>,
    frame: Bytes,
    json: Range<usize>,
}

/// An entry, unless it cannot be read; all who read the log share it.
pub(crate) type Readable = Option<Arc<Entry>>;

/// Which entries somebody wants, and may see.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these types.
    pub event_type: Option<TypePattern>,
    /// Of this stream.
    pub subject: Option<Text<200>>,
    /// Of this service.
    pub source: Option<Service>,
    /// About orders of this user, and nothing else.
    pub owner: Option<UserId>,
}

impl Filter {
    /// Whether there is an entry, and it is among them.
    pub(crate) fn admits(&self, entry: &Readable) -> bool {
        entry.as_ref().is_some_and(|entry| self.matches(entry))
    }

    /// Whether the entry is among them.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        self.owner.is_none_or(|owner| entry.owner == Some(owner))
            && self
                .event_type
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&entry.event_type))
            && self
                .subject
                .as_ref()
                .is_none_or(|subject| subject.as_str() == &*entry.subject)
            && self.source.is_none_or(|source| source == entry.source)
    }
}

/// What is read out of a stored CloudEvent.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Events about an order name its owner.
#[derive(Deserialize)]
struct Owned {
    user_id: UserId,
}

impl Entry {
    /// The entry of a recorded event; `None` if it is not one that this service wrote.
    pub(crate) fn of(epoch: Epoch, recorded: &Recorded) -> Option<Self> {
        let stored = recorded.data.get();
        let envelope = serde_json::from_str::<Envelope<'_>>(stored);
        let envelope = envelope.inspect_err(|error| {
            tracing::error!(position = %recorded.position, %error, "an entry of the log cannot be read");
        });
        let envelope = envelope.ok()?;
        let place = format!(
            r#""sequence":"{:020}","prev":"{:020}","epoch":"{}","lane":{},"#,
            recorded.position.0, recorded.prev.0, epoch.0, recorded.lane.0
        );
        let (frame, json) = frame(Some(recorded.position), &place, stored);
        Some(Self {
            owner: owner(&recorded.event_type, envelope.data),
            event_type: (*recorded.event_type).into(),
            subject: envelope.subject.into(),
            source: Service::from_source(&envelope.source)?,
            frame,
            json,
        })
    }

    /// The entry of an access event: it is in no journal, so it has no place in the log and no id on the stream.
    pub(crate) fn of_access(access: &Access) -> Option<Self> {
        let data = access.event.encode().ok()?;
        let event_type = access.event.event_type();
        let stored = Stored {
            specversion: SpecVersion::Only,
            id: access.id,
            source: access.source.source(),
            r#type: event_type,
            subject: access.stream.as_str(),
            time: access.time,
            datacontenttype: ContentType::Only,
            schemaversion: access.event.schema(),
            partitionkey: access.stream.as_str(),
            traceparent: access.trace.as_deref(),
            streamversion: 0,
            actor: &access.actor,
            correlationid: &access.correlation,
            causationid: None,
            data: &data,
        };
        let place = format!(r#""sequence":"{0:020}","prev":"{0:020}","epoch":"","lane":0,"#, 0);
        let (frame, json) = frame(None, &place, stored.encode().ok()?.get());
        Some(Self {
            owner: owner(event_type, &data),
            event_type: event_type.into(),
            subject: access.stream.as_str().into(),
            source: access.source,
            frame,
            json,
        })
    }

    /// The CloudEvent, on one line.
    #[must_use]
    pub fn json(&self) -> &str {
        std::str::from_utf8(&self.frame[self.json.clone()]).expect("the frame was made of text")
    }

    /// Whose order it is about.
    pub(crate) fn owner(&self) -> Option<UserId> {
        self.owner
    }

    /// The entry as a live stream sends it.
    pub(crate) fn frame(&self) -> Bytes {
        self.frame.clone()
    }
}

/// The CloudEvent as it is.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_str(self.json()).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

/// `id: 7`, `data: {…}` and an empty line, and where in it the JSON is. What serde writes has no line breaks.
fn frame(id: Option<Position>, place: &str, stored: &str) -> (Bytes, Range<usize>) {
    let mut frame = String::with_capacity(stored.len() + place.len() + 40);
    if let Some(id) = id {
        frame.push_str("id: ");
        frame.push_str(&id.to_string());
        frame.push('\n');
    }
    frame.push_str("data: {");
    let start = frame.len() - 1;
    frame.push_str(place);
    frame.push_str(stored.strip_prefix('{').unwrap_or(stored));
    let end = frame.len();
    frame.push_str("\n\n");
    (frame.into(), start..end)
}

/// The owner of the order that an order's, a reservation's or a payment's event is about.
fn owner(event_type: &str, data: &RawValue) -> Option<UserId> {
    let of_an_order = ["order.", "inventory.", "payment."]
        .iter()
        .any(|family| event_type.starts_with(family));
    if !of_an_order {
        return None;
    }
    // An event of a SKU's stock names nobody.
    serde_json::from_str::<Owned>(data.get())
        .ok()
        .map(|owned| owned.user_id)
}
