//! The routes: who may, and what they answer.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use contracts::{CloudEvent, Role, Service};
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::rig::{Frame, Rig, rig};

async fn ask(
    rig: &Rig,
    token: Option<&str>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    rig.events.router().oneshot(request.body(body).unwrap()).await.unwrap()
}

async fn read(response: Response) -> (u16, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        parts.headers,
        String::from_utf8(body.into()).unwrap(),
    )
}

fn custom(subject: &str) -> Value {
    json!({"type": "custom.tested", "subject": subject, "data": {"n": 1}})
}

#[tokio::test(start_paused = true)]
async fn routes_admit_whom_the_api_names() {
    let rig = rig().await;
    let customer = rig.harness.token(rig.user(Role::Customer).id, Role::Customer);
    let admin = rig.harness.token(rig.user(Role::Admin).id, Role::Admin);
    let service = rig.harness.service_token(Service::Orders);
    for (method, path, body, expected) in [
        ("GET", "/api/events", Value::Null, [401, 403, 200, 403]),
        ("POST", "/api/events", custom("a"), [401, 403, 201, 403]),
        ("GET", "/api/events/stream", Value::Null, [401, 200, 200, 403]),
        ("GET", "/api/dead-letters", Value::Null, [401, 403, 200, 403]),
    ] {
        for (token, expected) in [None, Some(&customer), Some(&admin), Some(&service)]
            .into_iter()
            .zip(expected)
        {
            let response = ask(&rig, token.map(String::as_str), method, path, &[], body.clone()).await;
            assert_eq!(response.status(), expected, "{method} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_published_event_is_in_the_log_as_a_cloud_event() {
    let rig = rig().await;
    let publisher = rig.user(Role::Admin);
    let admin = rig.harness.token(publisher.id, Role::Admin);
    let headers = [("idempotency-key", "k"), ("x-request-id", "req-1")];
    let (status, _, published) =
        read(ask(&rig, Some(&admin), "POST", "/api/events", &headers, custom("a")).await).await;
    assert_eq!(status, 201);
    let again = read(ask(&rig, Some(&admin), "POST", "/api/events", &headers, custom("a")).await).await;
    assert_eq!((again.0, &again.2), (201, &published));
    let (status, _, log) =
        read(ask(&rig, Some(&admin), "GET", "/api/events?type=custom.*", &[], Value::Null).await).await;
    assert_eq!(status, 200);
    let events = log
        .strip_prefix(r#"{"data":["#)
        .and_then(|rest| rest.strip_suffix(r#"],"next_cursor":null}"#))
        .unwrap();
    let event: CloudEvent = serde_json::from_str(events).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(
        published,
        json!({"id": event.id, "type": "custom.tested", "subject": "a", "time": event.time})
    );
    assert_eq!(
        (event.sequence, event.streamversion, event.data.get()),
        (1, 1, r#"{"n":1}"#)
    );
    assert_eq!(
        (event.source, event.actor, &*event.correlationid),
        (Service::Events, Some(publisher.id.to_string()), "req-1")
    );
    assert!(event.traceparent.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_custom_event_is_refused() {
    let rig = rig().await;
    let admin = rig.harness.token(rig.user(Role::Admin).id, Role::Admin);
    for (body, expected) in [
        (json!({"type": "order.paid", "subject": "a", "data": {}}), 422),
        (json!({"type": "custom.", "subject": "a", "data": {}}), 422),
        (json!({"type": "custom.x", "subject": "", "data": {}}), 422),
        (json!({"type": "custom.x", "subject": "a", "data": []}), 422),
        (json!({"type": "custom.x", "subject": "a", "data": {}, "time": 1}), 422),
        (
            json!({"type": "custom.x", "subject": "a", "data": {"x": "x".repeat(300_000)}}),
            413,
        ),
    ] {
        let (status, _, problem) = read(ask(&rig, Some(&admin), "POST", "/api/events", &[], body).await).await;
        assert_eq!(status, expected, "{problem}");
    }
    for query in [
        "?type=Order",
        "?source=shop",
        "?after=x",
        "?limit=0",
        "?cursor=x",
        "?cursor=1&after=1",
    ] {
        let path = format!("/api/events{query}");
        assert_eq!(
            ask(&rig, Some(&admin), "GET", &path, &[], Value::Null).await.status(),
            422,
            "{query}"
        );
    }
    // The name that other lists have for it is as good as `after`.
    let page = ask(&rig, Some(&admin), "GET", "/api/events?cursor=1", &[], Value::Null).await;
    assert_eq!(page.status(), 200);
    assert_eq!(rig.log().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_server_sent_events_and_goes_on_after_the_last_id() {
    let rig = rig().await;
    let admin = rig.harness.token(rig.user(Role::Admin).id, Role::Admin);
    for _ in 0..3 {
        rig.publish("a").await;
    }
    let headers = [("last-event-id", "1")];
    let response = ask(
        &rig,
        Some(&admin),
        "GET",
        "/api/events/stream?type=custom.*",
        &headers,
        Value::Null,
    )
    .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut pieces = response.into_body().into_data_stream();
    let mut piece = async || -> Bytes { pieces.next().await.unwrap().unwrap() };
    assert_eq!(piece().await, "retry: 1000\nid: 1\n\n");
    for id in 2..=3 {
        assert_eq!(Frame::read(&piece().await).id, Some(id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_token_does() {
    let rig = rig().await;
    let user = rig.user(Role::Customer).id;
    let token = rig.harness.token(user, Role::Customer);
    rig.pass(std::time::Duration::from_secs(14 * 60)).await;
    let response = ask(&rig, Some(&token), "GET", "/api/events/stream", &[], Value::Null).await;
    assert_eq!(response.status(), 200);
    // A hello, and a sign of life every 15 seconds of the minute that was left.
    let pieces = response.into_body().into_data_stream().take(100).count().await;
    assert_eq!(pieces, 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_cannot_be_is_refused() {
    let rig = rig().await;
    let admin = rig.harness.token(rig.user(Role::Admin).id, Role::Admin);
    for (id, expected) in [
        ("", 200),
        ("0", 200),
        ("1", 422),
        ("-1", 422),
        ("x", 422),
        ("99999999999999999999999", 422),
    ] {
        let headers = [("last-event-id", id)];
        let response = ask(&rig, Some(&admin), "GET", "/api/events/stream", &headers, Value::Null).await;
        assert_eq!(response.status(), expected, "{id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_may_have_so_many_streams() {
    let rig = rig().await;
    let token = rig.harness.token(rig.user(Role::Customer).id, Role::Customer);
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(ask(&rig, Some(&token), "GET", "/api/events/stream", &[], Value::Null).await);
    }
    assert_eq!(
        ask(&rig, Some(&token), "GET", "/api/events/stream", &[], Value::Null)
            .await
            .status(),
        429
    );
    open.pop();
    assert_eq!(
        ask(&rig, Some(&token), "GET", "/api/events/stream", &[], Value::Null)
            .await
            .status(),
        200
    );
}
