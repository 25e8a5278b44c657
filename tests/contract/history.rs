//! An order as it was, and what happened to it.

use serde_json::{Value, json};

use crate::placing::FIELDS;
use crate::support::{assert_fields, shop};

const EVENT_FIELDS: &str = "specversion id source type subject time datacontenttype schemaversion partitionkey \
    traceparent? sequence prev epoch lane streamversion actor? correlationid causationid? data";

#[tokio::test]
async fn an_order_is_shown_as_it_was() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let (order, _) = customer.paid_order(&product, 1).await;
    let path = format!("/api/orders/{order}");
    let events = customer.get(&format!("{path}/events")).await.expect(200);
    let now = customer.get(&path).await.expect(200);
    let versions = now.number_at("version");
    let mut statuses = Vec::new();
    for version in 1..=versions {
        let then = customer
            .get(&format!("{path}?version={version}"))
            .await
            .expect(200)
            .has_fields(FIELDS);
        assert_eq!(then.number_at("version"), version);
        statuses.push(then.text_at("status"));
    }
    statuses.dedup();
    assert_eq!(statuses, ["pending", "confirmed", "paid"]);
    for event in events.data() {
        let at = event["time"].as_str().unwrap();
        let then = customer.get(&format!("{path}?at={at}")).await.expect(200);
        assert!(
            then.number_at("version") >= event["streamversion"].as_u64().unwrap(),
            "{then}"
        );
    }
    let placed = events.data()[0]["time"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    let before = placed - jiff::SignedDuration::from_millis(1);
    customer
        .get(&format!("{path}?at={before}"))
        .await
        .refused(404, "not-found");
    let later = customer
        .get(&format!("{path}?at=2100-01-01T00:00:00Z"))
        .await
        .expect(200);
    assert_eq!(later.json, now.json);
    for absent in [0, versions + 1, u64::MAX] {
        customer
            .get(&format!("{path}?version={absent}"))
            .await
            .refused(404, "not-found");
    }
    for wrong in [
        "version=-1",
        "version=x",
        "version=18446744073709551616",
        "at=yesterday",
        "at=",
    ] {
        let field = wrong.split('=').next().unwrap();
        customer
            .get(&format!("{path}?{wrong}"))
            .await
            .refused_field(422, "invalid-query", field);
    }
    customer
        .get(&format!("{path}?version=1&at=2100-01-01T00:00:00Z"))
        .await
        .refused(422, "invalid-query");
}

#[tokio::test]
async fn the_events_of_an_order_tell_its_story_in_order() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let (order, _) = customer.paid_order(&product, 1).await;
    shop.admin
        .patch(&format!("/api/orders/{order}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    let path = format!("/api/orders/{order}/events");
    let page = customer.get(&path).await.expect(200).has_fields("data next_cursor");
    let events = page.data();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["order.placed", "order.confirmed", "order.paid", "order.fulfilled"]
    );
    for event in events {
        assert_fields(event, EVENT_FIELDS, &page);
        assert_eq!(
            (&event["specversion"], &event["source"]),
            (&json!("1.0"), &json!("/services/orders"))
        );
        assert_eq!(
            (&event["subject"], &event["data"]["order_id"]),
            (&json!(order), &json!(order))
        );
        assert_eq!(event["data"]["user_id"], customer.id.as_str());
    }
    let ordered = |field: &str| {
        let values: Vec<String> = events.iter().map(|event| event[field].to_string()).collect();
        values.is_sorted()
    };
    assert!(["sequence", "time", "streamversion"].into_iter().all(ordered), "{page}");
    assert_eq!(events[0]["actor"], customer.id.as_str());
    assert_eq!(events[3]["actor"], shop.admin.id.as_str());

    let mut walked: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = customer.get(&format!("{path}?limit=1{cursor}")).await.expect(200);
        walked.extend_from_slice(page.data());
        let Some(next) = page.json["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(walked, events);
    let others = customer.confirmed_order(&product, 1).await;
    let foreign = format!("/api/orders/{others}/events?limit=1{cursor}");
    customer.get(&foreign).await.refused(422, "invalid-query");
}
