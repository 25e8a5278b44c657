//! A client of the HTTP API, as the commands that act on a running system use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How often a request is repeated that the server asks to come back with.
const REPEATS_MAX: u32 = 60;
/// The longest pause that a `Retry-After` may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Said once, or a command would just seem to stand still.
const TOO_OFTEN: &str = "note: the server limits how often it is asked, so this takes longer; \
    start it with TRADEWIND_RATE_LIMIT_ANONYMOUS=off and TRADEWIND_RATE_LIMIT_USER=off for as long as this runs";
/// What is shown of an answer that is no problem, and so not ours.
const REASON_CHARS_MAX: usize = 200;

/// A session with a server, or none; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    /// Whether it was said that the server is asked too often.
    slowed: Arc<AtomicBool>,
}

/// What the server refused.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} was answered with {} {}", status.as_u16(), self.reason())]
pub struct Refused {
    /// The request's method.
    pub method: Method,
    /// The request's path.
    pub path: String,
    /// The status.
    pub status: StatusCode,
    /// The problem, as JSON.
    pub problem: Value,
}

impl Refused {
    /// The problem's code.
    #[must_use]
    pub fn code(&self) -> &str {
        self.problem["code"].as_str().unwrap_or_default()
    }

    /// The problem, for a person.
    fn reason(&self) -> String {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let fields = self.problem["errors"].as_array().into_iter().flatten();
        let fields = fields.map(|error| format!(" {} {}.", text(error, "field"), text(error, "message")));
        match &self.problem {
            Value::Object(_) => format!(
                "{}: {}{}",
                self.code(),
                text(&self.problem, "detail"),
                fields.collect::<String>()
            ),
            Value::String(answer) => answer.chars().take(REASON_CHARS_MAX).collect(),
            _ => "and no reason".to_owned(),
        }
    }
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:3000`.
    pub fn new(base: &str) -> Result<Self> {
        if !base.starts_with("http://") && !base.starts_with("https://") {
            bail!("{base:?} is no address of a server; it begins with http:// or https://");
        }
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token: None,
            slowed: Arc::default(),
        })
    }

    /// The same client, speaking for whoever the token belongs to.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// Signs in.
    pub async fn signed_in(&self, email: &str, password: &str) -> Result<Self> {
        let tokens = self.tokens(email, password).await?;
        Ok(self.with_token(tokens.token.as_str()))
    }

    /// The tokens of who signs in.
    pub async fn tokens(&self, email: &str, password: &str) -> Result<contracts::user::Tokens> {
        let credentials = serde_json::json!({"email": email, "password": password});
        self.post("/api/login", &credentials, None).await
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, path, None::<&()>, None).await
    }

    /// Asks for something to be done, once per key however often it is repeated.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, key: Option<&str>) -> Result<T> {
        self.send(Method::POST, path, Some(body), key).await
    }

    /// Changes something.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::PATCH, path, Some(body), None).await
    }

    /// Deletes something.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let response = self.answered(Method::DELETE, path, None::<&()>, None).await?;
        self.accepted(Method::DELETE, path, response).await.map(|_| ())
    }

    /// Opens a stream.
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<Response> {
        let http = reqwest::Client::builder().build()?;
        let mut request = http.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("no answer from {}", self.base))?;
        self.accepted(Method::GET, path, response).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        key: Option<&str>,
    ) -> Result<T> {
        let response = self.answered(method.clone(), path, body, key).await?;
        let response = self.accepted(method.clone(), path, response).await?;
        let text = response.text().await?;
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).with_context(|| format!("the answer to {method} {path} is not as expected"))
    }

    /// The answer; a server that says when to come back is obeyed.
    async fn answered(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        key: Option<&str>,
    ) -> Result<Response> {
        for _ in 0..REPEATS_MAX {
            let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let response = request
                .send()
                .await
                .with_context(|| format!("no answer from {}", self.base))?;
            let Some(pause) = retry_after(&response) else {
                return Ok(response);
            };
            if response.status() == StatusCode::TOO_MANY_REQUESTS && !self.slowed.swap(true, Ordering::Relaxed) {
                eprintln!("{TOO_OFTEN}");
            }
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        }
        bail!("{method} {path} was put off {REPEATS_MAX} times")
    }

    async fn accepted(&self, method: Method, path: &str, response: Response) -> Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let problem = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Err(Refused {
            method,
            path: path.to_owned(),
            status,
            problem,
        }
        .into())
    }
}

/// How long the server asks to wait before the same request is worth repeating.
fn retry_after(response: &Response) -> Option<Duration> {
    let status = response.status();
    let may_repeat = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::SERVICE_UNAVAILABLE
        || status == StatusCode::CONFLICT;
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    may_repeat.then_some(Duration::from_secs(seconds))
}

/// The problem's code, if the server refused.
pub fn code_of(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Refused>().map(Refused::code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(problem: Value) -> String {
        let refused = Refused {
            method: Method::GET,
            path: "/api/orders".to_owned(),
            status: StatusCode::UNPROCESSABLE_ENTITY,
            problem,
        };
        refused.to_string()
    }

    #[test]
    fn a_person_reads_why_it_was_refused_and_no_json() {
        let problem = contracts::Problem::new(contracts::Code::Invalid).error("lines", "must have 1 to 1000 entries");
        let problem = serde_json::to_value(&problem).expect("a problem is JSON");
        insta::assert_snapshot!(said(problem), @"GET /api/orders was answered with 422 invalid: Correct the fields named in `errors`. lines must have 1 to 1000 entries.");
        insta::assert_snapshot!(said(json!("<html>502</html>")), @"GET /api/orders was answered with 422 <html>502</html>");
        insta::assert_snapshot!(said(json!(null)), @"GET /api/orders was answered with 422 and no reason");
    }
}
