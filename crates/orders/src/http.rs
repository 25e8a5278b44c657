//! The orders' routes.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use contracts::order::{AsOf, CancelOrder, ListOrderEvents, ListOrders, Order, PlaceOrder, UpdateOrder};
use contracts::{CloudEvent, OrderId, Page};
use kernel::auth::Person;
use kernel::http::{
    Command, Created, Failure, IfMatch, Json, Origin, Paging, Path, Query, Versioned, Write, serve_with,
};

use crate::Orders;

impl Orders {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/orders", get(list).post(place))
            .route("/api/orders/{id}", get(read).patch(update))
            .route("/api/orders/{id}/events", get(events))
            .route("/api/orders/{id}/cancel", post(cancel))
            .with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }
}

async fn place(
    State(orders): State<Orders>,
    Person(by): Person,
    request: Write<PlaceOrder>,
) -> Result<Created<Order>, Failure> {
    let order = orders.place(request.body, by, request.context).await?;
    Ok(Created {
        location: format!("/api/orders/{}", order.id),
        version: order.version,
        body: order,
    })
}

async fn list(
    State(orders): State<Orders>,
    Person(by): Person,
    Query(filter): Query<ListOrders>,
) -> Result<Json<Page<Order>>, Failure> {
    let paging = Paging::new(filter.limit, filter.cursor.as_ref())?;
    Ok(Json(orders.orders(&filter, &paging, by).await?))
}

async fn read(
    State(orders): State<Orders>,
    Person(by): Person,
    Path(id): Path<OrderId>,
    Query(as_of): Query<AsOf>,
    Origin(context): Origin,
) -> Result<Versioned<Order>, Failure> {
    let order = orders.order(id, &as_of, by, &context).await?;
    Ok(Versioned {
        version: order.version,
        body: order,
    })
}

async fn events(
    State(orders): State<Orders>,
    Person(by): Person,
    Path(id): Path<OrderId>,
    Query(filter): Query<ListOrderEvents>,
) -> Result<Json<Page<CloudEvent>>, Failure> {
    Ok(Json(orders.events(id, &filter, by).await?))
}

async fn cancel(
    State(orders): State<Orders>,
    Person(by): Person,
    Path(id): Path<OrderId>,
    command: Command<CancelOrder>,
) -> Result<Versioned<Order>, Failure> {
    let reason = command.body.and_then(|body| body.reason);
    let order = orders.cancel(id, reason, by, command.context).await?;
    Ok(Versioned {
        version: order.version,
        body: order,
    })
}

async fn update(
    State(orders): State<Orders>,
    Person(by): Person,
    Path(id): Path<OrderId>,
    if_match: IfMatch,
    request: Write<UpdateOrder>,
) -> Result<Versioned<Order>, Failure> {
    let order = orders.update(id, request.body, if_match, by, request.context).await?;
    Ok(Versioned {
        version: order.version,
        body: order,
    })
}
