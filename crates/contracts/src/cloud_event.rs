//! An event on the wire: [CloudEvents 1.0](https://cloudevents.io), JSON format, structured mode.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use crate::{DecodeError, EventData, EventId, Service};

/// The media type of one event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// An event with its envelope, on brokers, on streams, in webhooks and in the public log alike.
///
/// `data` is raw, so that it passes through byte for byte; read an event from a text, not from a `Value`. Texts and data may be
/// borrowed from there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloudEvent<T = String, D = Box<RawValue>> {
    /// The version of CloudEvents, always `1.0`.
    pub specversion: SpecVersion,
    /// The event's id. The pair of source and id is unique.
    pub id: EventId,
    /// The service whose journal it comes from, written as `/services/orders`.
    #[serde(with = "source")]
    pub source: Service,
    /// The event's type: `order.placed`.
    pub r#type: T,
    /// The stream: the id of the aggregate that it happened to.
    pub subject: T,
    /// When it happened. Never before its predecessor in the same journal.
    pub time: Timestamp,
    /// The media type of `data`, always `application/json`.
    pub datacontenttype: ContentType,
    /// The schema of `data`, from 1, as [`EventData::decode`] takes it.
    pub schemaversion: u16,
    /// What keeps events in order on a broker: the stream.
    pub partitionkey: T,
    /// The W3C trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<T>,
    /// The position in the journal of the service that hands it out, from 1; 0 for an access event, which is in no
    /// journal. On the wire it has 20 digits, so that it sorts as text.
    #[serde(with = "position")]
    pub sequence: u64,
    /// The position of the event before it in the same lane; 0 if it is the first. On the wire as `sequence` is.
    #[serde(with = "position")]
    pub prev: u64,
    /// The epoch of the journal. Positions of different epochs do not compare.
    pub epoch: T,
    /// The lane: a hash of the stream, below the number of lanes.
    pub lane: u16,
    /// The version of the stream that it made, from 1; 0 for an access event.
    pub streamversion: u64,
    /// Who caused it: the id of a user, or the name of a consumer. No other personal data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<T>,
    /// What all events of one request share.
    pub correlationid: T,
    /// The event or the request that it follows from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<T>,
    /// The payload.
    pub data: D,
}

impl CloudEvent {
    /// Reads the payload as one of the events of `E`.
    ///
    /// # Errors
    /// Those of [`EventData::decode`].
    pub fn decode<E: EventData>(&self) -> Result<E, DecodeError> {
        E::decode(&self.r#type, self.schemaversion, self.data.get())
    }
}

/// A text that can be one thing only.
macro_rules! constant {
    ($(#[$doc:meta])* $Name:ident = $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $Name {
            #[doc = concat!("`", $text, "`.")]
            #[default]
            #[serde(rename = $text)]
            Only,
        }
    };
}

constant! {
    /// The version of CloudEvents.
    SpecVersion = "1.0"
}
constant! {
    /// The media type of the data.
    ContentType = "application/json"
}

/// Reads what a text says, wherever that stands.
struct Said<F> {
    what: &'static str,
    read: F,
}

impl<T, F: FnOnce(&str) -> Option<T>> de::Visitor<'_> for Said<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let what = self.what;
        (self.read)(text).ok_or_else(|| E::custom(format_args!("must be {what}")))
    }
}

mod source {
    use super::*;

    pub(super) fn serialize<S: Serializer>(service: &Service, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(service.source())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Service, D::Error> {
        deserializer.deserialize_str(Said {
            what: "a source such as `/services/orders`",
            read: Service::from_source,
        })
    }
}

mod position {
    use super::*;

    pub(super) fn serialize<S: Serializer>(position: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{position:020}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(Said {
            what: "a position in decimal digits",
            read: |digits: &str| digits.parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PublicEvent, user};

    const WIRE: &str = concat!(
        r#"{"specversion":"1.0","id":"evt_01h455vb4pex5vsknk084sn02q","source":"/services/users","#,
        r#""type":"user.erased","subject":"usr_01h455vb4pex5vsknk084sn02q","time":"2026-01-02T03:04:05.678Z","#,
        r#""datacontenttype":"application/json","schemaversion":1,"partitionkey":"usr_01h455vb4pex5vsknk084sn02q","#,
        r#""sequence":"00000000000000000042","prev":"00000000000000000000","epoch":"e1","lane":3,"streamversion":7,"#,
        r#""correlationid":"req_1","data":{"user_id":"usr_01h455vb4pex5vsknk084sn02q"}}"#
    );

    #[test]
    fn the_wire_form_passes_through_byte_for_byte() {
        let event: CloudEvent = serde_json::from_str(WIRE).unwrap();
        assert_eq!((event.sequence, event.prev, event.source), (42, 0, Service::Users));
        assert_eq!(serde_json::to_string(&event).unwrap(), WIRE);
        let user_id = "usr_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        assert_eq!(event.decode::<PublicEvent>().unwrap(), user::Erased { user_id }.into());
    }

    #[test]
    fn an_envelope_that_is_not_ours_is_refused() {
        for (ours, theirs) in [
            (r#""1.0""#, r#""0.3""#),
            ("/services/users", "/services/shop"),
            ("00000000000000000042", "x"),
            ("application/json", "text/xml"),
        ] {
            assert!(
                serde_json::from_str::<CloudEvent>(&WIRE.replace(ours, theirs)).is_err(),
                "{theirs}"
            );
        }
    }
}
