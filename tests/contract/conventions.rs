//! What every answer has in common.

use serde_json::json;

use crate::UNKNOWN;
use crate::support::{shop, unique};

#[tokio::test]
async fn an_answer_names_its_request() {
    let shop = shop().await;
    let id = unique("request");
    for path in ["/healthz", "/api/products", "/api/nothing", "/api/orders"] {
        let answer = shop.anonymous.get(path).header("x-request-id", &id).await;
        assert_eq!(answer.header("x-request-id"), id, "{answer}");
    }
    let refused = shop
        .anonymous
        .get("/api/orders")
        .header("x-request-id", &id)
        .await
        .refused(401, "unauthorized");
    assert_eq!(refused.text_at("instance"), format!("/api/orders#{id}"));
    let first = shop.anonymous.get("/api/products").await;
    let second = shop.anonymous.get("/api/products").await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_request_id_that_is_none_is_replaced() {
    let shop = shop().await;
    for wrong in ["a b", "<script>", &"x".repeat(129), "\"quoted\""] {
        let answer = shop.anonymous.get("/healthz").header("x-request-id", wrong).await;
        assert_ne!(answer.header("x-request-id"), wrong, "{answer}");
    }
}

#[tokio::test]
async fn a_trace_goes_from_the_request_to_its_events_and_beyond() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(5).await);
    let (trace, id) = ("0af7651916cd43dd8448eb211c80319c", unique("traced"));
    let order = customer
        .post("/api/orders", json!({"lines": [{"sku": product.sku, "quantity": 1}]}))
        .header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"))
        .header("x-request-id", &id)
        .await
        .expect(201);
    let order = order.text_at("id");
    for event_type in ["order.placed", "order.confirmed"] {
        let event = shop.admin.until_event(event_type, &order).await;
        assert!(event["traceparent"].as_str().unwrap().contains(trace), "{event}");
        assert_eq!(event["correlationid"], id, "{event}");
    }
}

#[tokio::test]
async fn a_malformed_id_is_not_found_like_an_unknown_one() {
    let shop = shop().await;
    let (user, order) = (&shop.admin.id, format!("ord_{UNKNOWN}"));
    let routes = [
        ("GET", "/api/users/{}", "usr"),
        ("GET", "/api/products/{}", "prd"),
        ("DELETE", "/api/products/{}", "prd"),
        ("GET", "/api/orders/{}", "ord"),
        ("GET", "/api/orders/{}/events", "ord"),
        ("POST", "/api/orders/{}/cancel", "ord"),
        ("GET", "/api/payments/{}", "pay"),
        ("POST", "/api/payments/{}/refunds", "pay"),
        ("POST", "/api/notifications/{}/retry", "ntf"),
        ("DELETE", "/api/dead-letters/{}", "dlq_orders"),
        ("POST", "/api/dead-letters/{}/retry", "dlq_orders"),
    ];
    for (method, path, prefix) in routes {
        let malformed = [
            "x",
            "1",
            "%00",
            "null",
            "..%2F..%2Fetc",
            "%E2%82%AC",
            "%ff",
            "1%20OR%201=1",
            &format!("{prefix}_"),
            &format!("{prefix}_{UNKNOWN}0"),
            &format!("{prefix}_8{}", &UNKNOWN[1..]),
            &format!("{}_{UNKNOWN}", prefix.to_uppercase()),
            &format!("evt_{UNKNOWN}"),
            UNKNOWN,
        ]
        .map(str::to_owned);
        let unknown = format!("{prefix}_{UNKNOWN}");
        for id in malformed.iter().chain([&unknown]) {
            let answer = shop.admin.request(method, &path.replace("{}", id)).await;
            answer.refused(404, "not-found");
        }
    }
    // An id in a body is a field like others.
    let body = json!({"user_id": "usr_x", "order_id": order});
    shop.admin
        .post("/api/notify", body)
        .await
        .refused_field(422, "invalid", "user_id");
    let body = json!({"order_id": user});
    shop.admin
        .post("/api/payments", body)
        .await
        .refused_field(422, "invalid", "order_id");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let shop = shop().await;
    for path in [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/users/me/x/y",
        "/API/users",
        "//api/users",
        "/index.html",
    ] {
        shop.anonymous.get(path).await.refused(404, "not-found");
        shop.admin.get(path).await.refused(404, "not-found");
    }
}

#[tokio::test]
async fn another_method_is_405_and_names_those_allowed() {
    let shop = shop().await;
    for (method, path, allowed) in [
        ("DELETE", "/api/users", &["GET", "POST"][..]),
        ("PATCH", "/api/products", &["GET", "POST"]),
        ("POST", "/api/products/x", &["GET", "PUT", "PATCH", "DELETE"]),
        ("GET", "/api/login", &["POST"]),
        ("PUT", "/api/orders/x", &["GET", "PATCH"]),
        ("DELETE", "/api/orders/x", &["GET", "PATCH"]),
        ("PATCH", "/api/inventory/x", &["GET", "PUT"]),
        ("DELETE", "/api/events", &["GET", "POST"]),
        ("PUT", "/api/dead-letters", &["GET"]),
        ("POST", "/api/journals", &["GET"]),
        ("DELETE", "/api/journals/orders", &["GET"]),
        ("POST", "/healthz", &["GET"]),
        ("POST", "/metrics", &["GET"]),
    ] {
        let answer = shop
            .admin
            .request(method, path)
            .await
            .refused(405, "method-not-allowed");
        let given: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        assert!(allowed.iter().all(|method| given.contains(method)), "{answer}");
        assert!(!given.contains(&method), "{answer}");
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let shop = shop().await;
    let product = shop.admin.product(1).await;
    for path in ["/healthz", "/api/products", &product.path()] {
        let (got, head) = (
            shop.anonymous.get(path).await,
            shop.anonymous.request("HEAD", path).await,
        );
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{head}");
        assert_eq!(head.header("etag"), got.header("etag"), "{head}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{head}");
    }
}

#[tokio::test]
async fn browsers_are_told_to_take_answers_for_what_they_are() {
    let shop = shop().await;
    for path in ["/", "/healthz", "/api/products", "/api/nothing"] {
        let answer = shop.anonymous.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer}");
        assert!(!answer.header("content-security-policy").is_empty(), "{answer}");
        assert!(answer.headers.get("access-control-allow-origin").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn ids_times_and_money_look_the_same_everywhere() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(1999, 5).await);
    let (order, payment) = customer.paid_order(&product, 2).await;
    for (path, prefix) in [
        ("/api/users/me".to_owned(), "usr_"),
        (product.path(), "prd_"),
        (format!("/api/orders/{order}"), "ord_"),
        (format!("/api/payments/{payment}"), "pay_"),
    ] {
        let answer = customer.get(&path).await.expect(200);
        let id = answer.text_at("id");
        let rest = id.strip_prefix(prefix).unwrap_or_else(|| panic!("{answer}"));
        assert!(
            rest.len() == 26
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
        for field in ["created_at", "updated_at"] {
            let time = answer.text_at(field);
            assert!(
                time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(),
                "{answer}"
            );
        }
        assert!(answer.number_at("version") >= 1, "{answer}");
    }
    let order = customer.get(&format!("/api/orders/{order}")).await;
    assert_eq!(
        order.json["lines"][0]["unit_price"],
        json!({"amount": 1999, "currency": "USD"})
    );
    assert_eq!(
        order.json["lines"][0]["total"],
        json!({"amount": 3998, "currency": "USD"})
    );
    assert_eq!(order.json["total"], json!({"amount": 3998, "currency": "USD"}));
}
