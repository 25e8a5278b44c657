//! What happens to a request from the door to a service and back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use contracts::{Code, Service};
use http::header::{ALLOW, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use kernel::auth::{Caller, Verifier};
use kernel::clock::{Clock, Ids};
use kernel::http::{REQUEST_ID, Series, TRACEPARENT};
use tokio::sync::watch;
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;

use crate::admission::Refused;
use crate::answer::{is_live, options, protect, until, without_body};
use crate::config::Config;
use crate::limit::{Announced, RateLimiter, Tally};
use crate::page::Pages;
use crate::route::{self, ROUTES, Route, Target, is_read};
use crate::upstream::Upstream;
use crate::{Error, client, cors, dead_letters, encoding, inlet, journals};

/// All that a request needs.
pub(crate) struct Front {
    pub(crate) config: Config,
    pub(crate) upstreams: BTreeMap<Service, Upstream>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    pub(crate) announced: Announced,
    pub(crate) cors: Option<CorsLayer>,
    pub(crate) pages: Pages,
    /// Whether live streams end.
    pub(crate) closing: watch::Sender<bool>,
    /// One for each row of the routing table, and one for what is not in it.
    pub(crate) series: [Series; ROUTES.len() + 1],
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            config,
            upstreams,
            limiter,
            pages,
            ..
        } = self;
        let mut front = f.debug_struct("Front");
        front
            .field("config", config)
            .field("upstreams", upstreams)
            .field("limiter", limiter)
            .field("pages", pages);
        front.finish_non_exhaustive()
    }
}

/// What is remembered of a request while it is answered.
struct Exchange {
    method: Method,
    uri: Uri,
    request_id: Arc<str>,
    /// Index in the routing table; its length for what is not in it.
    row: usize,
}

impl Exchange {
    fn route(&self) -> Option<&'static Route> {
        ROUTES.get(self.row)
    }

    fn path(&self) -> &'static str {
        self.route().map_or("none", |route| route.path)
    }

    /// The problem that the client sees; logged as that of a service is.
    fn refuse(&self, refused: Refused) -> Response {
        let (method, request_id) = (&self.method, &*self.request_id);
        let span = tracing::info_span!("request", service = "gateway", %method, route = self.path(), request_id);
        span.in_scope(|| refused.render(&self.uri, request_id))
    }
}

impl Front {
    /// Answers a request, whatever it is.
    pub(crate) async fn respond(self: Arc<Self>, mut request: Request) -> Response {
        let started = self.clock.monotonic();
        let (exchange, request_id) = self.begin(&mut request);
        let coding = if self.config.compression {
            encoding::wanted(request.headers())
        } else {
            None
        };
        let mut response = match &self.cors {
            Some(layer) if cors::concerns(&request) => {
                let answer = |request| async { Ok::<_, Infallible>(self.answer(&exchange, request).await) };
                let Ok(response) = Box::pin(layer.layer(tower::service_fn(answer)).oneshot(request)).await;
                response
            }
            _ => self.answer(&exchange, request).await,
        };
        response
            .headers_mut()
            .insert(HeaderName::from_static(REQUEST_ID), request_id);
        protect(response.headers_mut());
        if let Some(coding) = coding {
            response = Box::pin(encoding::compress(response, coding)).await;
        }
        let latency = self.clock.monotonic().saturating_sub(started);
        let series = &self.series[exchange.row];
        series.record("gateway", exchange.path(), &exchange.method, response.status(), latency);
        response
    }

    /// Names the request and its trace, for everything downstream.
    fn begin(&self, request: &mut Request) -> (Exchange, HeaderValue) {
        let request_id = kernel::http::request_id(request.headers(), &self.ids, || self.clock.now());
        let id = HeaderValue::from_str(&request_id).expect("a request id is printable ASCII");
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let row = route::find(uri.path()).unwrap_or(ROUTES.len());
        let headers = request.headers_mut();
        headers.insert(HeaderName::from_static(REQUEST_ID), id.clone());
        if kernel::http::traceparent(headers).is_none() {
            let trace = kernel::http::begin_trace(&self.ids);
            let trace = HeaderValue::from_str(&trace).expect("a traceparent is hex digits and hyphens");
            headers.insert(HeaderName::from_static(TRACEPARENT), trace);
            // It would belong to the trace that was none.
            headers.remove("tracestate");
        }
        (
            Exchange {
                method,
                uri,
                request_id,
                row,
            },
            id,
        )
    }

    async fn answer(&self, exchange: &Exchange, request: Request) -> Response {
        let mut tally = Tally::default();
        let answered = match exchange.route().map(|route| route.target) {
            Some(Target::Page(page)) if is_read(&exchange.method) => {
                let shown = self.pages.show(page, &self.upstreams, &*self.clock).await;
                shown.ok_or_else(|| Code::NotFound.into())
            }
            Some(target) if !is_read(&exchange.method) && target.is_shown_only(exchange.uri.path()) => {
                let mut refused = exchange.refuse(Code::MethodNotAllowed.into());
                refused
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
                Ok(refused)
            }
            Some(_) | None => self.forward(exchange, request, &mut tally).await,
        };
        let mut response = answered.unwrap_or_else(|refused| exchange.refuse(refused));
        match exchange.method {
            Method::HEAD => response = without_body(response),
            Method::OPTIONS if response.status() == StatusCode::METHOD_NOT_ALLOWED => response = options(&response),
            _ => {}
        }
        tally.announce(&self.announced, response.headers_mut());
        response
    }

    /// Lets a request through, if it may pass, to where its path leads.
    async fn forward(&self, exchange: &Exchange, mut request: Request, tally: &mut Tally) -> Result<Response, Refused> {
        let network = client::network(client::address(&request, &self.config.trusted_proxies));
        client::forget_hearsay(request.headers_mut());
        let counts = exchange.route().is_none_or(|route| route.counts_anonymous);
        let caller = self.admit(request.headers(), network, counts, tally).await?;
        let route = exchange.route().ok_or(Code::NotFound)?;
        let (mut request, inflow) = inlet::watch(request)?;
        match caller {
            Some(caller) => drop(request.extensions_mut().insert(caller)),
            None => drop(request.extensions_mut().remove::<Caller>()),
        }
        let limit = self.config.request_timeout();
        let response = tokio::select! {
            biased;
            response = self.ask(route, caller, request) => response?,
            () = self.clock.sleep(limit) => {
                let slow_body = inflow.is_awaited();
                return Err(if slow_body { Error::SlowBody(limit) } else { Error::Silent { path: route.path, limit } }.into());
            }
        };
        if inflow.is_too_large() && response.status() != StatusCode::PAYLOAD_TOO_LARGE {
            return Err(Error::BodyTooLarge.into());
        }
        Ok(match is_live(&response) {
            true => until(response, self.closing.subscribe()),
            false => response,
        })
    }

    async fn ask(&self, route: &Route, caller: Option<Caller>, request: Request) -> Result<Response, Refused> {
        match route.target {
            Target::Service(service) => {
                let upstream = self.upstreams.get(&service).ok_or(Error::NoUpstream(service))?;
                Ok(upstream.call(request).await?)
            }
            Target::DeadLetters => Ok(Box::pin(dead_letters::answer(&self.upstreams, caller, request)).await?),
            Target::Journals => Ok(Box::pin(journals::answer(&self.upstreams, caller, request)).await?),
            Target::Page(_) => Err(Code::NotFound.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_under_way_takes_little_memory() {
        fn size<F: Future>(_: impl FnOnce(Arc<Front>, Request) -> F) -> usize {
            size_of::<F>()
        }
        // What is rare (merging, compressing, CORS) is in boxes of its own. There may be ten thousands of these.
        assert!(size(|front, request| front.respond(request)) <= 3 * 1024);
    }
}
