//! Several events of a lane in one message, in the [JSON batch format] of CloudEvents: to the broker and to its client a message
//! costs nearly the same whatever is in it.
//!
//! [JSON batch format]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format

use std::collections::BTreeMap;

use bytes::Bytes;
use kernel::event::Lane;
use serde_json::value::RawValue;

/// The type of what is in a message with several events.
pub(crate) const CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// So many bytes of events are put into one message; what is larger goes by itself.
const BYTES_MAX: usize = 16 * 1024;

/// An event on its way to the broker.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) bytes: Vec<u8>,
}

/// Puts events of the same lane together. Within a lane they stay in order, from one parcel to the next too.
pub(crate) fn parcels<'a>(events: impl IntoIterator<Item = (Lane, Event<'a>)>) -> Vec<(Lane, Vec<Event<'a>>)> {
    let mut parcels: Vec<(Lane, Vec<Event<'_>>)> = Vec::new();
    // Of each lane, which of them is its last, and how many bytes are in that.
    let mut last: BTreeMap<Lane, (usize, usize)> = BTreeMap::new();
    for (lane, event) in events {
        let bytes = event.bytes.len();
        match last.get_mut(&lane) {
            Some((parcel, filled)) if *filled + bytes <= BYTES_MAX => {
                *filled += bytes;
                parcels[*parcel].1.push(event);
            }
            _ => {
                last.insert(lane, (parcels.len(), bytes));
                parcels.push((lane, vec![event]));
            }
        }
    }
    parcels
}

/// The events as one message.
pub(crate) fn joined(events: &[Event<'_>]) -> Vec<u8> {
    let mut joined = vec![b'['];
    for (number, event) in events.iter().enumerate() {
        if number > 0 {
            joined.push(b',');
        }
        joined.extend_from_slice(&event.bytes);
    }
    joined.push(b']');
    joined
}

/// The events of such a message, in order; what is none, as it came.
pub(crate) fn split(message: &Bytes) -> Vec<Bytes> {
    match serde_json::from_slice::<Vec<&RawValue>>(message) {
        Ok(events) => events
            .into_iter()
            .map(|event| message.slice_ref(event.get().as_bytes()))
            .collect(),
        Err(_) => vec![message.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: impl Into<Vec<u8>>) -> Event<'static> {
        Event {
            event_type: "",
            bytes: bytes.into(),
        }
    }

    #[test]
    fn what_goes_to_a_lane_goes_together_and_in_order() {
        let events = [(1, "a"), (2, "b"), (1, "c"), (1, "d"), (2, "e"), (3, "f")];
        let parcels = parcels(events.map(|(lane, bytes)| (Lane(lane), event(bytes))));
        let lanes: Vec<u16> = parcels.iter().map(|(lane, _)| lane.0).collect();
        let found: Vec<Vec<u8>> = parcels.iter().map(|(_, events)| joined(events)).collect();
        assert_eq!(lanes, [1, 2, 3]);
        assert_eq!(found, [b"[a,c,d]".as_slice(), b"[b,e]", b"[f]"]);
    }

    #[test]
    fn what_is_too_much_goes_in_more_than_one_and_in_order() {
        let half = BYTES_MAX / 2;
        let sizes = [half, half, 1, BYTES_MAX + 1, 2, 3];
        let found: Vec<Vec<usize>> = parcels(sizes.map(|size| (Lane(0), event(vec![b'x'; size]))))
            .iter()
            .map(|(_, events)| events.iter().map(|event| event.bytes.len()).collect())
            .collect();
        assert_eq!(found, [vec![half, half], vec![1], vec![BYTES_MAX + 1], vec![2, 3]]);
    }

    #[test]
    fn events_come_out_byte_for_byte_as_they_went_in() {
        let events = [r#"{"a":1}"#, r#"{ "b" : [1.50, "]"] }"#, "{}"];
        let message = Bytes::from(joined(&events.map(event)));
        assert_eq!(split(&message), events);
        let expected: serde_json::Value = serde_json::from_str(r#"[{"a":1},{"b":[1.50,"]"]},{}]"#).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&message).unwrap(), expected);
    }

    #[test]
    fn what_is_no_batch_comes_as_it_is() {
        for bytes in ["", "[", r#"{"a":1}"#, "[{}] and more"] {
            assert_eq!(split(&Bytes::from(bytes)), [bytes]);
        }
    }
}
