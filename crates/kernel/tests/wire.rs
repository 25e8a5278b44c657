//! Messages on the wire: what is written is read the same, and nothing else is read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use contracts::{EventId, Service};
use kernel::bus::Message;
use kernel::event::{Epoch, Lane, Meta, Position, Recorded, StreamId};
use kernel::store::{ENVELOPE_BYTES_MAX, EVENT_BYTES_MAX};
use kernel::wire::{self, MESSAGE_BYTES_MAX};
use proptest::prelude::*;
use serde_json::value::RawValue;
use uuid::Uuid;

const GOLDEN: &str = include_str!("golden/message.json");

fn golden() -> Message {
    let data = "{\"total\": 1.50, \"note\":\"\\u00e9 🦀\" }";
    let event = Recorded {
        position: Position(42),
        prev: Position(17),
        id: "evt_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
        stream: StreamId::new("ord_01h455vb4pex5vsknk084sn02q"),
        version: 1,
        lane: Lane(3),
        event_type: "order.placed".into(),
        time: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        data: RawValue::from_string(data.to_owned()).unwrap(),
        meta: Meta {
            schema: 2,
            actor: "usr_01h455vb4pex5vsknk084sn02q".into(),
            correlation: "req-1".into(),
            causation: Some("evt_01h455vb4pex5vsknk084sn02r".parse().unwrap()),
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        },
    };
    Message {
        source: Service::Orders,
        epoch: Epoch(Uuid::from_u128(42)),
        event: Arc::new(event),
    }
}

/// All of a message, its data byte for byte.
fn whole(message: &Message) -> String {
    let event = serde_json::to_string(&message.event).unwrap();
    format!("{} {} {event}", message.source, message.epoch.0)
}

#[test]
fn a_message_is_on_the_wire_as_its_golden_file_says_and_reads_back() {
    assert_eq!(String::from_utf8(wire::encode(&golden())).unwrap(), GOLDEN.trim_end());
    assert_eq!(whole(&wire::decode(GOLDEN.as_bytes()).unwrap()), whole(&golden()));
}

#[test]
fn what_is_not_known_is_passed_over() {
    let newer = GOLDEN.replace("\"lane\":3", "\"lane\":3,\"colour\":{\"of\":[\"the\"]}");
    assert_eq!(whole(&wire::decode(newer.as_bytes()).unwrap()), whole(&golden()));
}

#[test]
fn what_is_wrong_is_named() {
    for (right, wrong, reason) in [
        ("\"1.0\"", "\"0.3\"", "it is no event of ours: unknown variant `0.3`"),
        (
            "\"evt_01h455vb4pex5vsknk084sn02q\"",
            "\"ord_1\"",
            "must be an id such as",
        ),
        ("/services/orders", "/services/shop", "must be a source such as"),
        ("\"subject\"", "\"object\"", "missing field `subject`"),
        ("\"subject\":\"ord_", "\"subject\":\"sku_", "its partition key ord_"),
        ("application/json", "text/xml", "unknown variant `text/xml`"),
        ("00000000000000000042", "00000000000000000000", "its sequence is 0"),
        ("00000000000000000042", "-1", "must be a position"),
        ("\"00000000000000000042\"", "42", "invalid type: integer `42`"),
        (
            "00000000000000000017",
            "00000000000000000042",
            "its prev 42 is not before its sequence 42",
        ),
        ("\"streamversion\":1", "\"streamversion\":0", "its streamversion is 0"),
        ("\"lane\":3", "\"lane\":65536", "expected u16"),
        ("05.678901Z", "05.6789012Z", "finer than microseconds"),
        (
            "00000000-0000-0000-0000-00000000002a",
            "spring",
            "its epoch spring is no UUID",
        ),
        ("\"actor\"", "\"author\"", "it has no actor"),
        (
            "evt_01h455vb4pex5vsknk084sn02r",
            "req-1",
            "its causationid req-1 is no id of an event",
        ),
        ("\"data\"", "\"date\"", "missing field `data`"),
        ("\"lane\":3", "\"lane\":3,\"lane\":3", "duplicate field `lane`"),
        ("}}", "}", "EOF while parsing"),
        ("}}", "}} {}", "trailing characters"),
    ] {
        let bytes = GOLDEN.replacen(right, wrong, 1);
        assert_ne!(bytes, GOLDEN, "{right} is not in the golden file");
        let bytes = bytes.trim_end().trim_end_matches(char::is_whitespace);
        let error = wire::decode(bytes.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{wrong}: {error}");
    }
    let error = wire::decode(b"\xff\xfe").unwrap_err().to_string();
    assert!(error.starts_with("it is no event of ours"), "{error}");
}

#[test]
fn the_largest_event_stays_below_the_limit() {
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX - 2));
    let stream = StreamId::new("\u{1}".repeat(200));
    let event = Recorded {
        data: RawValue::from_string(data).unwrap(),
        stream,
        ..Recorded::clone(&golden().event)
    };
    let bytes = wire::encode(&Message {
        event: Arc::new(event),
        ..golden()
    });
    assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
}

/// Any text at all, control characters too.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter)
}

/// JSON as somebody else may have written it: spaced, with numbers that no float holds, and with escapes.
fn data() -> impl Strategy<Value = Box<RawValue>> {
    let number =
        prop::sample::select(vec!["0.10", "1e400", "-0", "123456789012345678901234567890"]).prop_map(str::to_owned);
    let string = text().prop_map(|text| serde_json::to_string(&text).unwrap());
    let leaf = prop_oneof![number, string, Just("\"\\u00e9\"".to_owned()), Just("null".to_owned())];
    let json = leaf.prop_recursive(4, 32, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {}\t]", items.join(" ,")));
        let object = (text(), inner).prop_map(|(key, value)| {
            let key = serde_json::to_string(&key).unwrap();
            format!("{{{key}:\n {value}, {key} : 1}}")
        });
        prop_oneof![list, object]
    });
    json.prop_map(|json| RawValue::from_string(json).unwrap())
}

fn message() -> impl Strategy<Value = Message> {
    let ids = (any::<u128>(), any::<u128>(), any::<Option<u128>>());
    let places = (1..=u64::MAX, any::<u64>(), 1..=u64::MAX, any::<u16>());
    let meta = (any::<u16>(), text(), text(), prop::option::of(text()));
    let time = jiff::Timestamp::MIN.as_microsecond()..=jiff::Timestamp::MAX.as_microsecond();
    let rest = (prop::sample::select(Service::ALL), text(), text(), time, data());
    (ids, places, meta, rest).prop_map(|(ids, places, meta, (source, stream, event_type, time, data))| {
        let (position, prev, version, lane) = places;
        let (schema, actor, correlation, trace) = meta;
        let event = Recorded {
            position: Position(position),
            prev: Position(prev % position),
            id: EventId::from_uuid(Uuid::from_u128(ids.0)),
            stream: StreamId::new(stream),
            version,
            lane: Lane(lane),
            event_type: event_type.into(),
            time: jiff::Timestamp::from_microsecond(time).unwrap(),
            data,
            meta: Meta {
                schema,
                actor: actor.into(),
                correlation: correlation.into(),
                causation: ids.2.map(|id| EventId::from_uuid(Uuid::from_u128(id))),
                trace: trace.map(Into::into),
            },
        };
        Message {
            source,
            epoch: Epoch(Uuid::from_u128(ids.1)),
            event: Arc::new(event),
        }
    })
}

proptest! {
    #[test]
    fn whatever_is_sent_arrives_as_it_was(message in message()) {
        let bytes = wire::encode(&message);
        prop_assert_eq!(whole(&wire::decode(&bytes).unwrap()), whole(&message));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let _ = wire::decode(&bytes);
        let mut damaged = GOLDEN.as_bytes().to_vec();
        let at = at.index(damaged.len());
        damaged.splice(at..(at + 1), bytes);
        let _ = wire::decode(&damaged);
    }
}
