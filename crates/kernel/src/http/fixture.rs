//! A service with nothing but the routes of a test, and clients of it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use contracts::{Role, Service, SessionId, UserId};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tower::ServiceExt;
use uuid::Uuid;

use super::{Kit, serve_with};
use crate::auth::{Caller, Claims, Jwks, SigningKey, User, Verifier};
use crate::clock::{Clock, Ids, ManualClock};

pub(crate) struct App {
    pub(crate) router: Router,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: SigningKey,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) fn app(routes: Router) -> App {
    let key = SigningKey::from_seed([1; 32]);
    let clock = Arc::new(ManualClock::starting_at("2026-11-21T09:00:00Z".parse().unwrap()));
    let keys = Jwks {
        keys: vec![key.jwk().clone()],
    };
    let verifier = Arc::new(Verifier::new(Arc::new(keys), Arc::clone(&clock) as Arc<dyn Clock>));
    let kit = Kit {
        service: "test",
        verifier: Arc::clone(&verifier),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ids: Arc::new(Ids::from_seed(1)),
        idempotency_secret: [7; 32],
    };
    App {
        router: serve_with(routes, kit),
        verifier,
        clock,
        key,
    }
}

pub(crate) fn user(number: u128, role: Role) -> User {
    let id = UserId::from_uuid(Uuid::from_u128(number));
    User {
        id,
        role,
        session: SessionId::from_uuid(Uuid::from_u128(100 + number)),
    }
}

impl App {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The `Authorization` header of a customer, an admin or a service.
    pub(crate) fn bearer(&self, caller: Caller) -> String {
        let claims = match caller {
            Caller::User(user) => Claims::of_user(user, self.now()),
            Caller::Service(service) => Claims::of_service(service, self.now()),
        };
        format!("Bearer {}", self.key.sign(&claims))
    }

    pub(crate) fn customer(&self) -> String {
        self.bearer(Caller::User(user(1, Role::Customer)))
    }

    pub(crate) fn admin(&self) -> String {
        self.bearer(Caller::User(user(2, Role::Admin)))
    }

    pub(crate) fn service(&self) -> String {
        self.bearer(Caller::Service(Service::Orders))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// A request with these headers, and a JSON body if there is one.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, headers, "").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.request("POST", path, headers, body).await
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and body without the request's id, for snapshots.
    pub(crate) fn shown(&self) -> String {
        let body = self.body.replace(self.header("x-request-id"), "ID");
        format!("{} {body}", self.status)
    }
}
