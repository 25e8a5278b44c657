//! The replicas of a service that run elsewhere: one after the other is asked, and those that do not answer are left out.
//!
//! - **A request that never left is sent to another replica**, whatever it asks for: where no connection can be made, its body
//!   was not touched. One that only asks for something to be shown (GET, HEAD) is also repeated where an answer did not come,
//!   not within [`ANSWER_MAX`], or was 503, as long as there is another replica to ask.
//! - **Every second each replica is asked whether it is ready**, and who does not say so is not asked for anything else: one whose
//!   store is away, one that starts or ends, one that stands still.
//! - **A replica that leaves a request without an answer is left out at once**, until it is ready again, and at least for a pause
//!   that doubles, up to [`PAUSE_MAX`] (the circuit).
//! - **Replicas have one journal.** One that has another than those before it has a store of its own, and is not asked.
//! - **If all are left out, all are tried**: that may be a mistake, and there is nothing to lose.

mod lent;
mod replica;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use contracts::Service;
use futures::future::join_all;
use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kernel::clock::Clock;
use kernel::event::Epoch;
use serde::Deserialize;
use tokio::time::timeout;

use crate::Error;
use crate::pool::lent::{Lender, Lent};
use crate::pool::replica::Replica;
use crate::route::is_read;

pub use crate::pool::replica::BaseUrl;

/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a connection without requests is kept; less than the services keep theirs.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How often each replica is asked whether it is ready.
const LOOK: Duration = Duration::from_secs(1);
/// How long that answer is waited for.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// How much it may say.
const READINESS_BYTES_MAX: usize = 256 * 1024;
/// The longest time for which a replica is left out that says it is ready.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a replica may take to begin with an answer before another is asked for the same, if that does no harm.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Replicas that one request is sent to, at most.
const ATTEMPTS_MAX: usize = 3;
/// What is meant for the next hop only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The replicas of one service; cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    service: Service,
    replicas: Vec<Replica>,
    /// Whose turn it is.
    turn: AtomicUsize,
    client: Client<HttpConnector, Lent>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("service", &self.inner.service)
            .field("replicas", &self.inner.replicas)
            .finish_non_exhaustive()
    }
}

/// What `/readyz` says, as far as it matters here.
#[derive(Deserialize)]
struct Readiness {
    #[serde(default)]
    journals: BTreeMap<Service, Epoch>,
}

/// What is left where a replica gave no answer.
struct Unanswered {
    reason: String,
    /// The request, if it is still whole: the replica was not reached. If not, it may have done what it was asked for.
    whole: Option<Box<Request>>,
}

impl Pool {
    /// Begins to look after these replicas, at least one, for as long as there is the pool.
    #[must_use]
    pub fn new(service: Service, replicas: Vec<BaseUrl>, clock: Arc<dyn Clock>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let inner = Arc::new(Inner {
            service,
            replicas: replicas.into_iter().map(Replica::new).collect(),
            turn: AtomicUsize::new(0),
            client,
            clock,
        });
        let (watched, clock) = (Arc::downgrade(&inner), Arc::clone(&inner.clock));
        tokio::spawn(async move {
            while let Some(inner) = watched.upgrade() {
                join_all((0..inner.replicas.len()).map(|place| inner.look(place))).await;
                drop(inner);
                clock.sleep(LOOK).await;
            }
        });
        Self { inner }
    }

    /// Asks one of the replicas, and others if need be.
    ///
    /// # Errors
    /// If none of them answers.
    pub async fn call(&self, request: Request) -> Result<Response, Error> {
        self.inner.call(request).await
    }

    /// How many replicas are asked, and how many there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let now = self.inner.clock.monotonic();
        let replicas = &self.inner.replicas;
        (replicas.iter().filter(|it| it.is_in(now)).count(), replicas.len())
    }
}

impl Inner {
    async fn call(&self, mut request: Request) -> Result<Response, Error> {
        forget_hop(request.headers_mut());
        // Whoever passes the answer on compresses it for the client.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        request.headers_mut().remove(header::HOST);
        let is_repeatable = is_read(request.method()) && request.body().is_end_stream();
        let again = is_repeatable.then(|| copy(&request));
        let candidates = self.candidates();
        let mut reason = "there are no replicas".to_owned();
        for (place, replica) in candidates.iter().enumerate() {
            let next = candidates.get(place + 1);
            let may_ask_another = is_repeatable && next.is_some_and(|next| next.is_in(self.clock.monotonic()));
            let answered = tokio::select! {
                biased;
                answered = self.send(replica, request) => answered,
                () = self.clock.sleep(ANSWER_MAX), if may_ask_another => Err(Unanswered {
                    reason: format!("no answer within {ANSWER_MAX:?}"),
                    whole: None,
                }),
            };
            match answered {
                Ok(mut response) => {
                    replica.answered();
                    if may_ask_another
                        && response.status() == StatusCode::SERVICE_UNAVAILABLE
                        && let Some(again) = &again
                    {
                        request = copy(again);
                        continue;
                    }
                    forget_hop(response.headers_mut());
                    return Ok(response.map(Body::new));
                }
                Err(unanswered) => {
                    replica.failed(self.clock.monotonic());
                    let (service, replica) = (self.service, &replica.base);
                    tracing::debug!(%service, %replica, reason = unanswered.reason, "no answer");
                    reason = unanswered.reason;
                    let again = || again.as_ref().map(|again| Box::new(copy(again)));
                    match unanswered.whole.or_else(again) {
                        Some(whole) => request = *whole,
                        None => break,
                    }
                }
            }
        }
        Err(Error::Unanswered {
            service: self.service,
            reason,
        })
    }

    /// In turn, those that are in first; a few at most.
    fn candidates(&self) -> Vec<&Replica> {
        let now = self.clock.monotonic();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.replicas.len().max(1);
        let (before, after) = self.replicas.split_at(turn);
        let in_turn = after.iter().chain(before);
        let (mut candidates, left_out): (Vec<&Replica>, Vec<&Replica>) =
            in_turn.partition(|replica| replica.is_in(now));
        candidates.extend(left_out);
        candidates.truncate(ATTEMPTS_MAX);
        candidates
    }

    async fn send(
        &self,
        replica: &Replica,
        request: Request,
    ) -> Result<http::Response<hyper::body::Incoming>, Unanswered> {
        let (mut parts, body) = request.into_parts();
        let here = parts.clone();
        parts.uri = replica.base.with(&parts.uri);
        let (lender, lent) = Lender::of(body);
        match self.client.request(http::Request::from_parts(parts, lent)).await {
            Ok(response) => Ok(response),
            Err(error) => {
                let body = if error.is_connect() { lender.back() } else { None };
                let whole = body.map(|body| Box::new(Request::from_parts(here, body)));
                let reason = in_full(&error);
                Err(Unanswered { reason, whole })
            }
        }
    }

    /// Finds out whether a replica is ready.
    async fn look(&self, place: usize) {
        let replica = &self.replicas[place];
        let found = timeout(LOOK_MAX, self.readiness(replica)).await;
        let (is_ready, journal) = found.ok().flatten().unwrap_or((false, None));
        let first = self.replicas[..place].iter().find_map(Replica::journal);
        let is_apart = first.is_some() && journal.is_some() && first != journal;
        let was_ready = replica.looked(is_ready && !is_apart, journal);
        if is_apart && was_ready {
            let (service, replica) = (self.service, &replica.base);
            tracing::error!(
                %service, %replica,
                "it has another journal than the replicas before it, and is not asked: lead all of them to one database server"
            );
        }
    }

    /// Whether it says that it is ready, and the life of its journal.
    async fn readiness(&self, replica: &Replica) -> Option<(bool, Option<Epoch>)> {
        let ready = Uri::from_static("/readyz");
        let asked = http::Request::get(replica.base.with(&ready)).body(Lender::of(Body::empty()).1);
        let answer = self
            .client
            .request(asked.expect("a base URL and a path are a URL"))
            .await
            .ok()?;
        let is_ready = answer.status().is_success();
        let body = Limited::new(answer.into_body(), READINESS_BYTES_MAX)
            .collect()
            .await
            .ok()?;
        let said: Option<Readiness> = serde_json::from_slice(&body.to_bytes()).ok();
        let journal = said.and_then(|said| said.journals.get(&self.service).copied());
        Some((is_ready, journal))
    }
}

/// A request without a body once more.
fn copy(request: &Request) -> Request {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn forget_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// With all of its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
