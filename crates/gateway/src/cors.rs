//! Cross-origin requests (the Fetch standard's CORS protocol): which web pages may call the API from a browser.

use std::time::Duration;

use axum::extract::Request;
use http::Method;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION,
    ORIGIN, RETRY_AFTER,
};
use kernel::http::{IDEMPOTENCY_KEY, REQUEST_ID, TRACEPARENT};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::Origins;
use crate::limit::{RATELIMIT, RATELIMIT_POLICY};

/// How long a browser may remember what it was allowed; none does for longer.
const REMEMBERED: Duration = Duration::from_hours(2);

/// The layer that answers preflights and writes the headers; `None` if nobody is allowed in, which costs nothing.
///
/// Cookies are never allowed: who calls is said by a token that a page has to send on purpose.
pub(crate) fn layer(origins: &Origins) -> Option<CorsLayer> {
    let origins = match origins {
        Origins::None => return None,
        Origins::Listed(origins) => AllowOrigin::list(origins.iter().cloned()),
        Origins::Any => AllowOrigin::any(),
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            HeaderName::from_static(IDEMPOTENCY_KEY),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static(REQUEST_ID),
            HeaderName::from_static(TRACEPARENT),
        ])
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            RATELIMIT,
            RATELIMIT_POLICY,
            HeaderName::from_static(REQUEST_ID),
        ])
        .max_age(REMEMBERED);
    Some(layer)
}

/// Whether the layer has a say: in all but an `OPTIONS` that is no preflight, which it would take for one.
pub(crate) fn concerns(request: &Request) -> bool {
    let headers = request.headers();
    request.method() != Method::OPTIONS
        || (headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD))
}
