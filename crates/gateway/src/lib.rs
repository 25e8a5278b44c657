//! The front door: the one way in to all services.
//!
//! ```text
//!              request                                                    answer
//!                 │                                                          ▲
//!   begin         │ its id, its trace, its row in the routing table          │ id, security headers, metrics
//!   CORS          │ a preflight ends here                                    │ compression, CORS headers
//!   admission     │ counted by address, token verified, counted by user ──►  │ 401, 429, RateLimit headers
//!   inlet         │ at most 1 MiB of body, streamed                     ──►  │ 413, 408
//!                 ▼                                                          │
//!   upstream      the service: a call of its router, or a request       ──►  │ 503 if it does not answer in time
//! ```
//!
//! Where to look:
//!
//! | module | says |
//! |---|---|
//! | [`config`] | what an operator may decide, with defaults |
//! | `route` | which path leads where: one table. A path that is not in it does not exist |
//! | `front` | the whole way of a request, top to bottom |
//! | `admission` | who is let in, and what a request counts as |
//! | `client` | whose address a request has, and what proxies are believed |
//! | [`limit`] | the port to what counts requests, and the counter in memory |
//! | `inlet` | the body on its way in |
//! | [`upstream`](Upstream) | the seam to the services |
//! | [`pool`](Pool) | replicas of a service that run elsewhere |
//! | `dead_letters`, `journals` | the lists that are put together here |
//! | [`health`], `page` | `/`, `/healthz`, `/readyz`, `/metrics` |
//! | `cors`, `encoding`, `answer` | what is done to answers |
//!
//! What holds here:
//!
//! - **Nothing that a client says of itself is believed**, except its token, which is verified, and its request id and
//!   trace, which only name things. The [`Caller`](kernel::auth::Caller) that services believe travels in the request's
//!   extensions, which no client can write.
//! - **No body is held**, in either direction. Only the pages of dead letters that are merged are read.
//! - **The gateway keeps nothing** but counters, and they are bounded. It may be killed at any time, and there may be any
//!   number of it.
//! - **What is not asked for costs nothing**: without `Accept-Encoding`, CORS configuration or limits, none of their code
//!   runs.
#![warn(missing_docs)]

mod admission;
mod answer;
mod client;
pub mod config;
mod cors;
mod dead_letters;
mod encoding;
mod error;
mod front;
pub mod health;
mod inlet;
mod journals;
pub mod limit;
mod page;
mod pool;
mod route;
mod upstream;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use contracts::Service;
use futures::FutureExt;
use futures::future::BoxFuture;
use kernel::auth::Verifier;
use kernel::clock::{Clock, Ids};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

pub use config::Config;
pub use error::Error;
pub use health::Health;
pub use limit::RateLimiter;
pub use pool::{BaseUrl, Pool};
pub use upstream::Upstream;

use front::Front;
use limit::{Announced, LocalLimiter};
use page::Pages;

/// The gateway, before it opens.
///
/// ```ignore
/// let door = Gateway::new(config, upstreams, verifier, clock, ids).with_health(process).with_metrics(handle).open();
/// ```
#[derive(Debug)]
pub struct Gateway {
    front: Front,
}

impl Gateway {
    /// A gateway to these services, counting in the memory of this process. A service without an upstream is answered
    /// for with 503.
    #[must_use]
    pub fn new(
        config: Config,
        upstreams: BTreeMap<Service, Upstream>,
        verifier: Arc<Verifier>,
        clock: Arc<dyn Clock>,
        ids: Arc<Ids>,
    ) -> Self {
        let front = Front {
            limiter: Arc::new(LocalLimiter::new(&config.rate_limit, &clock)),
            announced: Announced::new(&config.rate_limit),
            cors: cors::layer(&config.cors_origins),
            pages: Pages::new(),
            closing: watch::Sender::new(false),
            series: Default::default(),
            config,
            upstreams,
            verifier,
            clock,
            ids,
        };
        Self { front }
    }

    /// Counts elsewhere: in what several gateways share.
    #[must_use]
    pub fn with_limiter(mut self, limiter: Arc<dyn RateLimiter>) -> Self {
        self.front.limiter = limiter;
        self
    }

    /// Has `/readyz` report what this process knows of itself. Without, it is always ready.
    #[must_use]
    pub fn with_health(mut self, health: Arc<dyn Health>) -> Self {
        self.front.pages.health = Some(health);
        self
    }

    /// Has `/metrics` show what the recorder behind this handle has, which must be installed before the first request.
    #[must_use]
    pub fn with_metrics(mut self, metrics: PrometheusHandle) -> Self {
        self.front.pages.metrics = Some(metrics);
        self
    }

    /// The service that answers everything.
    #[must_use]
    pub fn open(self) -> FrontDoor {
        FrontDoor {
            front: Arc::new(self.front),
        }
    }
}

/// The gateway as a tower service, for a server to call; cheap to clone.
///
/// The server puts [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo) among a request's extensions, limits its
/// headers, and does nothing else.
#[derive(Clone, Debug)]
pub struct FrontDoor {
    front: Arc<Front>,
}

impl FrontDoor {
    /// Ends all live streams, wherever they come from, and those that are still opened. A server that lets its requests finish
    /// calls it first: a stream never ends by itself.
    pub fn close_streams(&self) {
        self.front.closing.send_replace(true);
    }
}

impl<B> tower::Service<http::Request<B>> for FrontDoor
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(Arc::clone(&self.front).respond(request.map(Body::new)).map(Ok))
    }
}
