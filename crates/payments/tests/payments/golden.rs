//! Every internal event has a golden line: the stored form that the journal holds for ever. Public ones are in contracts.
//!
//! A line is only ever added. A change to one is a change to what is stored already: make a new schema instead.

use std::collections::BTreeSet;

use contracts::EventData;
use payments::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

const GOLDEN: &str = include_str!("golden/internal_events.jsonl");

#[derive(Deserialize)]
struct Golden {
    r#type: String,
    schema: u16,
    data: Box<RawValue>,
}

#[test]
fn each_internal_event_is_stored_as_its_golden_line_says() {
    let mut seen = BTreeSet::new();
    for line in GOLDEN.lines() {
        let golden: Golden = serde_json::from_str(line).unwrap();
        let event = Event::decode(&golden.r#type, golden.schema, golden.data.get()).unwrap();
        if event.schema() == golden.schema {
            assert_eq!(event.encode().unwrap().get(), golden.data.get(), "{}", golden.r#type);
        }
        seen.insert(golden.r#type);
    }
    let internal = Event::TYPES
        .iter()
        .filter(|kind| !kind.public)
        .map(|kind| kind.name.to_owned());
    assert_eq!(seen, internal.collect());
}
