//! A gateway in front of services that only say what reached them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use contracts::{Role, Service, SessionId, UserId};
use gateway::config::RateLimits;
use gateway::{Config, FrontDoor, Gateway, Upstream};
use http::HeaderMap;
use http_body_util::BodyExt;
use kernel::auth::{Caller, Claims, Jwks, SigningKey, User, Verifier};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::http::Kit;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

/// What a gateway is made from.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) upstreams: BTreeMap<Service, Upstream>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) verifier: Arc<Verifier>,
    key: SigningKey,
}

/// A gateway that is open.
pub(crate) struct App {
    pub(crate) door: FrontDoor,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) verifier: Arc<Verifier>,
    key: SigningKey,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Every service is there, says what reached it, and nothing is limited.
pub(crate) fn setup() -> Setup {
    let key = SigningKey::from_seed([1; 32]);
    let clock = Arc::new(ManualClock::starting_at("2026-11-21T09:00:00Z".parse().unwrap()));
    let keys = Jwks {
        keys: vec![key.jwk().clone()],
    };
    Setup {
        config: Config {
            rate_limit: RateLimits::OFF,
            ..Config::default()
        },
        upstreams: Service::ALL
            .iter()
            .map(|&service| (service, echo(service).into()))
            .collect(),
        verifier: Arc::new(Verifier::new(Arc::new(keys), Arc::clone(&clock) as Arc<dyn Clock>)),
        ids: Arc::new(Ids::from_seed(1)),
        clock,
        key,
    }
}

/// A service that says what reached it.
pub(crate) fn echo(service: Service) -> Router {
    Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map(|body| body.to_bytes().len());
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
        axum::Json(json!({
            "service": service,
            "method": parts.method.as_str(),
            "uri": parts.uri.to_string(),
            "caller": parts.extensions.get::<Caller>().map(Caller::to_string),
            "headers": headers.collect::<serde_json::Map<String, Value>>(),
            "bytes": bytes.ok(),
        }))
    })
}

pub(crate) fn user(number: u128, role: Role) -> User {
    let id = UserId::from_uuid(Uuid::from_u128(number));
    User {
        id,
        role,
        session: SessionId::from_uuid(Uuid::from_u128(100 + number)),
    }
}

impl Setup {
    pub(crate) fn limited(mut self, anonymous: &str, user: &str, ip: &str) -> Self {
        let [anonymous, user, ip] = [anonymous, user, ip].map(|rate| rate.parse().unwrap());
        self.config.rate_limit = RateLimits { anonymous, user, ip };
        self
    }

    pub(crate) fn with(mut self, service: Service, router: Router) -> Self {
        self.upstreams.insert(service, router.into());
        self
    }

    /// What a real service wraps its routes in.
    pub(crate) fn kit(&self, service: Service) -> Kit {
        Kit {
            service: service.as_str(),
            verifier: Arc::clone(&self.verifier),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            ids: Arc::clone(&self.ids),
            idempotency_secret: [7; 32],
        }
    }

    pub(crate) fn open(self) -> App {
        self.open_with(|gateway| gateway)
    }

    pub(crate) fn open_with(self, complete: impl FnOnce(Gateway) -> Gateway) -> App {
        let Self {
            config,
            upstreams,
            clock,
            ids,
            verifier,
            key,
        } = self;
        let gateway = Gateway::new(
            config,
            upstreams,
            Arc::clone(&verifier),
            Arc::clone(&clock) as Arc<dyn Clock>,
            ids,
        );
        App {
            door: complete(gateway).open(),
            clock,
            verifier,
            key,
        }
    }
}

impl App {
    /// The `Authorization` header of a caller.
    pub(crate) fn bearer(&self, caller: Caller) -> String {
        let claims = match caller {
            Caller::User(user) => Claims::of_user(user, self.clock.now()),
            Caller::Service(service) => Claims::of_service(service, self.clock.now()),
        };
        format!("Bearer {}", self.key.sign(&claims))
    }

    pub(crate) fn customer(&self, number: u128) -> String {
        self.bearer(Caller::User(user(number, Role::Customer)))
    }

    pub(crate) fn admin(&self) -> String {
        self.bearer(Caller::User(user(99, Role::Admin)))
    }

    /// The answer as it begins.
    pub(crate) async fn respond(&self, request: Request) -> Response {
        self.door.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        let (parts, body) = self.respond(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(method, path, headers)).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, headers).await
    }

    /// From this address.
    pub(crate) async fn get_from(&self, peer: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = request("GET", path, headers);
        let peer = SocketAddr::new(peer.parse().unwrap(), 4321);
        request.extensions_mut().insert(ConnectInfo(peer));
        self.send(request).await
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let request = http::Request::builder().method(method).uri(path);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and body without the request's id, for snapshots.
    pub(crate) fn shown(&self) -> String {
        format!(
            "{} {}",
            self.status,
            self.text().replace(self.header("x-request-id"), "ID")
        )
    }
}
