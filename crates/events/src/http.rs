//! The event service's routes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use contracts::log::{ListEvents, PublishEvent, StreamEvents};
use contracts::{Page, Problem};
use jiff::{SignedDuration, Timestamp};
use kernel::auth::{Admin, Person, TOKEN_LIFETIME_SECONDS};
use kernel::event::Position;
use kernel::http::{Failure, Json, Query, Write, bearer_token, serve_with};

use crate::{Entry, Events, Published};

/// Where a client resumes (HTML, section 9.2.4).
const LAST_EVENT_ID: &str = "last-event-id";

impl Events {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/events", get(list).post(publish))
            .route("/api/events/stream", get(stream))
            .with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }

    /// When the caller's token ends. A caller whom the gateway found in the same process may come without it.
    async fn token_end(&self, headers: &HeaderMap) -> Result<Timestamp, Failure> {
        match bearer_token(headers)? {
            Some(token) => Ok(self.kit.verifier.expires_at(token).await?),
            None => Ok(self.engine.clock().now() + SignedDuration::from_secs(TOKEN_LIFETIME_SECONDS)),
        }
    }
}

async fn list(
    State(events): State<Events>,
    _: Admin,
    Query(query): Query<ListEvents>,
) -> Result<Json<Page<Arc<Entry>>>, Failure> {
    Ok(Json(events.log(&query).await?))
}

async fn publish(
    State(events): State<Events>,
    _: Admin,
    request: Write<PublishEvent>,
) -> Result<(StatusCode, Json<Published>), Failure> {
    let published = events.publish(request.body, request.context).await?;
    Ok((StatusCode::CREATED, Json(published)))
}

async fn stream(
    State(events): State<Events>,
    Person(user): Person,
    Query(query): Query<StreamEvents>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let from = last_event_id(&headers)?;
    let expires_at = events.token_end(&headers).await?;
    let live = events.stream(user, expires_at, query, from).await?;
    let mut response = Response::new(Body::from_stream(live.into_stream()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would gather a stream until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let position = id.to_str().ok().and_then(|id| id.parse().ok());
    let position =
        position.ok_or_else(|| Problem::invalid("Last-Event-ID", "must be the id of an event of this stream"))?;
    Ok(Some(Position(position)))
}
