//! The routes by which an admin sees how far a service's events have come, and has them sent again.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use contracts::log::{Journal, Republish};
use contracts::{Code, Problem, Service};
use http::StatusCode;

use super::{Failure, Json, Path, Write};
use crate::auth::Admin;
use crate::event::Position;
use crate::reaction::Consumers;
use crate::relay::{self, RepublishError};

/// `/api/journals/{service}` of one service.
pub(super) fn routes(consumers: &Consumers) -> Router {
    Router::new()
        .route("/api/journals/{service}", get(show))
        .route("/api/journals/{service}/republish", post(republish))
        .with_state(consumers.clone())
}

async fn show(
    State(consumers): State<Consumers>,
    _: Admin,
    Path(service): Path<Service>,
) -> Result<Json<Journal>, Failure> {
    check(&consumers, service)?;
    Ok(Json(consumers.journal().await?))
}

async fn republish(
    State(consumers): State<Consumers>,
    _: Admin,
    Path(service): Path<Service>,
    request: Write<Republish>,
) -> Result<StatusCode, Failure> {
    check(&consumers, service)?;
    relay::republish(consumers.engine(), Position(request.body.from)).await?;
    Ok(StatusCode::ACCEPTED)
}

fn check(consumers: &Consumers, service: Service) -> Result<(), Failure> {
    match consumers.engine().service() == service {
        true => Ok(()),
        false => Err(Code::NotFound.into()),
    }
}

impl From<RepublishError> for Problem {
    fn from(error: RepublishError) -> Self {
        match error {
            RepublishError::Writer(error) => error.into(),
            RepublishError::Unpublished | RepublishError::Beyond(_) => {
                Self::new(Code::Conflict).detail(error.to_string())
            }
        }
    }
}
