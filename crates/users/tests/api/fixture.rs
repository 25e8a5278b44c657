//! The service with a client, and people who use it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use contracts::{Service, UserId};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use kernel::access::AccessEvents;
use kernel::auth::Verifier;
use kernel::clock::{Clock, Ids};
use kernel::engine::KERNEL_COLLECTIONS;
use kernel::event::{Position, Recorded};
use kernel::store::Query;
use serde_json::{Value, json};
use testkit::harness::Harness;
use tower::ServiceExt;
use users::{AdminCreated, COLLECTIONS, Config, Keys, PasswordHasher, Ports, SimulatedHasher, Users};

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const SERVICE_SECRET: &str = "between services";

pub(crate) struct App {
    pub(crate) harness: Harness,
    pub(crate) users: Users,
    pub(crate) keys: Keys,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) access: AccessEvents,
    router: Router,
}

/// Somebody who has signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) refresh: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) async fn app() -> App {
    app_with(Arc::new(SimulatedHasher)).await
}

pub(crate) async fn app_with(hasher: Arc<dyn PasswordHasher>) -> App {
    let config = Config {
        service_secret: Some(SERVICE_SECRET.try_into().unwrap()),
    };
    start(Harness::new(Service::Users, COLLECTIONS).await, hasher, config).await
}

pub(crate) async fn start(harness: Harness, hasher: Arc<dyn PasswordHasher>, config: Config) -> App {
    let keys = Keys::open(&harness.engine()).await.unwrap();
    let verifier = Arc::new(Verifier::new(keys.key_source(), Arc::clone(harness.clock()) as _));
    let access = AccessEvents::new(Arc::clone(harness.clock()) as _, Arc::new(Ids::from_seed(3)));
    let ports = Ports {
        keys: keys.clone(),
        hasher,
        access: access.clone(),
    };
    let users = Users::start(harness.engine(), harness.bus(), &verifier, ports, config)
        .await
        .unwrap();
    let router = users.router();
    App {
        harness,
        users,
        keys,
        verifier,
        access,
        router,
    }
}

impl App {
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.request("GET", path, Some(token), &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.request("POST", path, None, &[], Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: Value) -> Answer {
        self.request("PUT", path, Some(token), &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.request("DELETE", path, Some(token), &[], None).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/api/login", json!({"email": email, "password": password}))
            .await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/api/token/refresh", json!({"refresh_token": token})).await
    }

    pub(crate) async fn signed_in(&self, email: &str) -> Person {
        let answer = self.log_in(email, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Person {
            id: answer.text("user_id").to_owned(),
            token: answer.text("token").to_owned(),
            refresh: answer.text("refresh_token").to_owned(),
        }
    }

    /// Signs somebody up and in.
    pub(crate) async fn customer(&self, email: &str) -> Person {
        let answer = self
            .post("/api/users", json!({"email": email, "password": PASSWORD}))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.signed_in(email).await
    }

    pub(crate) async fn admin(&self, email: &str) -> Person {
        let created = self
            .users
            .create_admin(email.try_into().unwrap(), PASSWORD.try_into().unwrap())
            .await
            .unwrap();
        assert!(matches!(created, AdminCreated::Created(_)), "{created:?}");
        self.signed_in(email).await
    }

    pub(crate) async fn service(&self) -> String {
        let answer = self
            .post(
                "/api/token/service",
                json!({"service": "notifications", "secret": SERVICE_SECRET}),
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text("token").to_owned()
    }

    pub(crate) async fn wait(&self, duration: SignedDuration) {
        self.harness.clock().sleep(duration.unsigned_abs()).await;
    }

    pub(crate) async fn journal(&self) -> Vec<Recorded> {
        let store = self.harness.engine().reader().store().clone();
        store.tail(Position::START, 10_000).await.unwrap().events
    }

    /// Everything in the store as text: each document with its id, each event with its envelope.
    pub(crate) async fn everything(&self) -> Vec<String> {
        let store = self.harness.engine().reader().store().clone();
        let mut everything = Vec::new();
        for collection in KERNEL_COLLECTIONS.iter().chain(COLLECTIONS) {
            let found = store.query(&Query::all(collection, 10_000)).await.unwrap();
            everything.extend(
                found
                    .iter()
                    .map(|it| format!("{}/{} {}", collection.name, it.id, it.stored.document)),
            );
        }
        let journal = self.journal().await;
        everything.extend(journal.iter().map(|event| serde_json::to_string(event).unwrap()));
        everything
    }

    /// Documents of a collection.
    pub(crate) async fn count(&self, collection: &str) -> usize {
        let prefix = format!("{collection}/");
        self.everything()
            .await
            .iter()
            .filter(|text| text.starts_with(&prefix))
            .count()
    }
}

impl Answer {
    /// A text of the body.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code, of a refusal.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status, self.text("code"))
    }
}

pub(crate) fn user_id(text: &str) -> UserId {
    text.parse().unwrap()
}
