//! Every public event has a golden line: the stored form that brokers, logs and consumers hold for ever.
//!
//! A line is only ever added. A change to one is a change to what is stored already: make a new schema instead.
//! `UPDATE_GOLDEN=1 cargo test -p contracts` appends the lines of new events.

#![expect(clippy::unwrap_used, reason = "a fixture that is not valid should stop the test")]

use std::collections::BTreeSet;

use contracts::{
    Currency, EventData, Id, Money, PublicEvent, Quantity, Role, notification, order, payment, product, stock, user,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/public_events.jsonl");

#[derive(Serialize, Deserialize)]
struct Golden {
    r#type: String,
    schema: u16,
    data: Box<RawValue>,
}

#[test]
fn each_public_event_is_stored_as_its_golden_line_says() {
    let lines = samples().iter().map(golden).collect::<Vec<_>>();
    let stored = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let known = stored.lines().collect::<BTreeSet<_>>();
        let new = lines
            .iter()
            .filter(|line| !known.contains(line.as_str()))
            .map(|line| format!("{line}\n"));
        std::fs::write(GOLDEN, stored.clone() + &new.collect::<String>()).unwrap();
        return;
    }
    for line in lines {
        assert!(
            stored.lines().any(|golden| golden == line),
            "no golden line says:\n{line}"
        );
    }
}

#[test]
fn every_golden_line_is_still_read() {
    let stored = std::fs::read_to_string(GOLDEN).unwrap();
    for line in stored.lines() {
        let golden: Golden = serde_json::from_str(line).unwrap();
        let event = PublicEvent::decode(&golden.r#type, golden.schema, golden.data.get()).unwrap();
        assert_eq!(event.event_type(), golden.r#type);
        assert!(event.schema() >= golden.schema);
        let written = event.encode().unwrap();
        assert_eq!(
            PublicEvent::decode(event.event_type(), event.schema(), written.get()).unwrap(),
            event
        );
    }
}

#[test]
fn every_type_has_a_sample_and_each_is_public() {
    let sampled = samples().iter().map(EventData::event_type).collect::<BTreeSet<_>>();
    let declared = PublicEvent::TYPES.iter().map(|kind| kind.name).collect::<BTreeSet<_>>();
    assert_eq!(sampled, declared);
    assert_eq!(declared.len(), PublicEvent::TYPES.len());
    assert!(PublicEvent::TYPES.iter().all(|kind| kind.public && kind.schema > 0));
    assert!(PublicEvent::is_public("order.placed"));
}

#[test]
fn events_of_orders_reservations_and_payments_name_the_order_and_its_owner() {
    for event in samples() {
        let name = event.event_type();
        let of_an_order = name.starts_with("order.")
            || name.starts_with("payment.")
            || (name.starts_with("inventory.") && name != "inventory.updated");
        let data = event.encode().unwrap();
        assert!(
            !of_an_order || (data.get().contains("\"order_id\"") && data.get().contains("\"user_id\"")),
            "{name}"
        );
    }
}

fn golden(event: &PublicEvent) -> String {
    let golden = Golden {
        r#type: event.event_type().to_owned(),
        schema: event.schema(),
        data: event.encode().unwrap(),
    };
    serde_json::to_string(&golden).unwrap()
}

fn id<I: Id>() -> I {
    let text = format!("{}_01h455vb4pex5vsknk084sn02q", I::PREFIX);
    text.parse().unwrap()
}

fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}

/// At least one of each type; more where a type has forms of its own.
fn samples() -> Vec<PublicEvent> {
    let (user_id, order_id, payment_id) = (id(), id(), id());
    let (reservation_id, product_id, notification_id) = (id(), id(), id());
    let sku = || "LAMP-1".try_into().unwrap();
    let name = || "Lamp".try_into().unwrap();
    let price = || usd(1250).try_into().unwrap();
    let lines = || {
        vec![stock::ReservationLine {
            sku: sku(),
            product_id,
            quantity: 2,
        }]
    };
    let shortages = || {
        vec![stock::Shortage {
            sku: sku(),
            requested: 2,
            available: 1,
        }]
    };
    let attributes: contracts::Attributes = serde_json::from_str(r#"{"colour":"red"}"#).unwrap();
    let amount = usd(2500);
    let quantity = Quantity::try_from(2_i64).unwrap();
    let line = order::OrderLine::new(sku(), product_id, name(), quantity, price()).unwrap();
    let (template, channel) = (
        "order-confirmed".parse::<contracts::Slug>().unwrap(),
        notification::Channel::Log,
    );
    vec![
        user::Registered {
            user_id,
            role: Role::Customer,
        }
        .into(),
        user::Updated {
            user_id,
            changed: vec!["name".to_owned()],
            role: Role::Admin,
        }
        .into(),
        user::LoggedIn {
            user_id,
            session_id: id(),
        }
        .into(),
        user::Viewed { user_id }.into(),
        user::Erased { user_id }.into(),
        product::Created {
            product_id,
            sku: sku(),
            name: name(),
            price: price(),
            description: None,
            attributes: None,
            image_url: None,
            initial_stock: 0,
        }
        .into(),
        product::Created {
            product_id,
            sku: sku(),
            name: name(),
            price: price(),
            description: Some("It shines.".try_into().unwrap()),
            attributes: Some(attributes.clone()),
            image_url: Some("https://example.com/lamp.png".try_into().unwrap()),
            initial_stock: 10,
        }
        .into(),
        product::Updated {
            product_id,
            sku: sku(),
            name: name(),
            price: price(),
            description: Some("It shines.".try_into().unwrap()),
            attributes: Some(attributes),
            image_url: None,
            status: product::ProductStatus::Active,
            changed: vec!["description".to_owned()],
        }
        .into(),
        product::Archived { product_id, sku: sku() }.into(),
        stock::Updated {
            sku: sku(),
            product_id,
            cause: stock::Cause::Adjusted,
            delta: -1,
            on_hand: 9,
            available: 7,
        }
        .into(),
        stock::Reserved {
            reservation_id,
            order_id,
            user_id,
            lines: lines(),
        }
        .into(),
        stock::Rejected {
            reservation_id,
            order_id,
            user_id,
            shortages: shortages(),
        }
        .into(),
        stock::Released {
            reservation_id,
            order_id,
            user_id,
            lines: lines(),
            from: stock::ReleasedFrom::Sold,
        }
        .into(),
        stock::Sold {
            reservation_id,
            order_id,
            user_id,
            lines: lines(),
        }
        .into(),
        order::Placed {
            order_id,
            user_id,
            lines: vec![line.clone()],
            total: amount,
            details: Vec::new(),
        }
        .into(),
        order::Placed {
            order_id,
            user_id,
            lines: vec![line],
            total: amount,
            details: vec!["shipping_address".to_owned(), "metadata".to_owned()],
        }
        .into(),
        order::Confirmed {
            order_id,
            user_id,
            total: amount,
            expires_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
        .into(),
        order::Rejected {
            order_id,
            user_id,
            shortages: shortages(),
        }
        .into(),
        order::Paid {
            order_id,
            user_id,
            amount,
            paid_by: order::PaidBy::Payment { payment_id },
        }
        .into(),
        order::Paid {
            order_id,
            user_id,
            amount,
            paid_by: order::PaidBy::Manual { admin: id() },
        }
        .into(),
        order::Cancelled {
            order_id,
            user_id,
            was: order::OrderStatus::Paid,
            by: order::Canceller::Customer,
            details: Vec::new(),
        }
        .into(),
        order::Cancelled {
            order_id,
            user_id,
            was: order::OrderStatus::Pending,
            by: order::Canceller::Admin,
            details: vec!["reason".to_owned()],
        }
        .into(),
        order::Expired { order_id, user_id }.into(),
        order::Fulfilled { order_id, user_id }.into(),
        order::Refunded {
            order_id,
            user_id,
            payment_id,
            amount,
            was: order::OrderStatus::Fulfilled,
        }
        .into(),
        order::Updated {
            order_id,
            user_id,
            changed: vec!["shipping_address".to_owned()],
        }
        .into(),
        order::Viewed { order_id, user_id }.into(),
        payment::Initiated {
            payment_id,
            order_id,
            user_id,
            amount,
            provider: "simulated".to_owned(),
            payment_method: Some("pm_card_visa".try_into().unwrap()),
        }
        .into(),
        payment::Authorized {
            payment_id,
            order_id,
            user_id,
            amount,
        }
        .into(),
        payment::Captured {
            payment_id,
            order_id,
            user_id,
            amount,
        }
        .into(),
        payment::Failed {
            payment_id,
            order_id,
            user_id,
            amount,
            stage: payment::Stage::Authorize,
            decline_code: "insufficient_funds".to_owned(),
        }
        .into(),
        payment::Voided {
            payment_id,
            order_id,
            user_id,
            amount,
        }
        .into(),
        payment::Refunded {
            payment_id,
            refund_id: id(),
            order_id,
            user_id,
            amount: usd(500),
            refunded_total: amount,
            captured: amount,
            full: true,
        }
        .into(),
        notification::Sent {
            notification_id,
            user_id,
            order_id: Some(order_id),
            template: template.clone(),
            channel,
        }
        .into(),
        notification::Failed {
            notification_id,
            user_id,
            order_id: None,
            template,
            channel,
            cause: "undeliverable".to_owned(),
        }
        .into(),
    ]
}
