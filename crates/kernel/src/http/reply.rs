//! Answers that carry a version.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ETAG, HeaderValue, LOCATION};
use serde::Serialize;

use super::etag::etag;
use super::failure::internal;
use super::json;

/// 200 with a resource and its `ETag`.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// The version that the `ETag` names.
    pub version: u64,
    /// The resource.
    pub body: T,
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = json::encode(&self.body);
        response.headers_mut().insert(ETAG, etag(self.version));
        response
    }
}

/// 201 with a new resource, its `ETag` and its `Location`.
#[derive(Clone, Debug)]
pub struct Created<T> {
    /// The path of the resource, percent-encoded: `/api/orders/ord_…`.
    pub location: String,
    /// The version that the `ETag` names.
    pub version: u64,
    /// The resource.
    pub body: T,
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let Ok(location) = HeaderValue::try_from(self.location) else {
            return internal("a Location is not percent-encoded").into_response();
        };
        let mut response = Versioned {
            version: self.version,
            body: self.body,
        }
        .into_response();
        if response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::http::fixture::app;

    #[tokio::test]
    async fn answers_carry_their_version() {
        let app = app(Router::new()
            .route("/old", get(async || Versioned { version: 7, body: [1] }))
            .route(
                "/new",
                get(async || Created {
                    location: "/old".into(),
                    version: 1,
                    body: [1],
                }),
            )
            .route(
                "/bad",
                get(async || Created {
                    location: "/\n".into(),
                    version: 1,
                    body: [1],
                }),
            ));
        let old = app.get("/old", &[]).await;
        assert_eq!((old.status, old.header("etag"), &*old.body), (200, "\"7\"", "[1]"));
        assert_eq!(old.header("content-type"), "application/json");
        let new = app.get("/new", &[]).await;
        assert_eq!(
            (new.status, new.header("etag"), new.header("location")),
            (201, "\"1\"", "/old")
        );
        assert_eq!(app.get("/bad", &[]).await.status, 500);
    }
}
