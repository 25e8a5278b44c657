//! The public log, live streams, custom events and dead letters.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tradewind::system::SERVICES;

use crate::support::{Actor, assert_fields, eventually, shop, unique};

const FIELDS: &str = "specversion id source type subject time datacontenttype schemaversion partitionkey \
    traceparent? sequence prev epoch lane streamversion actor? correlationid causationid? data";

async fn publish(admin: &Actor, subject: &str, number: u64) -> String {
    let body = json!({"type": "custom.numbered", "subject": subject, "data": {"number": number}});
    admin.post("/api/events", body).await.expect(201).text_at("id")
}

#[tokio::test]
async fn the_log_has_every_public_event_in_an_order_of_its_own() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let (order, payment) = customer.paid_order(&product, 1).await;
    for (event_type, subject, source) in [
        ("user.registered", &customer.id, "users"),
        ("user.logged_in", &customer.id, "users"),
        ("product.created", &product.id, "catalog"),
        ("inventory.updated", &format!("sku:{}", product.sku), "inventory"),
        ("order.placed", &order, "orders"),
        ("order.confirmed", &order, "orders"),
        ("order.paid", &order, "orders"),
        ("payment.initiated", &payment, "payments"),
        ("payment.authorized", &payment, "payments"),
        ("payment.captured", &payment, "payments"),
    ] {
        let event = shop.admin.until_event(event_type, subject).await;
        assert_fields(&event, FIELDS, &event);
        assert_eq!(event["source"], format!("/services/{source}"));
        assert!(event["id"].as_str().unwrap().starts_with("evt_"), "{event}");
    }
    for event_type in ["inventory.reserved", "inventory.sold", "notification.sent"] {
        eventually(event_type, async || {
            let events = shop
                .admin
                .logged(&format!("/api/events?limit=200&type={event_type}"))
                .await;
            events.into_iter().find(|event| event["data"]["order_id"] == order)
        })
        .await;
    }
    let all = shop
        .admin
        .logged(&format!("/api/events?limit=200&subject={order}"))
        .await;
    let types: Vec<&str> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["order.placed", "order.confirmed", "order.paid"]);
    let sequences: Vec<&str> = all.iter().map(|event| event["sequence"].as_str().unwrap()).collect();
    assert!(
        sequences.is_sorted() && sequences.iter().all(|it| it.len() == 20),
        "{sequences:?}"
    );
    // A position is where to go on.
    let after: u64 = sequences[0].parse().unwrap();
    let rest = shop
        .admin
        .logged(&format!("/api/events?subject={order}&after={after}"))
        .await;
    assert_eq!(rest, all[1..]);
    let rest = shop
        .admin
        .get(&format!("/api/events?after={after}&limit=1"))
        .await
        .expect(200);
    let next: u64 = rest.data()[0]["sequence"].as_str().unwrap().parse().unwrap();
    assert_eq!(next, after + 1, "positions are dense");
}

#[tokio::test]
async fn the_log_is_filtered() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    shop.admin.until_event("order.confirmed", &order).await;
    let logged = async |query: &str| shop.admin.logged(&format!("/api/events?limit=200&{query}")).await;
    let is = |events: &[Value], field: &str, start: &str| {
        !events.is_empty()
            && events
                .iter()
                .all(|event| event[field].as_str().unwrap().starts_with(start))
    };
    assert!(is(&logged("type=order.confirmed").await, "type", "order.confirmed"));
    assert!(is(&logged("type=order.*").await, "type", "order."));
    assert!(is(&logged("source=inventory").await, "source", "/services/inventory"));
    assert_eq!(logged(&format!("subject={order}&type=order.*")).await.len(), 2);
    assert_eq!(logged(&format!("subject={order}&type=product.*")).await.len(), 0);
    for (wrong, field) in [
        ("type=ord*", "type"),
        ("source=x", "source"),
        ("after=-1", "after"),
        ("after=x", "after"),
        ("subject=", "subject"),
    ] {
        let answer = shop.admin.get(&format!("/api/events?{wrong}")).await;
        answer.refused_field(422, "invalid-query", field);
    }
    let beyond = shop.admin.get("/api/events?after=9000000000").await.expect(200);
    assert_eq!(beyond.json, json!({"data": [], "next_cursor": null}));
    shop.anonymous.get("/api/events").await.refused(401, "unauthorized");
    customer.get("/api/events").await.refused(403, "forbidden");
}

#[tokio::test]
async fn an_admin_publishes_custom_events() {
    let shop = shop().await;
    let (customer, subject) = (shop.customer().await, unique("subject"));
    let body = json!({"type": "custom.cart-abandoned", "subject": subject, "data": {"items": [1, {"a": null}]}});
    shop.anonymous
        .post("/api/events", body.clone())
        .await
        .refused(401, "unauthorized");
    customer
        .post("/api/events", body.clone())
        .await
        .refused(403, "forbidden");
    let published = shop.admin.post("/api/events", body.clone()).await.expect(201);
    assert_eq!(
        (&published.json["type"], &published.json["subject"]),
        (&body["type"], &body["subject"])
    );
    let event = shop.admin.until_event("custom.cart-abandoned", &subject).await;
    assert_eq!((&event["id"], &event["data"]), (&published.json["id"], &body["data"]));
    assert_eq!(
        (&event["actor"], &event["source"]),
        (&json!(shop.admin.id), &json!("/services/events"))
    );
    for (field, wrong) in [
        ("type", json!("order.paid")),
        ("type", json!("custom.")),
        ("type", json!("custom.A")),
        ("type", json!("Custom.x")),
        ("type", json!(format!("custom.{}", "x".repeat(100)))),
        ("subject", json!("")),
        ("subject", json!("x".repeat(201))),
        ("data", json!("x")),
        ("data", json!([1])),
        ("data", Value::Null),
    ] {
        let mut body = body.clone();
        body[field] = wrong;
        shop.admin
            .post("/api/events", body)
            .await
            .refused_field(422, "invalid", field);
    }
    let large = |bytes: usize| json!({"type": "custom.large", "subject": subject, "data": {"x": "x".repeat(bytes)}});
    shop.admin
        .post("/api/events", large(256 * 1024 + 1))
        .await
        .refused(413, "event-too-large");
    shop.admin.post("/api/events", large(200 * 1024)).await.expect(201);
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_goes_on_after_an_id() {
    let shop = shop().await;
    let subject = unique("stream");
    let query = format!("?type=custom.*&subject={subject}");
    let mut live = shop.admin.stream(&query, None).await;
    let mut seen = Vec::new();
    for number in 0..5 {
        let id = publish(&shop.admin, &subject, number).await;
        let frame = live.next().await;
        assert_fields(&frame.event, FIELDS, &frame.event);
        assert_eq!(
            (&frame.event["id"], &frame.event["data"]["number"]),
            (&json!(id), &json!(number))
        );
        let position: u64 = frame.id.clone().unwrap().parse().unwrap();
        assert_eq!(frame.event["sequence"], format!("{position:020}"));
        seen.push(frame);
    }
    drop(live);
    // What happened while nobody listened comes first, each once, then what happens.
    publish(&shop.admin, &subject, 5).await;
    for (resumed_after, frame) in seen.iter().enumerate() {
        let mut live = shop.admin.stream(&query, frame.id.as_deref()).await;
        for number in resumed_after + 1..6 {
            assert_eq!(live.next().await.event["data"]["number"], number);
        }
    }
    let mut live = shop.admin.stream(&query, seen[4].id.as_deref()).await;
    assert_eq!(live.next().await.event["data"]["number"], 5);
    publish(&shop.admin, &subject, 6).await;
    assert_eq!(live.next().await.event["data"]["number"], 6);
    let mut from_the_beginning = shop.admin.stream(&query, Some("0")).await;
    for number in 0..7 {
        assert_eq!(from_the_beginning.next().await.event["data"]["number"], number);
    }
    for wrong in ["x", "-1", "1.5", "9000000000"] {
        let answer = shop
            .admin
            .get("/api/events/stream")
            .header("last-event-id", wrong)
            .await;
        answer.refused_field(422, "invalid", "Last-Event-ID");
    }
    for wrong in ["?type=ord*", "?subject=", "?after=1", "?types=order.*"] {
        shop.admin
            .get(&format!("/api/events/stream{wrong}"))
            .await
            .refused(422, "invalid-query");
    }
    shop.anonymous
        .get("/api/events/stream")
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn a_customer_sees_the_events_of_own_orders_alone() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(20).await,
    );
    let (mut mine, mut all) = (customer.stream("", None).await, shop.admin.stream("", None).await);
    let (others, _) = other.paid_order(&product, 1).await;
    let (order, _) = customer.paid_order(&product, 1).await;
    publish(&shop.admin, &order, 1).await;
    shop.admin
        .patch(&format!("/api/orders/{others}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    shop.admin
        .patch(&format!("/api/orders/{order}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    // Services are copied one beside the other: what is in order is what happened to one thing.
    let mut awaited = vec![
        "order.placed",
        "inventory.reserved",
        "order.confirmed",
        "payment.captured",
        "order.paid",
        "order.fulfilled",
    ];
    while !awaited.is_empty() {
        let event = mine.next().await.event;
        assert_eq!(event["data"]["order_id"], order, "{event}");
        assert_eq!(event["data"]["user_id"], customer.id, "{event}");
        awaited.retain(|event_type| event["type"] != *event_type);
    }
    let frames = all.up_to("order.fulfilled").await;
    assert!(frames.iter().any(|frame| frame.event["data"]["order_id"] == others));
    // Not by asking for them, either.
    let mut asked = customer.stream(&format!("?subject={others}"), Some("0")).await;
    let mut own = customer
        .stream(&format!("?subject={order}&type=order.*"), Some("0"))
        .await;
    assert_eq!(own.next().await.event["type"], "order.placed");
    let silent = tokio::time::timeout(std::time::Duration::from_millis(200), asked.next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn who_looks_is_told_live_and_not_logged() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(20).await);
    let order = customer.confirmed_order(&product, 1).await;
    let mut orders = shop
        .admin
        .stream(&format!("?type=order.viewed&subject={order}"), None)
        .await;
    let mut users = shop
        .admin
        .stream(&format!("?type=user.viewed&subject={}", customer.id), None)
        .await;
    let mut mine = customer.stream("?type=order.viewed", None).await;
    shop.admin.get(&format!("/api/orders/{order}")).await.expect(200);
    customer.get("/api/users/me").await.expect(200);
    for stream in [&mut orders, &mut mine] {
        let frame = stream.next().await;
        assert_eq!(
            (&frame.event["subject"], &frame.event["actor"]),
            (&json!(order), &json!(shop.admin.id))
        );
        assert_eq!(frame.id, None, "it is in no journal");
    }
    assert_eq!(users.next().await.event["subject"], customer.id.as_str());
    assert_eq!(
        shop.admin.logged("/api/events?type=order.viewed").await,
        [Value::Null; 0]
    );
    assert_eq!(
        shop.admin.logged("/api/events?type=user.viewed").await,
        [Value::Null; 0]
    );
    let events = customer.get(&format!("/api/orders/{order}/events")).await;
    assert!(
        events.data().iter().all(|event| event["type"] != "order.viewed"),
        "{events}"
    );
}

#[tokio::test]
async fn an_admin_sees_how_far_the_events_of_each_service_have_come() {
    let shop = shop().await;
    let customer = shop.customer().await;
    customer.get("/api/journals").await.refused(403, "forbidden");
    shop.server
        .anonymous()
        .get("/api/journals")
        .await
        .refused(401, "unauthorized");
    let all = shop.admin.get("/api/journals").await.expect(200);
    assert_eq!((all.data().len(), &all.json["missing"]), (7, &json!([])));
    let orders = all.data().iter().find(|it| it["service"] == "orders").unwrap();
    assert_eq!(
        (&orders["published"], orders["lanes"].as_array().unwrap().len()),
        (&Value::Null, 8)
    );
    assert!(
        orders["consumers"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["source"] == "catalog")
    );
    // What goes to a broker is what somebody follows.
    let consumers = all.data().iter().flat_map(|it| it["consumers"].as_array().unwrap());
    let sources: BTreeSet<_> = consumers.map(|it| it["source"].as_str().unwrap()).collect();
    let followed = SERVICES.iter().filter(|described| described.is_followed);
    assert_eq!(sources, followed.map(|described| described.service.as_str()).collect());
    shop.admin.get("/api/journals/orderz").await.refused(404, "not-found");
    let republish = json!({"from": 0});
    shop.admin
        .post("/api/journals/orders/republish", republish)
        .await
        .refused(409, "conflict");
    let metrics = shop.server.anonymous().get("/metrics").await.text;
    assert!(
        metrics.contains("journal_lane_position{service=\"orders\",lane=\"0\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn dead_letters_are_listed_by_service() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let services = [
        "users",
        "catalog",
        "inventory",
        "orders",
        "payments",
        "notifications",
        "events",
    ];
    let empty = json!({"data": [], "next_cursor": null});
    assert_eq!(shop.admin.get("/api/dead-letters").await.expect(200).json, empty);
    for service in services {
        let list = shop
            .admin
            .get(&format!("/api/dead-letters?service={service}"))
            .await
            .expect(200);
        assert_eq!(list.json, empty);
        let unknown = format!("/api/dead-letters/dlq_{service}_{}", crate::UNKNOWN);
        shop.admin.delete(&unknown).await.refused(404, "not-found");
        shop.admin
            .request("POST", &format!("{unknown}/retry"))
            .await
            .refused(404, "not-found");
    }
    shop.admin
        .get("/api/dead-letters?service=x")
        .await
        .refused_field(422, "invalid-query", "service");
    shop.anonymous
        .get("/api/dead-letters")
        .await
        .refused(401, "unauthorized");
    customer.get("/api/dead-letters").await.refused(403, "forbidden");
}
