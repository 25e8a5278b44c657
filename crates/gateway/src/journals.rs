//! How far the events of each service have come: each tells of itself, and operators see one list.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use contracts::{Code, Service};
use futures::future::join_all;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use kernel::auth::Caller;
use kernel::http::{Failure, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::Error;
use crate::dead_letters::in_the_same_name;
use crate::upstream::Upstream;

pub(crate) const PATH: &str = "/api/journals";
/// How long each service is waited for: one that stands still keeps nothing back of the others.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Eight lanes of a few consumers.
const JOURNAL_BYTES_MAX: usize = 256 * 1024;

/// `GET /api/journals`.
#[derive(Serialize)]
struct Journals {
    /// As the services say it: what a newer one says passes through.
    data: Vec<Box<RawValue>>,
    /// Those that give no answer now.
    missing: Vec<Service>,
}

/// Answers by the service that the path names, or by all that answer.
pub(crate) async fn answer(
    upstreams: &BTreeMap<Service, Upstream>,
    caller: Option<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let path = request.uri().path();
    let Some(rest) = path.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('/')) else {
        return all(upstreams, caller, &request.into_parts().0).await;
    };
    let service: Option<Service> = rest.split('/').next().and_then(|word| word.parse().ok());
    let service = service.ok_or(Code::NotFound)?;
    let upstream = upstreams.get(&service).ok_or(Error::NoUpstream(service))?;
    Ok(upstream.call(request).await?)
}

async fn all(
    upstreams: &BTreeMap<Service, Upstream>,
    caller: Option<Caller>,
    parts: &http::request::Parts,
) -> Result<Response, Failure> {
    if !caller.ok_or(Code::Unauthorized)?.is_admin() {
        return Err(Code::Forbidden.into());
    }
    let asked = upstreams.iter().map(async |(&service, upstream)| {
        let request = in_the_same_name(parts, &format!("{PATH}/{service}"));
        let journal = timeout(ANSWER_MAX, read(upstream, request)).await;
        (service, journal.ok().flatten())
    });
    let (mut data, mut missing) = (Vec::new(), Vec::new());
    for (service, journal) in join_all(asked).await {
        match journal {
            Some(journal) => data.push(journal),
            None => missing.push(service),
        }
    }
    Ok(Json(Journals { data, missing }).into_response())
}

async fn read(upstream: &Upstream, request: Request<Body>) -> Option<Box<RawValue>> {
    let response = upstream.call(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(response.into_body(), JOURNAL_BYTES_MAX)
        .collect()
        .await
        .ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}
