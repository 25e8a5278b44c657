//! What happens around every request of a service: who calls, within which limits, and what is told about it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::response::{IntoResponse, Response};
use contracts::Code;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use http_body_util::Limited;
use tower::{Layer, Service};
use tracing::Instrument;

use super::failure::{Failure, internal, render};
use super::scope::{REQUEST_ID, Scope, Shared, request_id};
use super::series::Series;
use crate::auth::{Caller, Refusal, Verifier};

/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Wraps each endpoint of a router.
#[derive(Clone, Debug)]
pub(super) struct ServiceLayer {
    pub(super) shared: Arc<Shared>,
}

impl<S> Layer<S> for ServiceLayer {
    type Service = Endpoint<S>;

    fn layer(&self, inner: S) -> Endpoint<S> {
        Endpoint {
            shared: Arc::clone(&self.shared),
            series: Arc::default(),
            inner,
        }
    }
}

/// An endpoint, wrapped.
#[derive(Clone, Debug)]
pub(super) struct Endpoint<S> {
    shared: Arc<Shared>,
    series: Arc<Series>,
    inner: S,
}

impl<S> Service<Request> for Endpoint<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that was polled ready is the one to call.
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(answer(Arc::clone(&self.shared), Arc::clone(&self.series), inner, request).map(Ok))
    }
}

async fn answer<S>(shared: Arc<Shared>, series: Arc<Series>, mut inner: S, mut request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let clock = Arc::clone(&shared.kit.clock);
    let service = shared.kit.service;
    let started = clock.monotonic();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = request.method().clone();
    let uri = request
        .extensions()
        .get::<OriginalUri>()
        .map_or_else(|| request.uri().clone(), |uri| uri.0.clone());
    let request_id = request_id(request.headers(), &shared.kit.ids, || clock.now());
    let span = tracing::info_span!(
        "request",
        service,
        %method,
        route,
        request_id = &*request_id,
        status = tracing::field::Empty,
        latency_us = tracing::field::Empty
    );
    let handled = async {
        let found = request.extensions().get::<Caller>().copied();
        let caller = match caller(&shared.kit.verifier, found, request.headers()).await {
            Ok(caller) => caller,
            Err(refusal) => {
                let token_refused = refusal != Refusal::KeysUnavailable;
                let response = Failure::from(refusal).because(refusal).into_response();
                return render(response, &uri, &request_id, token_refused);
            }
        };
        let scope = Scope::new(shared, Arc::clone(&request_id), request.headers(), caller);
        request.extensions_mut().insert(scope);
        let response = match limit_body(request) {
            Ok(request) => AssertUnwindSafe(async { inner.call(request).await })
                .catch_unwind()
                .await
                .map_or_else(
                    |_| internal("the handler panicked").into_response(),
                    |Ok(response)| response,
                ),
            Err(failure) => failure.into_response(),
        };
        render(response, &uri, &request_id, false)
    };
    let mut response = handled.instrument(span.clone()).await;
    let latency = clock.monotonic().saturating_sub(started);
    let status = response.status();
    span.record("status", status.as_u16());
    span.record("latency_us", u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    series.record(service, route, &method, status, latency);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Who calls: whom the gateway found in the same process, or else whom the token names. A bad token is refused even where
/// none is needed, so that a client learns of it.
async fn caller(verifier: &Verifier, found: Option<Caller>, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
    if let Some(caller) = found {
        return verifier.admit(&caller).map(|()| found);
    }
    match bearer_token(headers)? {
        Some(token) => verifier.verify(token).await.map(Some),
        None => Ok(None),
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750).
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err(Refusal::Invalid("no bearer token"))
    }
}

/// Refuses a body that is too large by its own account, and counts one that gives none.
fn limit_body(request: Request) -> Result<Request, Failure> {
    match request.body().size_hint().upper() {
        Some(bytes) if bytes <= BODY_BYTES_MAX as u64 => Ok(request),
        Some(_) => Err(Code::BodyTooLarge.into()),
        None => Ok(request.map(|body| Body::new(Limited::new(body, BODY_BYTES_MAX)))),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use contracts::Role;
    use http::Request;
    use insta::assert_snapshot;

    use super::*;
    use crate::auth::{Admin, AdminOrService, Anyone, Person, SignedIn};
    use crate::clock::Clock as _;
    use crate::http::fixture::{App, app, user};
    use crate::http::{Json, RawBody};
    use crate::store::StoreError;

    fn routes() -> App {
        let name = |caller: Caller| caller.to_string();
        app(Router::new()
            .route(
                "/anyone",
                get(async move |Anyone(caller)| caller.map_or_else(|| "nobody".to_owned(), name)),
            )
            .route("/signed-in", get(async move |SignedIn(caller)| name(caller)))
            .route("/person", get(async |Person(user)| user.id.to_string()))
            .route("/admin", get(async |Admin(user)| user.id.to_string()))
            .route(
                "/admin-or-service",
                get(async move |AdminOrService(caller)| name(caller)),
            )
            .route("/panics", get(async || -> &'static str { panic!("as the test asks") }))
            .route(
                "/fails",
                get(async || Err::<(), Failure>(StoreError::new("10.0.0.7 is down").into())),
            )
            .route("/bytes", post(async |RawBody(body)| body.len().to_string()))
            .route(
                "/json",
                post(async |Json(_): Json<std::collections::HashMap<String, String>>| "ok"),
            ))
    }

    #[tokio::test]
    async fn a_route_admits_whom_its_handler_names() {
        let app = routes();
        let tokens = [String::new(), app.customer(), app.admin(), app.service()];
        for (path, expected) in [
            ("/anyone", [200, 200, 200, 200]),
            ("/signed-in", [401, 200, 200, 200]),
            ("/person", [401, 200, 200, 403]),
            ("/admin", [401, 403, 200, 403]),
            ("/admin-or-service", [401, 403, 200, 200]),
        ] {
            for (token, status) in tokens.iter().zip(expected) {
                let headers = [("authorization", token.as_str())];
                let headers = if token.is_empty() { &[][..] } else { &headers };
                assert_eq!(app.get(path, headers).await.status, status, "{path} {token}");
            }
        }
        assert_eq!(
            app.get("/anyone", &[("authorization", &tokens[3])]).await.body,
            "service:orders"
        );
    }

    #[tokio::test]
    async fn who_is_refused_learns_why() {
        let app = routes();
        let nobody = app.get("/admin", &[]).await;
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
        assert_snapshot!(nobody.shown(), @r#"401 {"type":"/docs/errors#unauthorized","title":"Not signed in","status":401,"detail":"Sign in, and send the token as `Authorization: Bearer …`.","instance":"/admin#ID","code":"unauthorized"}"#);
        let customer = app.get("/admin", &[("authorization", &app.customer())]).await;
        assert_snapshot!(customer.shown(), @r#"403 {"type":"/docs/errors#forbidden","title":"Not allowed","status":403,"detail":"Ask somebody whose role allows it.","instance":"/admin#ID","code":"forbidden"}"#);
    }

    #[tokio::test]
    async fn a_bad_token_is_refused_even_where_none_is_needed() {
        let app = routes();
        for bad in ["Bearer x", "Bearer", "Bearer ", "Basic YTpi", "x", &app.customer()[7..]] {
            let answer = app.get("/anyone", &[("authorization", bad)]).await;
            assert_eq!(answer.status, 401, "{bad}");
            assert_eq!(answer.header("www-authenticate"), r#"Bearer error="invalid_token""#);
        }
        assert_eq!(
            app.get(
                "/anyone",
                &[("authorization", &app.customer().replace("Bearer", "bEARER"))]
            )
            .await
            .status,
            200
        );
        let token = app.customer();
        app.clock.jump(jiff::SignedDuration::from_mins(16));
        let expired = app.get("/anyone", &[("authorization", &token)]).await;
        assert_snapshot!(expired.shown(), @r#"401 {"type":"/docs/errors#token-expired","title":"Token expired","status":401,"detail":"Refresh the token at /api/token/refresh, or sign in again.","instance":"/anyone#ID","code":"token-expired"}"#);
    }

    #[tokio::test]
    async fn a_caller_found_in_the_same_process_is_believed_unless_erased() {
        let app = routes();
        let admin = user(2, Role::Admin);
        let request = || {
            let request = Request::get("/admin").header(AUTHORIZATION, "Bearer x");
            request.extension(Caller::User(admin)).body(Body::empty()).unwrap()
        };
        assert_eq!(app.send(request()).await.status, 200);
        app.verifier
            .refuse_user(admin.id, app.clock.now() + jiff::SignedDuration::from_mins(15));
        assert_eq!(app.send(request()).await.status, 401);
    }

    #[tokio::test]
    async fn faults_of_ours_say_nothing_but_the_request() {
        let app = routes();
        let failed = app.get("/fails", &[]).await;
        assert_eq!(failed.header("retry-after"), "1");
        assert_snapshot!(failed.shown(), @r#"503 {"type":"/docs/errors#store-unavailable","title":"Store unavailable","status":503,"detail":"Repeat the request after the Retry-After, with the same Idempotency-Key.","instance":"/fails#ID","code":"store-unavailable"}"#);
        assert_snapshot!(app.get("/panics", &[]).await.shown(), @r#"500 {"type":"/docs/errors#internal","title":"Internal error","status":500,"detail":"Repeat the request later; if it persists, report its x-request-id.","instance":"/panics#ID","code":"internal"}"#);
    }

    #[tokio::test]
    async fn unknown_paths_and_wrong_methods_are_problems() {
        let app = routes();
        assert_snapshot!(app.get("/nowhere?secret=1", &[]).await.shown(), @r#"404 {"type":"/docs/errors#not-found","title":"Not found","status":404,"detail":"Check the path and the id; what is not yours is not found either.","instance":"/nowhere#ID","code":"not-found"}"#);
        let wrong = app.request("DELETE", "/bytes", &[], "").await;
        assert_eq!(wrong.header("allow"), "POST");
        assert_snapshot!(wrong.shown(), @r#"405 {"type":"/docs/errors#method-not-allowed","title":"Method not allowed","status":405,"detail":"Use one of the methods in the `Allow` header.","instance":"/bytes#ID","code":"method-not-allowed"}"#);
    }

    #[tokio::test]
    async fn every_answer_carries_the_request_id() {
        let app = routes();
        for path in ["/anyone", "/admin", "/nowhere", "/panics"] {
            assert_eq!(
                app.get(path, &[("x-request-id", "req-1")]).await.header("x-request-id"),
                "req-1"
            );
            assert_eq!(
                app.get(path, &[("x-request-id", "no good")])
                    .await
                    .header("x-request-id")
                    .len(),
                36
            );
        }
    }

    #[tokio::test]
    async fn a_body_has_at_most_one_mebibyte_whether_it_says_so_or_not() {
        let app = routes();
        let streamed = |bytes: usize| {
            let chunks = vec![Ok::<_, Infallible>(bytes::Bytes::from(vec![b' '; bytes / 2])); 2];
            Body::from_stream(futures::stream::iter(chunks))
        };
        let whole = |bytes: usize| Body::from(vec![b' '; bytes]);
        for (body, status) in [
            (whole(BODY_BYTES_MAX), 200),
            (streamed(BODY_BYTES_MAX), 200),
            (whole(BODY_BYTES_MAX + 2), 413),
            (streamed(BODY_BYTES_MAX + 2), 413),
        ] {
            let answer = app.send(Request::post("/bytes").body(body).unwrap()).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.body.contains("body-too-large"), status == 413);
        }
        let request = Request::post("/json").header("content-type", "application/json");
        assert_eq!(
            app.send(request.body(streamed(BODY_BYTES_MAX + 2)).unwrap())
                .await
                .status,
            413
        );
    }
}
