//! `Idempotency-Key`: the same answer again, and nothing done twice.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Server, shop, unique};

/// Two answers to the same request, but for what names each of them.
#[track_caller]
fn assert_same(first: &Answer, second: &Answer) {
    let shown = |answer: &Answer| {
        let mut body = answer.json.clone();
        if let Some(body) = body.as_object_mut() {
            body.remove("instance");
        }
        (
            answer.status,
            answer.header("location").to_owned(),
            answer.header("etag").to_owned(),
            body,
        )
    };
    assert_eq!(shown(first), shown(second), "{first}\n{second}");
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_nothing_happens_twice() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let key = unique("key");
    let line = json!({"lines": [{"sku": product.sku, "quantity": 2}], "metadata": {"note": "a"}});
    let twice = async |path: &str, actor: &crate::support::Actor, body: Value, status: u16| {
        let first = actor.post(path, body.clone()).key(&key).await.expect(status);
        let second = actor.post(path, body).key(&key).await.expect(status);
        assert_same(&first, &second);
        first
    };
    let order = twice("/api/orders", &customer, line, 201).await.text_at("id");
    customer.until_order(&order, "confirmed").await;
    assert_eq!(customer.get("/api/orders").await.ids(), std::slice::from_ref(&order));
    assert_eq!(shop.admin.stock(&product).await, (100, 2, 98));

    let declined = json!({"order_id": order, "payment_method": "pm_card_chargeDeclined"});
    let declined = twice("/api/payments", &customer, declined, 402).await;
    assert!(declined.text_at("payment_id").starts_with("pay_"));
    let paid = customer
        .post("/api/payments", json!({"order_id": order}))
        .key("another")
        .await
        .expect(201);
    let again = customer
        .post("/api/payments", json!({"order_id": order}))
        .key("another")
        .await
        .expect(201);
    assert_eq!(paid.text_at("id"), again.text_at("id"));
    assert_eq!(
        customer
            .get(&format!("/api/payments?order_id={order}"))
            .await
            .data()
            .len(),
        2
    );

    let refunds = format!("/api/payments/{}/refunds", paid.text_at("id"));
    let amount = json!({"amount": {"amount": 100, "currency": "USD"}});
    twice(&refunds, &shop.admin, amount, 201).await;
    let payment = customer.get(&format!("/api/payments/{}", paid.text_at("id"))).await;
    assert_eq!(payment.json["refunded"]["amount"], 100);

    let adjustment = json!({"delta": 5, "reason": "found"});
    twice(
        &format!("{}/adjustments", product.stock_path()),
        &shop.admin,
        adjustment,
        201,
    )
    .await;
    shop.admin.until_stock(&product, (103, 0, 103)).await;
    let event = json!({"type": "custom.twice", "subject": key, "data": {}});
    twice("/api/events", &shop.admin, event, 201).await;
    let log = shop
        .admin
        .logged(&format!("/api/events?type=custom.twice&subject={key}"))
        .await;
    assert_eq!(log.len(), 1);
    let created = json!({"sku": key, "name": "x", "price": {"amount": 1, "currency": "USD"}});
    twice("/api/products", &shop.admin, created, 201).await;
    let notify = json!({"user_id": customer.id, "order_id": order});
    twice("/api/notify", &shop.admin, notify, 202).await;
}

#[tokio::test]
async fn a_sign_up_can_be_repeated() {
    let shop = shop().await;
    let (key, email) = (unique("key"), format!("{}@example.com", unique("twice")));
    let body = json!({"email": email, "password": PASSWORD, "name": "Ada"});
    let first = shop
        .anonymous
        .post("/api/users", body.clone())
        .key(&key)
        .await
        .expect(201);
    let second = shop
        .anonymous
        .post("/api/users", body.clone())
        .key(&key)
        .await
        .expect(201);
    assert_same(&first, &second);
    shop.anonymous
        .post("/api/users", body.clone())
        .await
        .refused(409, "email-taken");
    shop.anonymous
        .post("/api/users", body)
        .key("another")
        .await
        .refused(409, "email-taken");
    // Another person may happen to use the same key.
    let other = json!({"email": format!("{}@example.com", unique("other")), "password": PASSWORD});
    let other = shop.anonymous.post("/api/users", other).key(&key).await.expect(201);
    assert_ne!(other.text_at("id"), first.text_at("id"));
    let wrong = json!({"email": email, "password": "another password"});
    shop.anonymous
        .post("/api/users", wrong)
        .key(&key)
        .await
        .refused(422, "idempotency-key-reused");
}

#[tokio::test]
async fn a_key_is_for_one_request() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let key = unique("key");
    let body = |quantity: u64| json!({"lines": [{"sku": product.sku, "quantity": quantity}]});
    let order = customer.post("/api/orders", body(1)).key(&key).await.expect(201);
    customer
        .post("/api/orders", body(2))
        .key(&key)
        .await
        .refused(422, "idempotency-key-reused");
    // The same JSON in another spelling is another body; clients repeat bytes.
    let spaced = format!("{{\"lines\": [{{\"sku\": \"{}\", \"quantity\": 1}}]}} ", product.sku);
    customer
        .request("POST", "/api/orders")
        .raw_json(spaced)
        .key(&key)
        .await
        .refused(422, "idempotency-key-reused");

    let other = shop.customer().await;
    let others = other.post("/api/orders", body(1)).key(&key).await.expect(201);
    assert_ne!(
        others.text_at("id"),
        order.text_at("id"),
        "somebody else's key is another key"
    );
    let cancel = format!("/api/orders/{}/cancel", order.text_at("id"));
    customer.post(&cancel, json!({})).key(&key).await.expect(200);
}

#[tokio::test]
async fn a_refusal_is_decided_again() {
    let shop = shop().await;
    let (customer, key, sku) = (shop.customer().await, unique("key"), unique("LATE"));
    let body = json!({"lines": [{"sku": sku, "quantity": 1}]});
    let refused = customer.post("/api/orders", body.clone()).key(&key).await;
    assert!(refused.status == 422 || refused.status == 503, "{refused}");
    let product = json!({"sku": sku, "name": "x", "price": {"amount": 1, "currency": "USD"}, "initial_stock": 1});
    shop.admin.post("/api/products", product).await.expect(201);
    crate::support::eventually("the order is placed under the same key", async || {
        let answer = customer.post("/api/orders", body.clone()).key(&key).await;
        (answer.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_has_1_to_255_characters() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let body = json!({"lines": [{"sku": product.sku, "quantity": 1}]});
    for good in ["x", "a key with spaces, \"quotes\" and ; signs", &"k".repeat(255)] {
        customer.post("/api/orders", body.clone()).key(good).await.expect(201);
    }
    for wrong in ["", &"k".repeat(256)] {
        let answer = customer.post("/api/orders", body.clone()).key(wrong).await;
        answer.refused_field(422, "invalid", "Idempotency-Key");
    }
    let twice = customer.post("/api/orders", body).key("one").key("two").await;
    twice.refused_field(422, "invalid", "Idempotency-Key");
}

#[tokio::test]
async fn of_many_at_once_one_is_carried_out() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let key = unique("key");
    let together = async |path: &str, body: Value| {
        let calls = (0..24).map(|_| customer.post(path, body.clone()).key(&key).into_future());
        let answers = join_all(calls).await;
        let mut done = BTreeSet::new();
        for answer in answers {
            match answer.status {
                201 => drop(done.insert(answer.text_at("id"))),
                409 => {
                    assert!(!answer.header("retry-after").is_empty(), "{answer}");
                    answer.refused(409, "in-progress");
                }
                _ => panic!("{answer}"),
            }
        }
        assert_eq!(done.len(), 1, "{path}: {done:?}");
        done.pop_first().unwrap()
    };
    let order = together("/api/orders", json!({"lines": [{"sku": product.sku, "quantity": 1}]})).await;
    assert_eq!(customer.get("/api/orders").await.ids(), std::slice::from_ref(&order));
    customer.until_order(&order, "confirmed").await;
    let payment = together("/api/payments", json!({"order_id": order})).await;
    assert_eq!(customer.get("/api/payments").await.ids(), [payment]);

    let email = format!("{}@example.com", unique("at-once"));
    let body = json!({"email": email, "password": PASSWORD});
    let calls = (0..8).map(|_| shop.anonymous.post("/api/users", body.clone()).key(&key).into_future());
    let ids: BTreeSet<String> = join_all(calls)
        .await
        .iter()
        .filter(|it| it.status == 201)
        .map(|it| it.text_at("id"))
        .collect();
    assert_eq!(ids.len(), 1);
    let calls = (0..8).map(|_| shop.anonymous.post("/api/users", body.clone()).into_future());
    assert!(join_all(calls).await.iter().all(|answer| answer.status == 409));
}

#[tokio::test]
async fn signing_in_and_out_takes_no_notice_of_a_key() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let body = json!({"email": customer.email, "password": PASSWORD});
    let first = shop
        .anonymous
        .post("/api/login", body.clone())
        .key("k")
        .await
        .expect(200);
    let second = shop.anonymous.post("/api/login", body).key("k").await.expect(200);
    assert_ne!(first.text_at("refresh_token"), second.text_at("refresh_token"));
    let refresh = |token: String| {
        shop.anonymous
            .post("/api/token/refresh", json!({"refresh_token": token}))
            .key("k")
    };
    let refreshed = refresh(first.text_at("refresh_token")).await.expect(200);
    refresh(refreshed.text_at("refresh_token")).await.expect(200);
}

#[tokio::test]
async fn the_answer_is_the_same_after_a_restart_and_after_a_kill() {
    let mut server = Server::start().await;
    let (customer, product) = (server.customer().await, server.admin().await.product(100).await);
    let body = json!({"lines": [{"product_id": product.id, "quantity": 3}], "metadata": {"gift": true}});
    let first = customer.post("/api/orders", body.clone()).key("k").await.expect(201);
    let order = first.text_at("id");
    customer.until_order(&order, "confirmed").await;
    let pay = json!({"order_id": order});
    let declined = json!({"order_id": order, "payment_method": "pm_card_chargeDeclined"});
    let declined_first = customer
        .post("/api/payments", declined.clone())
        .key("d")
        .await
        .expect(402);
    let paid_first = customer.post("/api/payments", pay.clone()).key("p").await.expect(201);
    for kill in [false, true] {
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        server.start_again().await;
        let customer = customer.moved_to(&server);
        assert_same(&first, &customer.post("/api/orders", body.clone()).key("k").await);
        assert_same(
            &declined_first,
            &customer.post("/api/payments", declined.clone()).key("d").await,
        );
        let paid = customer.post("/api/payments", pay.clone()).key("p").await.expect(201);
        assert_eq!(paid.text_at("id"), paid_first.text_at("id"));
        let other = json!({"lines": [{"product_id": product.id, "quantity": 4}]});
        customer
            .post("/api/orders", other)
            .key("k")
            .await
            .refused(422, "idempotency-key-reused");
        assert_eq!(customer.get("/api/orders").await.ids(), std::slice::from_ref(&order));
        server.admin().await.until_stock(&product, (97, 0, 97)).await;
    }
}
