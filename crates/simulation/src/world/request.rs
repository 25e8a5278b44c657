//! What people ask the services for, and what they are answered.

use std::time::Duration;

use axum::body::Body;
use contracts::Service;
use http_body_util::BodyExt as _;
use kernel::clock::Clock as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fault::Fault;
use crate::world::World;

/// How long a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Where a path has its id, after the empty part before the first slash.
const ID_PLACE: usize = 3;

/// What a service answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
    /// The problem's code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// What a repetition is to be answered too: everything but which request a problem was the answer to.
    pub(crate) fn to_all(&self) -> (u16, String) {
        let mut problem = self.json.clone();
        match problem.as_object_mut().and_then(|problem| problem.remove("instance")) {
            Some(_) => (self.status, problem.to_string()),
            None => (self.status, self.text.clone()),
        }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) body: Option<Value>,
    /// Which service, where the path does not tell.
    pub(crate) to: Option<Service>,
}

impl Request {
    /// What is asked for: the route, and of two things on one route, which.
    pub(crate) fn action(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let parts = path.split('/').enumerate();
        let route: Vec<&str> = parts
            .map(|(place, part)| if place == ID_PLACE { "{id}" } else { part })
            .collect();
        let body = self.body.as_ref().unwrap_or(&Value::Null);
        let which = match (body["status"].as_str(), body["delta"].as_i64()) {
            (Some(status), _) => format!(" {status}"),
            (None, Some(delta)) if delta < 0 => " less".to_owned(),
            (None, Some(_)) => " more".to_owned(),
            (None, None) => String::new(),
        };
        format!("{} {}{which}", self.method, route.join("/"))
    }
}

impl World {
    /// Sends a request to the service of its path; `None` if no answer came.
    pub(crate) async fn send(&self, request: &Request) -> Option<Answer> {
        let running = self.running(request.to.unwrap_or_else(|| owner_of(&request.path)))?;
        let mut http = http::Request::builder().method(request.method).uri(&request.path);
        if let Some(token) = &request.token {
            http = http.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = &request.key {
            http = http.header("idempotency-key", key);
        }
        let body = match &request.body {
            Some(body) => {
                http = http.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let http = http.body(body).expect("the simulation's own requests are valid");
        let answered = async {
            let response = running.router.clone().oneshot(http).await.ok()?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.ok()?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(Answer {
                status: parts.status.as_u16(),
                json: serde_json::from_str(&text).unwrap_or_default(),
                text,
            })
        };
        let gone = self.0.faults.strikes(Fault::ClientGone);
        let patience = match gone {
            true => self.0.dice.up_to(Duration::from_millis(20)),
            false => CLIENT_TIMEOUT,
        };
        let answer = tokio::select! {
            biased;
            () = running.life.until_ended() => None,
            answer = answered => answer,
            () = self.0.clock.sleep(patience) => None,
        };
        self.note(|| {
            let said = answer.as_ref().map(|answer| (answer.status, answer.code().to_owned()));
            format!("{} {} {:?}: {said:?}", request.method, request.path, request.key)
        });
        answer
    }
}

fn owner_of(path: &str) -> Service {
    let of = |prefix: &str| path.starts_with(prefix);
    match path {
        _ if of("/api/products") => Service::Catalog,
        _ if of("/api/inventory") => Service::Inventory,
        _ if of("/api/orders") => Service::Orders,
        _ if of("/api/payments") => Service::Payments,
        _ if of("/api/notifications") => Service::Notifications,
        _ if of("/api/events") => Service::Events,
        _ => Service::Users,
    }
}
