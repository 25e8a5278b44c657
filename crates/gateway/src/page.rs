//! What the gateway answers by itself: open to everybody, never counted, and so never costly.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use contracts::{Code, Service};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use kernel::clock::Clock;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::health::{Health, Report};
use crate::route::Page;
use crate::upstream::Upstream;

/// For how long a page that is costly to make is shown again. Anybody may ask for it as often as they like.
const SHOWN_AGAIN: Duration = Duration::from_secs(1);

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The gateway's own pages.
pub(crate) struct Pages {
    pub(crate) health: Option<Arc<dyn Health>>,
    pub(crate) metrics: Option<PrometheusHandle>,
    readiness: Recent<(StatusCode, Bytes)>,
    measured: Recent<Bytes>,
    errors: Bytes,
}

/// `GET /docs/errors`: every code with what to do, under the anchor that problems name.
fn errors() -> Bytes {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Errors of Tradewind</title>\
         <style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
         td,th{text-align:left;padding:.3em .8em .3em 0;vertical-align:top}:target{background:#ffd}</style>\
         <h1>Errors</h1><p>Every error is a problem as in RFC 9457. Programs look at its <code>code</code>.</p>\
         <table><tr><th>code<th>status<th>title<th>what to do",
    );
    for code in Code::ALL {
        let (word, status, title, what_to_do) = (code.as_str(), code.status(), code.title(), code.what_to_do());
        page += &format!(
            "<tr id=\"{word}\"><td><code>{word}</code><td>{status}<td>{}<td>{}",
            escaped(title),
            escaped(what_to_do)
        );
    }
    page += "</table></html>";
    page.into()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// `GET /`: what is where.
#[derive(Serialize)]
struct Index {
    name: &'static str,
    version: &'static str,
    api: [&'static str; 11],
    errors: &'static str,
    keys: &'static str,
    health: &'static str,
    readiness: &'static str,
    metrics: &'static str,
}

const INDEX: Index = Index {
    name: "tradewind",
    version: env!("CARGO_PKG_VERSION"),
    api: [
        "/api/users",
        "/api/login",
        "/api/products",
        "/api/inventory",
        "/api/orders",
        "/api/payments",
        "/api/notifications",
        "/api/events",
        "/api/notify",
        "/api/dead-letters",
        "/api/token",
    ],
    errors: "/docs/errors",
    keys: "/.well-known/jwks.json",
    health: "/healthz",
    readiness: "/readyz",
    metrics: "/metrics",
};

/// `GET /readyz`.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(flatten)]
    report: Report,
    upstreams: BTreeMap<Service, Cow<'static, str>>,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self {
            health: None,
            metrics: None,
            readiness: Recent::new(),
            measured: Recent::new(),
            errors: errors(),
        }
    }

    /// The page, unless there is none.
    pub(crate) async fn show(
        &self,
        page: Page,
        upstreams: &BTreeMap<Service, Upstream>,
        clock: &dyn Clock,
    ) -> Option<Response> {
        let (status, content_type, body) = match page {
            Page::Index => (StatusCode::OK, JSON, json(&INDEX)),
            Page::Errors => (StatusCode::OK, HTML, self.errors.clone()),
            Page::Health => (StatusCode::OK, JSON, Bytes::from_static(br#"{"status":"up"}"#)),
            Page::Readiness => {
                let (status, body) = self.readiness.get(clock, self.look(upstreams)).await;
                (status, JSON, body)
            }
            Page::Metrics => {
                let metrics = self.metrics.as_ref()?;
                let measure = async {
                    if let Some(health) = &self.health {
                        health.measure().await;
                    }
                    Bytes::from(metrics.render())
                };
                let body = self.measured.get(clock, measure).await;
                (StatusCode::OK, PROMETHEUS, body)
            }
        };
        Some(
            (
                status,
                [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")],
                body,
            )
                .into_response(),
        )
    }

    async fn look(&self, upstreams: &BTreeMap<Service, Upstream>) -> (StatusCode, Bytes) {
        let report = match &self.health {
            Some(health) => health.look().await,
            None => Report::default(),
        };
        let (status, word) = match report.is_ready() {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
        };
        let upstreams = upstreams
            .iter()
            .map(|(service, upstream)| (*service, upstream.state()))
            .collect();
        (
            status,
            json(&Readiness {
                status: word,
                report,
                upstreams,
            }),
        )
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("words and numbers serialise").into()
}

/// What is made at most once in [`SHOWN_AGAIN`], by one at a time, however many ask.
struct Recent<T>(Mutex<Option<(Duration, T)>>);

impl<T: Clone> Recent<T> {
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    async fn get(&self, clock: &dyn Clock, make: impl Future<Output = T>) -> T {
        let mut made = self.0.lock().await;
        if let Some((at, value)) = &*made
            && clock.monotonic().saturating_sub(*at) < SHOWN_AGAIN
        {
            return value.clone();
        }
        let value = make.await;
        *made = Some((clock.monotonic(), value.clone()));
        value
    }
}
