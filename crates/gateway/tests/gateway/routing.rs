use axum::Router;
use axum::routing::get;
use contracts::Service;
use insta::assert_snapshot;
use kernel::http::serve_with;

use crate::fixture::{setup, user};

#[tokio::test]
async fn a_request_reaches_its_service_unchanged() {
    let app = setup().open();
    for (path, service) in [
        ("/api/users/me", "users"),
        ("/api/login", "users"),
        ("/.well-known/jwks.json", "users"),
        ("/api/products?q=a%20b&limit=3", "catalog"),
        ("/api/inventory/a%2Fb", "inventory"),
        ("/api/orders", "orders"),
        ("/api/payments/stripe/webhook", "payments"),
        ("/api/notify", "notifications"),
        ("/api/events/stream", "events"),
    ] {
        let answer = app.request("POST", path, &[("if-match", "\"7\"")]).await.json();
        assert_eq!(
            (&answer["service"], &answer["method"]),
            (&service.into(), &"POST".into()),
            "{path}"
        );
        assert_eq!(
            (&answer["uri"], &answer["headers"]["if-match"]),
            (&path.into(), &"\"7\"".into())
        );
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let app = setup().open();
    assert_snapshot!(app.get("/api/nowhere?secret=1", &[]).await.shown(), @r#"404 {"type":"/docs/errors#not-found","title":"Not found","status":404,"detail":"Check the path and the id; what is not yours is not found either.","instance":"/api/nowhere#ID","code":"not-found"}"#);
    assert_eq!(app.get("/api/ordersx", &[]).await.status, 404);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_waited_for() {
    let mut setup = setup();
    setup.upstreams.remove(&Service::Orders);
    let answer = setup.open().get("/api/orders", &[]).await;
    assert_eq!(answer.header("retry-after"), "1");
    assert_snapshot!(answer.shown(), @r#"503 {"type":"/docs/errors#upstream-unavailable","title":"Service unavailable","status":503,"detail":"Repeat the request after the Retry-After, with the same Idempotency-Key.","instance":"/api/orders#ID","code":"upstream-unavailable"}"#);
}

#[tokio::test]
async fn head_and_options_are_answered_where_get_is() {
    let orders = Router::new().route("/api/orders", get(async || "orders").post(async || "placed"));
    let setup = setup();
    let orders = serve_with(orders, setup.kit(Service::Orders));
    let app = setup.with(Service::Orders, orders).open();
    let head = app.request("HEAD", "/api/orders", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length"), head.text()),
        (200, "6", "")
    );
    let options = app.request("OPTIONS", "/api/orders", &[]).await;
    assert_eq!(
        (options.status, options.header("allow"), options.text()),
        (204, "GET,HEAD,POST,OPTIONS", "")
    );
    let refused = app.request("DELETE", "/api/orders", &[]).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET,HEAD,POST"));
    let unknown = app.request("HEAD", "/nowhere", &[]).await;
    assert_eq!((unknown.status, unknown.text()), (404, ""));
}

#[tokio::test]
async fn a_request_has_one_id_and_one_trace_from_the_door_to_the_service() {
    let app = setup().open();
    let answer = app.get("/api/orders", &[("x-request-id", "req-1")]).await;
    assert_eq!(
        (answer.header("x-request-id"), &answer.json()["headers"]["x-request-id"]),
        ("req-1", &"req-1".into())
    );
    for insane in ["", "no good", "\"", &"x".repeat(129)] {
        let answer = app.get("/api/orders", &[("x-request-id", insane)]).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{insane}");
        assert_eq!(answer.json()["headers"]["x-request-id"], answer.header("x-request-id"));
    }
    let refused = app.get("/nowhere", &[("x-request-id", "req-2")]).await;
    assert_eq!(refused.header("x-request-id"), "req-2");
    assert!(refused.text().contains("/nowhere#req-2"));

    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let kept = app
        .get("/api/orders", &[("traceparent", trace), ("tracestate", "a=b")])
        .await
        .json();
    assert_eq!(
        (&kept["headers"]["traceparent"], &kept["headers"]["tracestate"]),
        (&trace.into(), &"a=b".into())
    );
    let begun = app
        .get("/api/orders", &[("traceparent", "x"), ("tracestate", "a=b")])
        .await
        .json();
    let trace = begun["headers"]["traceparent"].as_str().unwrap();
    assert!(trace.starts_with("00-") && trace.len() == 55, "{trace}");
    assert_eq!(begun["headers"].get("tracestate"), None);
}

#[tokio::test]
async fn a_service_sees_the_gateways_caller_request_id_and_trace() {
    use kernel::auth::SignedIn;
    use kernel::http::{Origin, RequestId};
    let routes = Router::new().route(
        "/api/orders",
        get(
            async |SignedIn(caller): SignedIn, RequestId(id): RequestId, Origin(context): Origin| {
                format!("{caller} {id} {}", context.trace.unwrap())
            },
        ),
    );
    let setup = setup();
    let orders = serve_with(routes, setup.kit(Service::Orders));
    let app = setup.with(Service::Orders, orders).open();
    let token = app.customer(1);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("authorization", &*token),
        ("x-request-id", "req-1"),
        ("traceparent", trace),
    ];
    let answer = app.get("/api/orders", &headers).await;
    let id = user(1, contracts::Role::Customer).id;
    assert_eq!(answer.text(), format!("{id} req-1 {trace}"));
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
}
