//! The stored form of internal events. (Those of public ones are in `contracts`.) A line is only ever added.

use std::collections::BTreeSet;

use contracts::EventData;
use notifications::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

const GOLDEN: &str = include_str!("../golden/events.jsonl");

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
        assert_eq!((event.event_type(), event.schema()), (&*golden.r#type, golden.schema));
        assert_eq!(event.encode().unwrap().get(), golden.data.get());
        seen.insert(golden.r#type);
    }
    let internal: BTreeSet<_> = Event::TYPES
        .iter()
        .filter(|kind| !kind.public)
        .map(|kind| kind.name.to_owned())
        .collect();
    assert_eq!(seen, internal);
}
