//! Events: as journals keep them, and as brokers and clients see them.

use contracts::{CloudEvent, EventData, PublicEvent};
use kernel::wire;
use serde::Deserialize;
use serde_json::value::RawValue;

/// As the golden files have it.
#[derive(Deserialize)]
struct Stored {
    r#type: String,
    schema: u16,
    data: Box<RawValue>,
}

/// What is read of an event is written in today's schema, and reads the same again.
fn read<E: EventData + PartialEq + std::fmt::Debug>(event_type: &str, schema: u16, data: &str) {
    let Ok(event) = E::decode(event_type, schema, data) else {
        return;
    };
    assert_eq!(event.event_type(), event_type);
    assert!(event.schema() >= schema, "{event_type} is read in schema {schema}");
    let written = event.encode().expect("an event has a JSON form");
    let again = E::decode(event.event_type(), event.schema(), written.get());
    assert_eq!(again.expect("what was written can be read"), event, "{}", written.get());
}

pub(crate) fn stored(bytes: &[u8]) {
    let Ok(Stored { r#type, schema, data }) = serde_json::from_slice(bytes) else {
        return;
    };
    for read in [
        read::<PublicEvent>,
        read::<users::Event>,
        read::<catalog::Event>,
        read::<inventory::StockEvent>,
        read::<inventory::ReservationEvent>,
        read::<orders::Event>,
        read::<payments::Event>,
        read::<notifications::Event>,
    ] {
        read(&r#type, schema, data.get());
    }
}

pub(crate) fn on_the_wire(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<CloudEvent>(bytes) else {
        return;
    };
    let written = serde_json::to_string(&event).expect("an event has a JSON form");
    let again: CloudEvent = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(again.data.get(), event.data.get(), "the payload passes byte for byte");
    assert_eq!(
        serde_json::to_string(&again).expect("an event has a JSON form"),
        written
    );
    read::<PublicEvent>(&event.r#type, event.schemaversion, event.data.get());
    if let Ok(message) = wire::decode(bytes) {
        let again = wire::decode(&wire::encode(&message)).expect("what was written can be read");
        assert_eq!(
            again.event.data.get(),
            message.event.data.get(),
            "the payload passes byte for byte"
        );
    }
}
