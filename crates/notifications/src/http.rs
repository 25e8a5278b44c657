//! The notifications' routes.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use contracts::notification::{ListNotifications, Notification, Notify, Queued};
use contracts::{NotificationId, Page};
use kernel::auth::{Admin, AdminOrService, Person};
use kernel::http::{Command, Failure, Json, Paging, Path, Query, Write, serve_with};

use crate::Notifications;

impl Notifications {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/notify", post(notify))
            .route("/api/notifications", get(list))
            .route("/api/notifications/{id}/retry", post(retry))
            .with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }
}

async fn notify(
    State(notifications): State<Notifications>,
    _: AdminOrService,
    request: Write<Notify>,
) -> Result<(StatusCode, Json<Queued>), Failure> {
    let queued = notifications.notify(request.body, request.context).await?;
    Ok((StatusCode::ACCEPTED, Json(queued)))
}

async fn list(
    State(notifications): State<Notifications>,
    Person(viewer): Person,
    Query(filter): Query<ListNotifications>,
) -> Result<Json<Page<Notification>>, Failure> {
    let paging = Paging::new(filter.limit, filter.cursor.as_ref())?;
    Ok(Json(notifications.notifications(viewer, &filter, &paging).await?))
}

async fn retry(
    State(notifications): State<Notifications>,
    _: Admin,
    Path(id): Path<NotificationId>,
    command: Command,
) -> Result<(StatusCode, Json<Queued>), Failure> {
    let queued = notifications.retry(id, command.context).await?;
    Ok((StatusCode::ACCEPTED, Json(queued)))
}
