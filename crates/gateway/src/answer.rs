//! What is done to answers on their way out.

use axum::body::{Body, HttpBody};
use axum::response::Response;
use futures::StreamExt as _;
use http::StatusCode;
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use tokio::sync::watch;

/// Tells browsers to take an answer for nothing but what it says it is. A page that needs more says so itself.
pub(crate) fn protect(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, nothing);
    }
    if !headers.contains_key(REFERRER_POLICY) {
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
}

/// Whether it goes on for as long as somebody reads it.
pub(crate) fn is_live(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// A live answer that ends when the gateway closes.
pub(crate) fn until(response: Response, mut closing: watch::Receiver<bool>) -> Response {
    let closed = async move {
        // Who would say so is gone with the gateway.
        let _ = closing.wait_for(|closing| *closing).await;
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(closed))))
}

/// The answer to `HEAD`: that to `GET`, without its body.
pub(crate) fn without_body(mut response: Response) -> Response {
    if response.body().is_end_stream() {
        return response;
    }
    if let Some(bytes) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, bytes.into());
    }
    *response.body_mut() = Body::empty();
    response
}

/// The answer to `OPTIONS` where there is only a refusal of the method, which names those that are allowed.
pub(crate) fn options(refused: &Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = refused
        .headers()
        .get(ALLOW)
        .and_then(|methods| methods.to_str().ok())
        .unwrap_or_default();
    let allowed = if allowed.is_empty() {
        "OPTIONS".to_owned()
    } else {
        format!("{allowed},OPTIONS")
    };
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}
