//! What services of this process ask of users where that runs elsewhere: the keys that verify tokens, and addresses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use contracts::user::{ServiceSignIn, ServiceToken, User};
use contracts::{Secret, Service, UserId};
use gateway::Pool;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kernel::auth::{FetchError, Jwks, KeySource};
use kernel::clock::Clock;
use notifications::{Recipient, Recipients, Unavailable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// A token is used until so long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Unanswered(#[from] gateway::Error),
    #[error("it answered with {0}")]
    Status(StatusCode),
    #[error("its answer is not understood: {0}")]
    Garbled(String),
}

/// The replicas of users.
#[derive(Clone, Debug)]
pub struct RemoteUsers {
    pool: Pool,
}

impl RemoteUsers {
    /// Behind this pool.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failed> {
        let answer = self.pool.call(request).await?;
        if !answer.status().is_success() {
            return Err(Failed::Status(answer.status()));
        }
        let garbled = |error: &dyn fmt::Display| Failed::Garbled(error.to_string());
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| garbled(&error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| garbled(&error))
    }
}

fn get(path: &str) -> Request {
    let request = Request::get(path).body(Body::empty());
    request.expect("a path of ours is a URI")
}

fn post(path: &str, body: &impl Serialize) -> Request {
    let body = serde_json::to_vec(body).expect("text is JSON");
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into());
    request.expect("a path of ours is a URI")
}

#[async_trait]
impl KeySource for RemoteUsers {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        self.ask(get("/.well-known/jwks.json")).await.map_err(FetchError::new)
    }
}

/// Users as the one who knows addresses. Asked with a token of notifications' own.
#[derive(Debug)]
pub struct RemoteRecipients {
    users: RemoteUsers,
    secret: Secret,
    clock: Arc<dyn Clock>,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    bearer: HeaderValue,
    /// By this process's time.
    until: Duration,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl RemoteRecipients {
    /// Signs in with this secret.
    #[must_use]
    pub fn new(users: RemoteUsers, secret: Secret, clock: Arc<dyn Clock>) -> Self {
        Self {
            users,
            secret,
            clock,
            token: Mutex::default(),
        }
    }

    async fn token(&self) -> Result<HeaderValue, Failed> {
        let mut token = self.token.lock().await;
        let now = self.clock.monotonic();
        if let Some(token) = token.as_ref().filter(|token| now < token.until) {
            return Ok(token.bearer.clone());
        }
        let sign_in = ServiceSignIn {
            service: Service::Notifications,
            secret: self.secret.clone(),
        };
        let given: ServiceToken = self.users.ask(post("/api/token/service", &sign_in)).await?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", given.token.as_str()));
        let mut bearer = bearer.map_err(|error| Failed::Garbled(error.to_string()))?;
        bearer.set_sensitive(true);
        let until = now + Duration::from_secs(given.expires_in).saturating_sub(TOKEN_MARGIN);
        *token = Some(Token {
            bearer: bearer.clone(),
            until,
        });
        Ok(bearer)
    }

    async fn user(&self, id: UserId) -> Result<User, Failed> {
        let mut request = get(&format!("/api/users/{id}"));
        request.headers_mut().insert(header::AUTHORIZATION, self.token().await?);
        let answer = self.users.ask(request).await;
        if matches!(answer, Err(Failed::Status(StatusCode::UNAUTHORIZED))) {
            // Its key may be gone: another token is asked for next time.
            *self.token.lock().await = None;
        }
        answer
    }
}

#[async_trait]
impl Recipients for RemoteRecipients {
    async fn recipient(&self, user: UserId) -> Result<Option<Recipient>, Unavailable> {
        match self.user(user).await {
            Ok(user) => Ok(Some(Recipient {
                email: user.email,
                name: user.name,
            })),
            Err(Failed::Status(StatusCode::NOT_FOUND)) => Ok(None),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }
}
