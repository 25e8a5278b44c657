//! Dead letters: each service keeps its own, and operators see one list.
//!
//! The list goes service by service, in the order of [`Service::ALL`], oldest letters first within each. A cursor says
//! which service comes next, and where in its own list: `orders`, or `orders.<the service's own cursor>`.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use contracts::log::ListDeadLetters;
use contracts::{Code, Cursor, DeadLetterId, Page, Problem, Service};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, StatusCode};
use http_body_util::{BodyExt, Limited};
use kernel::auth::Caller;
use kernel::http::{Failure, Json, Query, REQUEST_ID, TRACEPARENT};
use serde_json::value::RawValue;

use crate::Error;
use crate::route::is_read;
use crate::upstream::Upstream;

const PATH: &str = "/api/dead-letters";
/// The largest page of one service: 200 letters with long causes.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Answers what was asked of dead letters: by the service that an id or `?service=` names, else by all.
pub(crate) async fn answer(
    upstreams: &BTreeMap<Service, Upstream>,
    caller: Option<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let path = request.uri().path();
    if path == PATH && is_read(request.method()) {
        let (mut parts, _) = request.into_parts();
        if !caller.ok_or(Code::Unauthorized)?.is_admin() {
            return Err(Code::Forbidden.into());
        }
        let Query(query) = Query::<ListDeadLetters>::from_request_parts(&mut parts, &()).await?;
        return match query.service {
            Some(service) => ask(upstreams, service, Request::from_parts(parts, Body::empty())).await,
            None => merge(upstreams, &parts, &query).await,
        };
    }
    let id = path
        .strip_prefix(PATH)
        .and_then(|rest| rest.strip_prefix('/')?.split('/').next()?.parse().ok());
    // What names no service is refused by any of them, in the same words as its own would be.
    let any = || upstreams.keys().next().copied().ok_or(Code::NotFound);
    let service = id.map_or_else(any, |id: DeadLetterId| Ok(id.service()))?;
    ask(upstreams, service, request).await
}

async fn ask(upstreams: &BTreeMap<Service, Upstream>, service: Service, request: Request) -> Result<Response, Failure> {
    let upstream = upstreams.get(&service).ok_or(Error::NoUpstream(service))?;
    Ok(upstream.call(request).await?)
}

/// Asks one service after the other until the page is full. One that fails fails the list, rather than to be left out in
/// silence; the others can still be asked for by name.
async fn merge(
    upstreams: &BTreeMap<Service, Upstream>,
    parts: &Parts,
    query: &ListDeadLetters,
) -> Result<Response, Failure> {
    let (first, mut cursor) = query.cursor.as_ref().map_or(Ok((None, None)), place)?;
    let mut services = upstreams
        .keys()
        .copied()
        .filter(|service| first.is_none_or(|first| *service >= first))
        .peekable();
    if first.is_some() && first != services.peek().copied() {
        return Err(foreign_cursor().into());
    }
    let mut data = Vec::new();
    while let Some(service) = services.next() {
        let limit = query.limit.get() - data.len();
        let request = page_request(parts, service, limit, cursor.take().as_ref());
        let response = ask(upstreams, service, request).await?;
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let page = read(service, response).await?;
        data.extend(page.data);
        let next = match (page.next_cursor, services.peek()) {
            (Some(cursor), _) => Some(format!("{service}.{}", cursor.as_str())),
            (None, Some(next)) if data.len() >= query.limit.get() => Some(next.to_string()),
            (None, Some(_)) => continue,
            (None, None) => None,
        };
        let garbled = |error| Error::Garbled {
            service,
            reason: format!("its cursor is too long: {error}"),
        };
        let next_cursor = next.map(Cursor::try_from).transpose().map_err(garbled)?;
        return Ok(Json(Page { data, next_cursor }).into_response());
    }
    Ok(Json(Page {
        data,
        next_cursor: None,
    })
    .into_response())
}

/// The service that a cursor names, and its own cursor.
fn place(cursor: &Cursor) -> Result<(Option<Service>, Option<Cursor>), Problem> {
    let (service, rest) = cursor
        .as_str()
        .split_once('.')
        .map_or((cursor.as_str(), None), |(it, rest)| (it, Some(rest)));
    let service = service.parse().map_err(|_| foreign_cursor())?;
    let rest = rest
        .map(|rest| Cursor::try_from(rest.to_owned()))
        .transpose()
        .map_err(|_| foreign_cursor())?;
    Ok((Some(service), rest))
}

fn foreign_cursor() -> Problem {
    Problem::new(Code::InvalidQuery).error("cursor", "must be a next_cursor of this list")
}

/// Asks for a page of one service.
fn page_request(parts: &Parts, service: Service, limit: usize, cursor: Option<&Cursor>) -> Request {
    let cursor = cursor
        .map(|cursor| format!("&cursor={}", cursor.as_str()))
        .unwrap_or_default();
    in_the_same_name(parts, &format!("{PATH}?service={service}&limit={limit}{cursor}"))
}

/// Asks for this path in the same caller's name, within the same request.
pub(crate) fn in_the_same_name(parts: &Parts, path: &str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("words and a cursor are safe in a URI");
    for name in [AUTHORIZATION.as_str(), REQUEST_ID, TRACEPARENT] {
        if let Some(value) = parts.headers.get(name) {
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value.clone());
        }
    }
    *request.extensions_mut() = parts.extensions.clone();
    request
}

/// The letters stay as they are: what a newer service says of them passes through.
async fn read(service: Service, response: Response) -> Result<Page<Box<RawValue>>, Error> {
    let garbled = |reason: String| Error::Garbled { service, reason };
    let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
    let body = body.map_err(|error| garbled(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| garbled(error.to_string()))
}
