//! Live streams through the gateway.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use contracts::Service;
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;

use crate::fixture::{request, setup};

/// Begins, and never ends by itself.
async fn endless() -> Response {
    let begun = futures::stream::iter([Ok::<_, std::io::Error>("data: 1\n\n")]);
    let body = Body::from_stream(begun.chain(futures::stream::pending()));
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8");
    response.body(body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn live_streams_end_when_the_gateway_closes_them_and_those_that_are_still_opened() {
    let events = Router::new().route("/api/events/stream", get(endless));
    let app = setup().with(Service::Events, events).open();
    let open = async || {
        let answer = app.respond(request("GET", "/api/events/stream", &[])).await;
        let mut stream = answer.into_body().into_data_stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), "data: 1\n\n");
        stream
    };
    let mut stream = open().await;
    app.door.close_streams();
    assert!(stream.next().await.is_none(), "it has ended");
    let answer = app.respond(request("GET", "/api/events/stream", &[])).await;
    assert!(
        answer.into_body().into_data_stream().next().await.is_none(),
        "nothing is begun"
    );
}
