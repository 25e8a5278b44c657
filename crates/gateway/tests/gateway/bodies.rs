use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use contracts::Service;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use insta::assert_snapshot;
use kernel::http::{BODY_BYTES_MAX, Json, RawBody, serve_with};

use crate::fixture::{App, request, setup};

fn whole(bytes: usize) -> Body {
    Body::from(vec![b' '; bytes])
}

/// Without a length that could be known beforehand.
fn streamed(bytes: usize) -> Body {
    let chunks = vec![Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes / 2])); 2];
    Body::from_stream(stream::iter(chunks))
}

fn never_ending() -> Body {
    Body::from_stream(stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"{")) }).chain(stream::pending()))
}

async fn post(app: &App, body: Body) -> crate::fixture::Answer {
    app.send(request("POST", "/api/orders", &[("content-type", "application/json")]).map(|_| body))
        .await
}

#[tokio::test(start_paused = true)]
async fn a_body_has_at_most_one_mebibyte_whether_it_says_so_or_not() {
    let app = setup().open();
    for (body, status) in [
        (whole(0), 200),
        (whole(BODY_BYTES_MAX), 200),
        (streamed(BODY_BYTES_MAX), 200),
        (whole(BODY_BYTES_MAX + 2), 413),
        // The service that got only the beginning has said 200.
        (streamed(BODY_BYTES_MAX + 2), 413),
    ] {
        let answer = post(&app, body).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.text().contains("body-too-large"), status == 413);
    }
    assert_snapshot!(post(&app, streamed(BODY_BYTES_MAX + 2)).await.shown(), @r#"413 {"type":"/docs/errors#body-too-large","title":"Body too large","status":413,"detail":"Send a body of at most 1 MiB.","instance":"/api/orders#ID","code":"body-too-large"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_service_with_the_same_limit_refuses_in_the_same_words() {
    let routes = Router::new()
        .route(
            "/api/orders",
            axum::routing::post(async |RawBody(body)| body.len().to_string()),
        )
        .route(
            "/api/orders/json",
            axum::routing::post(async |Json(_): Json<std::collections::HashMap<String, String>>| ""),
        );
    let setup = setup();
    let orders = serve_with(routes, setup.kit(Service::Orders));
    let app = setup.with(Service::Orders, orders).open();
    assert_eq!(
        post(&app, streamed(BODY_BYTES_MAX)).await.text(),
        BODY_BYTES_MAX.to_string()
    );
    let refused = post(&app, streamed(BODY_BYTES_MAX + 2)).await;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.json()["code"], "body-too-large");
}

#[tokio::test(start_paused = true)]
async fn a_body_passes_through_while_it_is_still_coming() {
    let orders = Router::new().fallback(async |request: Request| {
        let first = request.into_body().into_data_stream().next().await.unwrap().unwrap();
        first.len().to_string()
    });
    let app = setup().with(Service::Orders, orders).open();
    assert_eq!(post(&app, never_ending()).await.text(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_in_time_is_given_up_on() {
    let orders = Router::new().fallback(async |request: Request| {
        request.into_body().collect().await.unwrap();
        std::future::pending::<()>().await;
    });
    let app = setup().with(Service::Orders, orders).open();
    let before = tokio::time::Instant::now();
    let answer = post(&app, Body::from("{}")).await;
    assert_eq!(before.elapsed(), Duration::from_secs(30));
    assert_eq!(answer.header("retry-after"), "1");
    assert_snapshot!(answer.shown(), @r#"503 {"type":"/docs/errors#upstream-unavailable","title":"Service unavailable","status":503,"detail":"Repeat the request after the Retry-After, with the same Idempotency-Key.","instance":"/api/orders#ID","code":"upstream-unavailable"}"#);
    assert_eq!(app.get("/api/orders", &[]).await.status, 503);
    // It is not the client's fault either if nobody has read what it sent.
    let deaf = Router::new().fallback(async |_: Request| std::future::pending::<()>().await);
    let app = setup().with(Service::Orders, deaf).open();
    assert_eq!(post(&app, Body::from("{}")).await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_send_its_body_in_time_is_given_up_on() {
    let app = setup().open();
    assert_snapshot!(post(&app, never_ending()).await.shown(), @r#"408 {"type":"/docs/errors#request-timeout","title":"Request took too long","status":408,"detail":"Send the body faster, and repeat the request with the same Idempotency-Key.","instance":"/api/orders#ID","code":"request-timeout"}"#);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_passes_through_event_by_event_for_as_long_as_it_likes() {
    let events = Router::new().fallback(async || {
        let events = stream::unfold(0, async |number| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let event = Event::default().id(number.to_string()).data("x".repeat(2000));
            Some((Ok::<_, Infallible>(event), number + 1))
        });
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    });
    let app = setup().with(Service::Events, events).open();
    let response = app
        .respond(request("GET", "/api/events/stream", &[("accept-encoding", "br, gzip")]))
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(!response.headers().contains_key("content-encoding"));
    let mut stream = response.into_body().into_data_stream();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let chunk = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
        seen.extend(
            chunk
                .lines()
                .find_map(|line| line.strip_prefix("id: "))
                .map(str::to_owned),
        );
    }
    assert_eq!(seen, ["0", "1", "2"]);
}
