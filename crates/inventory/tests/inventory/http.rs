//! The inventory's routes, as clients see them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use contracts::{Role, UserId};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::shop::Shop;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Anonymous,
    Customer,
    Admin,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

async fn send(
    shop: &Shop,
    client: Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let role = match client {
        Client::Anonymous => None,
        Client::Customer => Some(Role::Customer),
        Client::Admin => Some(Role::Admin),
    };
    if let Some(role) = role {
        let user = UserId::from_uuid(uuid::Uuid::from_u128(1));
        request = request.header(
            header::AUTHORIZATION,
            format!("Bearer {}", shop.harness.token(user, role)),
        );
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = request
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap();
    let response = shop.inventory.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

async fn get(shop: &Shop, client: Client, path: &str) -> Answer {
    send(shop, client, Method::GET, path, &[], None).await
}

async fn put(shop: &Shop, client: Client, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    send(shop, client, Method::PUT, path, headers, Some(body)).await
}

async fn post(shop: &Shop, client: Client, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    send(shop, client, Method::POST, path, headers, Some(body)).await
}

#[tokio::test(start_paused = true)]
async fn anybody_reads_a_stock() {
    let shop = Shop::open().await;
    shop.stocked("LAMP", 5).await;
    shop.order(&[("LAMP", 2)]).await;
    shop.settle().await;
    let answer = get(&shop, Client::Anonymous, "/api/inventory/LAMP").await;
    let expected = json!({
        "sku": "LAMP", "product_id": "prd_01h455vb4pex5vsknk084sn02q",
        "on_hand": 5, "reserved": 2, "available": 3, "version": 2,
    });
    assert_eq!(
        (answer.status, &answer.body, answer.header("etag")),
        (200, &expected, "\"2\"")
    );
}

#[tokio::test(start_paused = true)]
async fn a_sku_is_percent_encoded_in_the_path() {
    let shop = Shop::open().await;
    shop.stocked("Größe 4/2?", 5).await;
    let path = "/api/inventory/Gr%C3%B6%C3%9Fe%204%2F2%3F";
    assert_eq!(get(&shop, Client::Anonymous, path).await.body["sku"], "Größe 4/2?");
    let adjustment = json!({"delta": 1, "reason": "found one"});
    let adjusted = post(&shop, Client::Admin, &format!("{path}/adjustments"), &[], adjustment).await;
    assert_eq!((adjusted.status, adjusted.header("location")), (201, path));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_sku_is_503_while_the_replica_lags_and_404_after() {
    let shop = Shop::open().await;
    let early = get(&shop, Client::Anonymous, "/api/inventory/LAMP").await;
    assert_eq!((early.code(), early.header("retry-after")), ((503, "catching-up"), "1"));
    shop.pass(Duration::from_secs(2)).await;
    for path in ["/api/inventory/LAMP", "/api/inventory/%20", "/api/inventory/a%00"] {
        assert_eq!(
            get(&shop, Client::Anonymous, path).await.code(),
            (404, "not-found"),
            "{path}"
        );
    }
    let set = put(&shop, Client::Admin, "/api/inventory/LAMP", &[], json!({"on_hand": 1})).await;
    assert_eq!(set.code(), (404, "not-found"));
}

#[tokio::test(start_paused = true)]
async fn only_admins_list_and_change() {
    let shop = Shop::open().await;
    shop.stocked("LAMP", 5).await;
    let routes = [
        (Method::GET, "/api/inventory", None),
        (Method::PUT, "/api/inventory/LAMP", Some(json!({"on_hand": 6}))),
        (
            Method::POST,
            "/api/inventory/LAMP/adjustments",
            Some(json!({"delta": 1, "reason": "found one"})),
        ),
        (Method::GET, "/api/dead-letters", None),
    ];
    for (method, path, body) in routes {
        for (client, expected) in [(Client::Anonymous, 401), (Client::Customer, 403)] {
            let answer = send(&shop, client, method.clone(), path, &[], body.clone()).await;
            assert_eq!(answer.status, expected, "{client:?} {method} {path}");
        }
        let answer = send(&shop, Client::Admin, method.clone(), path, &[], body).await;
        assert!(matches!(answer.status, 200 | 201), "{method} {path}: {}", answer.body);
    }
    assert_eq!(shop.stock("LAMP").await.on_hand, 7);
}

#[tokio::test(start_paused = true)]
async fn a_stock_is_set_on_condition_and_covers_what_is_reserved() {
    let shop = Shop::open().await;
    shop.stocked("LAMP", 5).await;
    shop.order(&[("LAMP", 2)]).await;
    shop.settle().await;
    let lamp = "/api/inventory/LAMP";
    let stale = put(
        &shop,
        Client::Admin,
        lamp,
        &[("if-match", "\"1\"")],
        json!({"on_hand": 9}),
    )
    .await;
    assert_eq!(stale.code(), (412, "stale-version"));
    let fresh = put(
        &shop,
        Client::Admin,
        lamp,
        &[("if-match", "\"2\"")],
        json!({"on_hand": 9}),
    )
    .await;
    assert_eq!(
        (fresh.status, fresh.header("etag"), &fresh.body["available"]),
        (200, "\"3\"", &json!(7))
    );
    let below = put(&shop, Client::Admin, lamp, &[], json!({"on_hand": 1})).await;
    assert_eq!(below.code(), (409, "below-reserved"));
    for wrong in [
        json!({"on_hand": -1}),
        json!({"on_hand": 1.5}),
        json!({}),
        json!({"on_hand": 1, "available": 2}),
    ] {
        assert_eq!(
            put(&shop, Client::Admin, lamp, &[], wrong.clone()).await.code(),
            (422, "invalid"),
            "{wrong}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_adjustment_happens_once_under_its_key() {
    let shop = Shop::open().await;
    shop.stocked("LAMP", 5).await;
    let path = "/api/inventory/LAMP/adjustments";
    let adjustment = json!({"delta": -2, "reason": "broken"});
    for _ in 0..2 {
        let answer = post(
            &shop,
            Client::Admin,
            path,
            &[("idempotency-key", "k")],
            adjustment.clone(),
        )
        .await;
        assert_eq!(
            (answer.status, &answer.body["on_hand"], answer.header("etag")),
            (201, &json!(3), "\"2\"")
        );
    }
    let other = post(
        &shop,
        Client::Admin,
        path,
        &[("idempotency-key", "k")],
        json!({"delta": 1, "reason": "x"}),
    )
    .await;
    assert_eq!(other.code(), (422, "idempotency-key-reused"));
    let below = post(
        &shop,
        Client::Admin,
        path,
        &[],
        json!({"delta": -4, "reason": "broken"}),
    )
    .await;
    assert_eq!(below.code(), (409, "below-reserved"));
    assert_eq!(
        post(&shop, Client::Admin, path, &[], json!({"delta": 1})).await.code(),
        (422, "invalid")
    );
    let too_much = json!({"delta": 1_000_000_000_000_i64, "reason": "a delivery"});
    let too_much = post(&shop, Client::Admin, path, &[], too_much).await;
    assert_eq!(
        (too_much.code(), &too_much.body["errors"][0]["field"]),
        ((422, "invalid"), &json!("delta"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_list_shows_what_runs_out() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    shop.stocked("B", 1).await;
    let answer = get(&shop, Client::Admin, "/api/inventory?available_below=5").await;
    assert_eq!(
        (&answer.body["data"][0]["sku"], &answer.body["data"][1]),
        (&json!("B"), &Value::Null)
    );
    assert_eq!(
        get(&shop, Client::Admin, "/api/inventory").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(get(&shop, Client::Admin, "/api/inventory?below=5").await.status, 422);
}
