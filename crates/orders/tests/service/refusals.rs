//! What clients are told: the answers, and every refusal by its code.

use contracts::Code;
use contracts::product::ProductStatus;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::shop::{Answer, LAMP, Shop, address, usd};

/// The status, the code, and what is said of which field.
fn shown(answer: &Answer) -> String {
    let problem = answer.problem();
    let errors: Vec<_> = problem
        .errors
        .iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect();
    format!(
        "{} {} {} [{}]",
        answer.status,
        problem.code,
        problem.detail,
        errors.join("; ")
    )
}

#[tokio::test(start_paused = true)]
async fn a_placed_order_is_answered_with_its_place() {
    let shop = Shop::open().await;
    let request = json!({
        "lines": [{"sku": "LAMP", "quantity": 2, "expected_unit_price": usd(LAMP)}],
        "shipping_address": address("Herengracht 1"),
        "metadata": {"gift": true},
    });
    let answer = shop.http("POST", "/api/orders", Some(shop.ada), Some(request)).await;
    let order = answer.json();
    let id = order["id"].as_str().unwrap();
    assert_eq!(
        (answer.status, answer.etag.as_str(), answer.location),
        (201, "\"1\"", format!("/api/orders/{id}"))
    );
    let body = answer
        .body
        .replace(id, "ORDER")
        .replace(&shop.lamp.to_string(), "LAMP")
        .replace(order["created_at"].as_str().unwrap(), "NOW");
    assert_snapshot!(body, @r#"{"id":"ORDER","user_id":"usr_00000000000000000000000001","status":"pending","lines":[{"sku":"LAMP","product_id":"LAMP","name":"A thing","quantity":2,"unit_price":{"amount":1250,"currency":"USD"},"total":{"amount":2500,"currency":"USD"}}],"total":{"amount":2500,"currency":"USD"},"shipping_address":{"line1":"Herengracht 1","city":"Amsterdam","country":"NL"},"metadata":{"gift":true},"created_at":"NOW","updated_at":"NOW","version":1}"#);
    let read = shop
        .http("GET", &format!("/api/orders/{id}"), Some(shop.ada), None)
        .await;
    assert_eq!(
        (read.status, read.etag.as_str(), read.body),
        (200, "\"1\"", answer.body)
    );
}

#[tokio::test(start_paused = true)]
async fn a_repetition_under_the_same_key_is_answered_as_the_first_whatever_changed_meanwhile() {
    let shop = Shop::open().await;
    let request = json!({
        "lines": [{"sku": "LAMP", "quantity": 2, "expected_unit_price": usd(LAMP)}],
        "shipping_address": address("Herengracht 1"),
    });
    let send = async || {
        let key = [("idempotency-key", "k")];
        shop.http_with("POST", "/api/orders", Some(shop.ada), Some(request.clone()), &key)
            .await
    };
    let first = send().await;
    shop.lamp_changes(LAMP + 1, ProductStatus::Archived).await;
    let second = send().await;
    assert_eq!(
        (second.status, second.body, second.location),
        (201, first.body, first.location)
    );
    assert_eq!(shop.harness.journal().await, ["order.placed"]);
    let other = json!({"lines": [{"sku": "LAMP", "quantity": 3}]});
    let other = shop
        .http_with(
            "POST",
            "/api/orders",
            Some(shop.ada),
            Some(other),
            &[("idempotency-key", "k")],
        )
        .await;
    assert_eq!(other.outcome(), (422, Some(Code::IdempotencyKeyReused)));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_change_is_answered_as_the_first_though_the_texts_have_changed_since() {
    let shop = Shop::open().await;
    let order = shop.place_with_address().await;
    let path = format!("/api/orders/{}", order.id);
    let send = async |method, path: &str, by, body, key: &str| {
        let key = [("idempotency-key", key)];
        let answer = shop.http_with(method, path, Some(by), Some(body), &key).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        (answer.etag, answer.body)
    };
    for by in [shop.ada, shop.admin] {
        let move_to = |line: &str| json!({"shipping_address": address(line)});
        let key = by.id.to_string();
        let first = send("PATCH", &path, by, move_to("Prinsengracht 1"), &key).await;
        send("PATCH", &path, by, move_to("Prinsengracht 2"), "other").await;
        assert_eq!(send("PATCH", &path, by, move_to("Prinsengracht 1"), &key).await, first);
    }
    let cancel = format!("{path}/cancel");
    let first = send("POST", &cancel, shop.ada, json!({"reason": "too late"}), "c").await;
    assert!(first.1.contains("too late"), "{}", first.1);
    send(
        "PATCH",
        &path,
        shop.admin,
        json!({"shipping_address": null, "metadata": {"n": "1"}}),
        "m",
    )
    .await;
    assert_eq!(
        send("POST", &cancel, shop.ada, json!({"reason": "too late"}), "c").await,
        first
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_placed_is_told_why() {
    let shop = Shop::open().await;
    let post = async |request: Value| shown(&shop.http("POST", "/api/orders", Some(shop.ada), Some(request)).await);
    let line = |line: Value| json!({"lines": [line]});
    assert_snapshot!(post(json!({})).await, @"422 invalid Correct the fields named in `errors`. [lines: missing field `lines`]");
    assert_snapshot!(post(json!({"lines": []})).await, @"422 invalid Correct the fields named in `errors`. [lines: must have 1 to 1000 entries]");
    assert_snapshot!(post(json!({"lines": vec![json!({"sku": "LAMP", "quantity": 1}); 1001]})).await, @"422 invalid Correct the fields named in `errors`. [lines: must have 1 to 1000 entries]");
    assert_snapshot!(post(line(json!({"sku": "LAMP", "quantity": 0}))).await, @"422 invalid-quantity Use whole numbers from 1 to 1,000,000. [lines[0].quantity: must be a whole number from 1 to 1000000, without a decimal point]");
    assert_snapshot!(post(line(json!({"sku": "LAMP", "quantity": 1_000_001}))).await, @"422 invalid-quantity Use whole numbers from 1 to 1,000,000. [lines[0].quantity: must be a whole number from 1 to 1000000, without a decimal point]");
    assert_snapshot!(post(line(json!({"sku": "LAMP"}))).await, @"422 invalid-quantity Use whole numbers from 1 to 1,000,000. [lines[0].quantity: missing field `quantity`]");
    assert_snapshot!(post(line(json!({"quantity": 1}))).await, @"422 invalid Correct the fields named in `errors`. [lines[0]: must name the product by `product_id` or by `sku`, and not by both]");
    assert_snapshot!(post(line(json!({"sku": "LAMP", "quantity": 1, "price": 1}))).await, @"422 invalid Correct the fields named in `errors`. [lines[0].price: unknown field `price`, expected one of `product_id`, `sku`, `quantity`, `expected_unit_price`]");
    assert_snapshot!(post(line(json!({"product_id": "7", "quantity": 1}))).await, @"422 unknown-product Order products that the catalogue has and that are not archived. [lines[0].product_id: must be an id such as `prd_01h455vb4pex5vsknk084sn02q`]");
    assert_snapshot!(post(line(json!({"sku": "GHOST", "quantity": 1}))).await, @"422 unknown-product Order products that the catalogue has and that are not archived. [lines[0]: must name a product of the catalogue]");
    let young = contracts::ProductId::from_uuid(shop.harness.uuid());
    assert_snapshot!(post(line(json!({"product_id": young, "quantity": 1}))).await, @"503 catching-up Repeat the request after the Retry-After; what it refers to is on its way here. []");
    assert_snapshot!(post(line(json!({"sku": "LAMP", "quantity": 1, "expected_unit_price": usd(1)}))).await, @"409 price-changed Read the product's price again, and place the order with that one. [lines[0].expected_unit_price: is 12.50 USD now]");
    shop.product(
        contracts::ProductId::from_uuid(shop.harness.uuid()),
        "STOEL",
        1,
        contracts::Currency::EUR,
    )
    .await;
    let mixed = json!({"lines": [{"sku": "LAMP", "quantity": 1}, {"sku": "STOEL", "quantity": 1}]});
    assert_snapshot!(post(mixed).await, @"422 mixed-currencies Place one order per currency. []");
    let palace = contracts::ProductId::from_uuid(shop.harness.uuid());
    shop.product(palace, "PALACE", contracts::money::AMOUNT_MAX, contracts::Currency::USD)
        .await;
    assert_snapshot!(post(line(json!({"sku": "PALACE", "quantity": 2}))).await, @"422 invalid Correct the fields named in `errors`. [lines: must cost at most 2^53 - 1 minor units in all]");
    let for_bob = json!({"lines": [{"sku": "LAMP", "quantity": 1}], "user_id": shop.bob.id});
    assert_snapshot!(post(for_bob).await, @"403 forbidden Ask somebody whose role allows it. []");
    assert_eq!(shop.harness.journal().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_no_broker_takes_is_refused() {
    let shop = Shop::open().await;
    let sku = "🪔".repeat(64);
    shop.product(
        contracts::ProductId::from_uuid(shop.harness.uuid()),
        &sku,
        1,
        contracts::Currency::USD,
    )
    .await;
    let lines = vec![json!({"sku": sku, "quantity": 1}); 1000];
    let refused = shop
        .http("POST", "/api/orders", Some(shop.ada), Some(json!({"lines": lines})))
        .await;
    assert_eq!(refused.outcome(), (413, Some(Code::EventTooLarge)));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_is_told_why() {
    let shop = Shop::open().await;
    let (order, _) = shop.paid().await;
    let path = format!("/api/orders/{}", order.id);
    let patch = async |request: Value, by| shown(&shop.http("PATCH", &path, Some(by), Some(request)).await);
    assert_snapshot!(patch(json!({"status": "confirmed"}), shop.admin).await, @"409 illegal-transition An order that is paid does not become confirmed. []");
    assert_snapshot!(patch(json!({"status": "Paid"}), shop.admin).await, @"422 invalid Correct the fields named in `errors`. [status: must be one of: pending, confirmed, rejected, paid, fulfilled, cancelled, expired, refunded]");
    assert_snapshot!(patch(json!({"status": null}), shop.admin).await, @"422 invalid Correct the fields named in `errors`. [status: invalid type: null, expected one of `pending` `confirmed` `rejected` `paid` `fulfilled` `cancelled` `expired` `refunded`]");
    assert_snapshot!(patch(json!({"reason": "x"}), shop.admin).await, @"422 invalid Correct the fields named in `errors`. [reason: unknown field `reason`, expected one of `status`, `shipping_address`, `metadata`]");
    assert_snapshot!(patch(json!({"status": "paid"}), shop.ada).await, @"403 forbidden Ask somebody whose role allows it. []");
    let stale = shop
        .http_with(
            "PATCH",
            &path,
            Some(shop.admin),
            Some(json!({})),
            &[("if-match", "\"1\"")],
        )
        .await;
    assert_snapshot!(shown(&stale), @"412 stale-version Read the resource again, and send its new ETag as If-Match. []");
    let fulfilled = shop
        .http("PATCH", &path, Some(shop.admin), Some(json!({"status": "fulfilled"})))
        .await;
    assert_eq!((fulfilled.status, fulfilled.etag.as_str()), (200, "\"5\""));
    let cancel = shop.http("POST", &format!("{path}/cancel"), Some(shop.ada), None).await;
    assert_snapshot!(shown(&cancel), @"409 not-cancellable An order that is fulfilled cannot be cancelled. []");
    let moved = json!({"shipping_address": address("Herengracht 2")});
    assert_snapshot!(patch(moved, shop.ada).await, @"409 conflict The texts of an order that is fulfilled are settled. []");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_answered_the_same_again() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let path = format!("/api/orders/{}/cancel", order.id);
    let reason = json!({"reason": "Changed my mind"});
    let first = shop.http("POST", &path, Some(shop.ada), Some(reason)).await;
    assert_eq!((first.status, first.etag.as_str()), (200, "\"2\""));
    assert_eq!(first.json()["reason"], "Changed my mind");
    let second = shop.http("POST", &path, Some(shop.ada), None).await;
    assert_eq!((second.status, second.body), (200, first.body));
    let unknown = shop
        .http("POST", &path, Some(shop.ada), Some(json!({"why": "x"})))
        .await;
    assert_eq!(unknown.outcome(), (422, Some(Code::Invalid)));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_makes_no_sense_is_told_so() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let get = async |path: String| shown(&shop.http("GET", &path, Some(shop.ada), None).await);
    assert_snapshot!(get("/api/orders?status=eaten".into()).await, @"422 invalid-query Correct the query parameters, or the GraphQL query, as `errors` says. [status: must be one of: pending, confirmed, rejected, paid, fulfilled, cancelled, expired, refunded]");
    assert_snapshot!(get("/api/orders?limit=201".into()).await, @"422 invalid-query Correct the query parameters, or the GraphQL query, as `errors` says. [limit: must be a whole number from 1 to 200]");
    assert_snapshot!(get("/api/orders?created_after=yesterday".into()).await, @"422 invalid-query Correct the query parameters, or the GraphQL query, as `errors` says. [created_after: failed to parse four digit integer as year: invalid digit, expected 0-9 but got y]");
    assert_snapshot!(get("/api/orders?price=1".into()).await, @"422 invalid-query Correct the query parameters, or the GraphQL query, as `errors` says. [price: unknown field `price`, expected one of `status`, `user_id`, `created_after`, `created_before`, `limit`, `cursor`]");
    assert_snapshot!(get(format!("/api/orders/{}?version=1&at=2026-01-01T12:00:00Z", order.id)).await, @"422 invalid-query Correct the query parameters, or the GraphQL query, as `errors` says. [version: must not be given together with `at`]");
    assert_snapshot!(get(format!("/api/orders/{}?version=x", order.id)).await, @"422 invalid-query Correct the query parameters, or the GraphQL query, as `errors` says. [version: must be a whole number]");
    assert_snapshot!(get(format!("/api/orders/{}?version=7", order.id)).await, @"404 not-found Check the path and the id; what is not yours is not found either. []");
}
