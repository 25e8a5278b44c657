//! The routes of payments.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use contracts::payment::{CreatePayment, ListPayments, Payment, Refund, RefundPayment};
use contracts::{Page, PaymentId};
use kernel::auth::{Admin, Person};
use kernel::http::{Command, Created, Failure, Json, Paging, Path, Query, Versioned, Write, serve_with};

use crate::Payments;

impl Payments {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/payments", get(list).post(create))
            .route("/api/payments/{id}", get(read))
            .route("/api/payments/{id}/refunds", post(refund))
            .with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }
}

async fn create(
    State(payments): State<Payments>,
    Person(user): Person,
    request: Write<CreatePayment>,
) -> Result<Created<Payment>, Failure> {
    let payment = payments.create(request.body, user, request.context).await?;
    Ok(Created {
        location: format!("/api/payments/{}", payment.id),
        version: payment.version,
        body: payment,
    })
}

async fn list(
    State(payments): State<Payments>,
    Person(user): Person,
    Query(filter): Query<ListPayments>,
) -> Result<Json<Page<Payment>>, Failure> {
    let paging = Paging::new(filter.limit, filter.cursor.as_ref())?;
    Ok(Json(payments.payments(&filter, user, &paging).await?))
}

async fn read(
    State(payments): State<Payments>,
    Person(user): Person,
    Path(id): Path<PaymentId>,
) -> Result<Versioned<Payment>, Failure> {
    let payment = payments.payment(id, user).await?;
    Ok(Versioned {
        version: payment.version,
        body: payment,
    })
}

async fn refund(
    State(payments): State<Payments>,
    _: Admin,
    Path(id): Path<PaymentId>,
    command: Command<RefundPayment>,
) -> Result<(StatusCode, Json<Refund>), Failure> {
    let refund = payments
        .refund(id, command.body.unwrap_or_default(), command.context)
        .await?;
    Ok((StatusCode::CREATED, Json(refund)))
}
