//! The routes by which an admin sees, retries and discards a service's dead letters. The gateway merges the lists.

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post};
use contracts::log::{self, ListDeadLetters};
use contracts::{DeadLetterId, Page};
use http::StatusCode;

use super::{Command, Failure, Json, Paging, Path, Query};
use crate::auth::Admin;
use crate::reaction::{Consumers, DeadLetter, DeadLetters};

/// `/api/dead-letters` of one service.
pub(super) fn routes(consumers: &Consumers) -> Router {
    Router::new()
        .route("/api/dead-letters", get(list))
        .route("/api/dead-letters/{id}", delete(discard))
        .route("/api/dead-letters/{id}/retry", post(retry))
        .with_state(consumers.dead_letters())
}

async fn list(
    State(letters): State<DeadLetters>,
    _: Admin,
    Query(query): Query<ListDeadLetters>,
) -> Result<Json<Page<log::DeadLetter>>, Failure> {
    if query.service.is_some_and(|service| service != letters.service()) {
        return Ok(Json(Page::default()));
    }
    let paging = Paging::new(query.limit, query.cursor.as_ref())?;
    Ok(Json(letters.list(&paging).await?))
}

async fn retry(
    State(letters): State<DeadLetters>,
    _: Admin,
    Path(id): Path<DeadLetterId>,
    command: Command,
) -> Result<StatusCode, Failure> {
    letters.retry(id, command.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn discard(
    State(letters): State<DeadLetters>,
    _: Admin,
    Path(id): Path<DeadLetterId>,
    command: Command,
) -> Result<StatusCode, Failure> {
    letters.discard(id, command.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl DeadLetter {
    /// As an admin sees it.
    pub(crate) fn shown(&self, first: DeadLetterId) -> log::DeadLetter {
        log::DeadLetter {
            id: self.id,
            service: self.id.service(),
            consumer: self.consumer.to_string(),
            source: self.source,
            event_id: self.event.id,
            event_type: self.event.event_type.to_string(),
            subject: self.event.stream.to_string(),
            position: self.event.position.0,
            cause: self.reason.clone(),
            behind: (first != self.id).then_some(first),
            attempts: self.retries + 1,
            parked_at: self.parked_at,
        }
    }
}
