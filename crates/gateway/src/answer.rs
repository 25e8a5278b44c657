//! What is done to answers on their way out.

use axum::body::{Body, HttpBody};
use axum::response::Response;
use http::StatusCode;
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

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
