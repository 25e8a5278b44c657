//! The routes: who may use them, and what they answer.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use contracts::Role;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::shop::{Shop, user};

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

/// A request with these headers; a body makes it JSON.
async fn send(shop: &Shop, request: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let body = match body {
        Some(body) => {
            builder = builder.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let response = shop
        .payments
        .router()
        .oneshot(builder.body(body).unwrap())
        .await
        .unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    }
}

struct Tokens {
    owner: String,
    other: String,
    admin: String,
}

fn tokens(shop: &Shop) -> Tokens {
    let bearer = |user: kernel::auth::User| format!("Bearer {}", shop.harness.token(user.id, user.role));
    Tokens {
        owner: bearer(shop.owner),
        other: bearer(user(2, Role::Customer)),
        admin: bearer(shop.admin),
    }
}

#[tokio::test(start_paused = true)]
async fn each_route_is_for_the_owner_or_for_admins() {
    let shop = Shop::open().await;
    let Tokens { owner, other, admin } = tokens(&shop);
    let payment = shop.pay(shop.confirmed().await).await.unwrap().id;
    let read = format!("GET /api/payments/{payment}");
    let refund = format!("POST /api/payments/{payment}/refunds");
    let retry = "POST /api/dead-letters/dlq_payments_01h455vb4pex5vsknk084sn02q/retry";
    let discard = "DELETE /api/dead-letters/dlq_payments_01h455vb4pex5vsknk084sn02q";
    // Anonymous, somebody else, the owner, an admin.
    for (request, expected) in [
        ("GET /api/payments", [401, 200, 200, 200]),
        (&*read, [401, 404, 200, 200]),
        (&*refund, [401, 403, 403, 201]),
        ("GET /api/dead-letters", [401, 403, 403, 200]),
        (retry, [401, 403, 403, 404]),
        (discard, [401, 403, 403, 404]),
    ] {
        let mut statuses = vec![send(&shop, request, &[], None).await.status];
        for token in [&other, &owner, &admin] {
            statuses.push(send(&shop, request, &[("authorization", token)], None).await.status);
        }
        assert_eq!(statuses, expected, "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_and_admins_pay_an_order_and_nobody_else_learns_of_it() {
    let shop = Shop::open().await;
    let Tokens { owner, other, admin } = tokens(&shop);
    for (token, expected) in [
        (None, 401),
        (Some(&other), 404),
        (Some(&owner), 201),
        (Some(&admin), 201),
    ] {
        let order = shop.confirmed().await;
        let headers: Vec<_> = token
            .map(|token| ("authorization", token.as_str()))
            .into_iter()
            .collect();
        let answer = send(&shop, "POST /api/payments", &headers, Some(json!({"order_id": order}))).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        if expected == 201 {
            let id = answer.body["id"].as_str().unwrap();
            assert_eq!(answer.headers["location"], format!("/api/payments/{id}"));
            assert_eq!(answer.body["user_id"], shop.owner.id.to_string());
            assert_eq!(
                (&answer.body["status"], &answer.body["amount"]["amount"]),
                (&json!("captured"), &json!(1000))
            );
        }
    }
    let own = send(&shop, "GET /api/payments", &[("authorization", &other)], None).await;
    assert_eq!(own.body, json!({"data": [], "next_cursor": null}));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_problems_with_their_codes() {
    let shop = Shop::open().await;
    let Tokens { owner, admin, .. } = tokens(&shop);
    let order = shop.confirmed().await;
    let pay = async |body: Value| send(&shop, "POST /api/payments", &[("authorization", &owner)], Some(body)).await;
    let declined = pay(json!({"order_id": order, "payment_method": "pm_card_chargeDeclinedInsufficientFunds"})).await;
    assert_eq!(
        (declined.status, &declined.body["code"]),
        (402, &json!("card-declined"))
    );
    assert_eq!(declined.body["decline_code"], "insufficient_funds");
    assert!(declined.body["payment_id"].as_str().unwrap().starts_with("pay_"));
    let unknown = pay(json!({"order_id": order, "payment_method": "pm_card_gold"})).await;
    assert_eq!(
        (unknown.status, &unknown.body["errors"][0]["field"]),
        (422, &json!("payment_method"))
    );
    let paid = pay(json!({"order_id": order})).await;
    let again = pay(json!({"order_id": order})).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("already-paid")));
    let amount = pay(json!({"order_id": order, "amount": 1})).await;
    assert_eq!(amount.status, 422);
    let young = contracts::OrderId::from_uuid(shop.harness.uuid());
    let catching_up = pay(json!({"order_id": young})).await;
    assert_eq!(
        (catching_up.status, &catching_up.body["code"]),
        (503, &json!("catching-up"))
    );
    assert!(catching_up.headers.contains_key("retry-after"));

    let refunds = format!("POST /api/payments/{}/refunds", paid.body["id"].as_str().unwrap());
    let refund = async |amount: i64| {
        let body = json!({"amount": {"amount": amount, "currency": "USD"}, "reason": "It broke."});
        send(&shop, &refunds, &[("authorization", &admin)], Some(body)).await
    };
    let too_much = refund(1001).await;
    assert_eq!(
        (too_much.status, &too_much.body["code"]),
        (409, &json!("refund-exceeds-captured"))
    );
    let part = refund(10).await;
    assert_eq!(
        (part.status, &part.body["status"]),
        (StatusCode::CREATED.as_u16(), &json!("succeeded"))
    );
    assert!(part.body["id"].as_str().unwrap().starts_with("rfn_"));
    let rest = send(&shop, &refunds, &[("authorization", &admin)], None).await;
    assert_eq!((rest.status, &rest.body["amount"]["amount"]), (201, &json!(990)));
}

#[tokio::test(start_paused = true)]
async fn a_key_gives_the_same_body_again() {
    let shop = Shop::open().await;
    let Tokens { owner, .. } = tokens(&shop);
    let order = shop.confirmed().await;
    for method in ["pm_card_chargeDeclined", "pm_card_visa"] {
        let headers = [("authorization", &*owner), ("idempotency-key", method)];
        let body = json!({"order_id": order, "payment_method": method});
        let mut first = send(&shop, "POST /api/payments", &headers, Some(body.clone())).await;
        let mut second = send(&shop, "POST /api/payments", &headers, Some(body)).await;
        for answer in [&mut first, &mut second] {
            // The only thing that differs is which request it was.
            answer.body.as_object_mut().unwrap().remove("instance");
        }
        assert_eq!((first.status, first.body), (second.status, second.body));
    }
    let headers = [("authorization", &*owner), ("idempotency-key", "pm_card_visa")];
    let other = send(&shop, "POST /api/payments", &headers, Some(json!({"order_id": order}))).await;
    assert_eq!(
        (other.status, &other.body["code"]),
        (422, &json!("idempotency-key-reused"))
    );
}
