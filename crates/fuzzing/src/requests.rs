//! Requests: bodies, query strings and headers, through the routes of a service that does nothing but read them.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use contracts::{Problem, Role, SessionId, UserId, log, notification, order, payment, product, stock, user};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use kernel::auth::{Anyone, Claims, Jwks, SigningKey, User, Verifier};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::http::{Command, IDEMPOTENCY_KEY, IfMatch, Json, Kit, Origin, Query, REQUEST_ID, TRACEPARENT, serve_with};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::chosen;

/// The service, and the one token that it accepts.
struct Service {
    router: Router,
    token: String,
    /// In which time passes when everything waits for it.
    runtime: Mutex<Runtime>,
}

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let clock = Arc::new(ManualClock::starting_at(
        "2026-11-21T09:00:00Z".parse().expect("a constant time"),
    ));
    let ids = Arc::new(Ids::from_seed(1));
    let key = SigningKey::from_seed([1; 32]);
    let keys = Jwks {
        keys: vec![key.jwk().clone()],
    };
    let user = User {
        id: UserId::from_uuid(ids.uuid(clock.now())),
        role: Role::Customer,
        session: SessionId::from_uuid(ids.uuid(clock.now())),
    };
    let token = key.sign(&Claims::of_user(user, clock.now()));
    let kit = Kit {
        service: "fuzzing",
        verifier: Arc::new(Verifier::new(Arc::new(keys), Arc::clone(&clock) as Arc<dyn Clock>)),
        clock,
        ids,
        idempotency_secret: [7; 32],
    };
    let router = serve_with(routes(), kit);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    Service {
        router,
        token,
        runtime: Mutex::new(runtime.expect("a runtime without I/O")),
    }
});

/// A route that answers with the body that it was given, as it has understood it.
fn body<T: Serialize + DeserializeOwned + Send + 'static>(router: Router, path: &str) -> Router {
    router.route(path, post(async |Json(body): Json<T>| Json(body)))
}

/// A route for a body with a password in it, which cannot be written.
fn secret_body<T: DeserializeOwned + Send + 'static>(router: Router, path: &str) -> Router {
    router.route(path, post(async |Json(_): Json<T>| StatusCode::NO_CONTENT))
}

/// A route that answers with the query that it was given, as it has understood it.
fn query<T: Serialize + DeserializeOwned + Send + 'static>(router: Router, path: &str) -> Router {
    let route = async |Query(query): Query<T>| serde_urlencoded::to_string(query).expect("a query has a text");
    router.route(path, get(route))
}

/// A path, and what makes a route of it.
type Route = (&'static str, fn(Router, &str) -> Router);

/// The first byte of a seed is a place in this list, so that a new one comes last.
const BODIES: &[Route] = &[
    ("/bodies/place-order", body::<order::PlaceOrder>),
    ("/bodies/update-order", body::<order::UpdateOrder>),
    ("/bodies/cancel-order", body::<order::CancelOrder>),
    ("/bodies/create-product", body::<product::CreateProduct>),
    ("/bodies/update-product", body::<product::UpdateProduct>),
    ("/bodies/set-stock", body::<stock::SetStock>),
    ("/bodies/adjust-stock", body::<stock::AdjustStock>),
    ("/bodies/create-payment", body::<payment::CreatePayment>),
    ("/bodies/refund-payment", body::<payment::RefundPayment>),
    ("/bodies/update-user", body::<user::UpdateUser>),
    ("/bodies/set-role", body::<user::SetRole>),
    ("/bodies/publish-event", body::<log::PublishEvent>),
    ("/bodies/sign-up", secret_body::<user::SignUp>),
    ("/bodies/login", secret_body::<user::Login>),
    ("/bodies/change-password", secret_body::<user::ChangePassword>),
    ("/bodies/notify", body::<notification::Notify>),
    ("/bodies/refresh-token", body::<user::RefreshToken>),
    ("/bodies/service-sign-in", secret_body::<user::ServiceSignIn>),
];

/// As above.
const QUERIES: &[Route] = &[
    ("/queries/products", query::<product::ListProducts>),
    ("/queries/stock", query::<stock::ListStock>),
    ("/queries/orders", query::<order::ListOrders>),
    ("/queries/payments", query::<payment::ListPayments>),
    ("/queries/users", query::<user::ListUsers>),
    ("/queries/notifications", query::<notification::ListNotifications>),
    ("/queries/events", query::<log::ListEvents>),
    ("/queries/stream", query::<log::StreamEvents>),
    ("/queries/dead-letters", query::<log::ListDeadLetters>),
    ("/queries/order", query::<order::AsOf>),
    ("/queries/order-events", query::<order::ListOrderEvents>),
];

fn routes() -> Router {
    let reading = BODIES.iter().chain(QUERIES);
    let router = reading.fold(Router::new(), |router, (path, route)| route(router, path));
    router
        .route(
            "/who",
            get(async |Anyone(caller)| caller.map_or_else(|| "nobody".to_owned(), |caller| caller.to_string())),
        )
        .route(
            "/claim",
            post(async |command: Command| format!("{:?}", command.context.claim)),
        )
        .route(
            "/condition",
            get(async |condition: IfMatch| match condition {
                IfMatch::Absent | IfMatch::Any => StatusCode::NO_CONTENT.into_response(),
                IfMatch::Versions(versions) => Json(versions).into_response(),
            }),
        )
        .route(
            "/trace",
            get(async |Origin(context): Origin| context.trace.unwrap_or_default().to_string()),
        )
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// What the service answers: never that it failed itself, and every refusal as a problem.
fn ask(request: http::request::Builder, body: &[u8]) -> Answer {
    let request = request.body(Body::from(body.to_vec())).expect("its parts were checked");
    let answer = async {
        let answer = tower::ServiceExt::oneshot(SERVICE.router.clone(), request).await;
        let (parts, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
        let body = body.collect().await.expect("the body is in memory").to_bytes();
        (parts, String::from_utf8(body.to_vec()).expect("answers are text"))
    };
    let runtime = SERVICE.runtime.lock().unwrap_or_else(PoisonError::into_inner);
    let (parts, body) = runtime.block_on(answer);
    assert!(!parts.status.is_server_error(), "{}: {body}", parts.status);
    if !parts.status.is_success() {
        let problem: Problem = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(problem.status(), parts.status.as_u16());
    }
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

fn header(name: impl Into<HeaderName>, bytes: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    Some((name.into(), HeaderValue::from_bytes(bytes).ok()?))
}

pub(crate) fn bodies(bytes: &[u8]) {
    let Some(((path, _), body)) = chosen(BODIES, bytes) else {
        return;
    };
    let send = |body: &[u8]| ask(Request::post(*path).header(CONTENT_TYPE, "application/json"), body);
    let answer = send(body);
    if answer.status == StatusCode::OK {
        let again = send(answer.body.as_bytes());
        assert_eq!((again.status, &again.body), (StatusCode::OK, &answer.body), "{path}");
        assert!(!answer.body.contains("\\u0000"), "{path}: {}", answer.body);
    }
}

pub(crate) fn queries(bytes: &[u8]) {
    let Some(((path, _), query)) = chosen(QUERIES, bytes) else {
        return;
    };
    let send = |query: &[u8]| {
        let uri = http::Uri::try_from([path.as_bytes(), b"?", query].concat()).ok();
        uri.map(|uri| ask(Request::get(uri), b""))
    };
    let Some(answer) = send(query).filter(|answer| answer.status == StatusCode::OK) else {
        return;
    };
    let again = send(answer.body.as_bytes()).expect("a written query stands in a URI");
    assert_eq!((again.status, &again.body), (StatusCode::OK, &answer.body), "{path}");
}

/// A header; or after a first byte of zero, pairs of a place and a byte, by which the good token is changed.
pub(crate) fn authorization(bytes: &[u8]) {
    let good = format!("Bearer {}", SERVICE.token);
    let value = match bytes.split_first() {
        Some((0, changes)) => {
            let mut value = good.clone().into_bytes();
            for change in changes.chunks_exact(2) {
                let place = usize::from(change[0]) * value.len() / 256;
                value[place] = change[1];
            }
            value
        }
        _ => bytes.to_vec(),
    };
    let Some((name, header)) = header(AUTHORIZATION, &value) else {
        return;
    };
    let answer = ask(Request::get("/who").header(name, header), b"");
    let is_good = std::str::from_utf8(&value)
        .ok()
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token.trim() == SERVICE.token);
    let expected = if is_good {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    };
    assert_eq!(
        answer.status,
        expected,
        "{:?}: {}",
        String::from_utf8_lossy(&value),
        answer.body
    );
}

pub(crate) fn if_match(bytes: &[u8]) {
    let Some((name, value)) = header(IF_MATCH, bytes) else {
        return;
    };
    let answer = ask(Request::get("/condition").header(name, value), b"");
    if answer.status == StatusCode::OK {
        let versions: Vec<u64> = serde_json::from_str(&answer.body).expect("a list of versions");
        let given = String::from_utf8_lossy(bytes);
        for version in &versions {
            assert!(given.contains(&format!("\"{version}\"")), "{given} names no {version}");
        }
        let tags: Vec<_> = versions.iter().map(|version| format!("\"{version}\"")).collect();
        if !tags.is_empty() {
            let again = ask(Request::get("/condition").header(IF_MATCH, tags.join(",")), b"");
            assert_eq!(again.body, answer.body);
        }
    }
}

pub(crate) fn idempotency_key(bytes: &[u8]) {
    let claim = |key: &[u8]| {
        let (name, value) = header(HeaderName::from_static(IDEMPOTENCY_KEY), key)?;
        let request = Request::post("/claim").header(AUTHORIZATION, format!("Bearer {}", SERVICE.token));
        Some(ask(request.header(name, value), b""))
    };
    let Some(answer) = claim(bytes) else { return };
    let characters = std::str::from_utf8(bytes).map_or(0, |key| key.chars().count());
    assert_eq!(answer.status == StatusCode::OK, (1..=255).contains(&characters));
    if answer.status == StatusCode::OK {
        let again = claim(bytes).expect("it was a header before");
        assert_eq!(again.body, answer.body, "a key makes one claim");
        let other = claim(&[bytes, b"x"].concat()).expect("a letter more is a header");
        assert_ne!(other.body, answer.body, "two keys make two claims");
    }
}

/// A request's id, and after a line feed its trace.
pub(crate) fn traces(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (id, trace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let headers =
        header(HeaderName::from_static(REQUEST_ID), id).zip(header(HeaderName::from_static(TRACEPARENT), trace));
    let Some(((id_name, id), (trace_name, trace))) = headers else {
        return;
    };
    let answer = ask(
        Request::get("/trace").header(id_name, &id).header(trace_name, &trace),
        b"",
    );
    assert_eq!(answer.status, StatusCode::OK);
    let answered = answer.headers.get(REQUEST_ID).expect("every answer names its request");
    assert!(answered == id || answered.len() == 36, "{answered:?}");
    assert!(answered.as_bytes().iter().all(u8::is_ascii_graphic), "{answered:?}");
    let fields: Vec<&str> = answer.body.split('-').collect();
    let lengths: Vec<usize> = fields.iter().map(|field| field.len()).collect();
    assert_eq!(
        (fields[0], &lengths[..]),
        ("00", &[2, 32, 16, 2][..]),
        "{}",
        answer.body
    );
    assert!(
        trace == answer.body.as_str() || fields[3] == "01",
        "a trace that is none is begun anew"
    );
}
