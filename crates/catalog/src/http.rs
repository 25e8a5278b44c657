//! The catalogue's routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use contracts::product::{CreateProduct, ListProducts, UpdateProduct};
use contracts::{Page, ProductId, product};
use kernel::auth::Admin;
use kernel::http::{Command, Created, Failure, IfMatch, Json, Paging, Path, Query, Versioned, Write, serve_with};

use crate::{Catalog, Product};

impl Catalog {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/products", get(list).post(create))
            .route(
                "/api/products/{id}",
                get(read).put(update).patch(update).delete(archive),
            )
            .with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }
}

async fn create(
    State(catalog): State<Catalog>,
    _: Admin,
    request: Write<CreateProduct>,
) -> Result<Created<product::Product>, Failure> {
    let Product(product) = catalog.create(request.body, request.context).await?;
    Ok(Created {
        location: format!("/api/products/{}", product.id),
        version: product.version,
        body: product,
    })
}

async fn list(
    State(catalog): State<Catalog>,
    Query(filter): Query<ListProducts>,
) -> Result<Json<Page<Arc<Product>>>, Failure> {
    let paging = Paging::new(filter.limit, filter.cursor.as_ref())?;
    Ok(Json(catalog.products(&filter, &paging).await?))
}

async fn read(State(catalog): State<Catalog>, Path(id): Path<ProductId>) -> Result<Versioned<Arc<Product>>, Failure> {
    let product = catalog.product(id).await?;
    Ok(Versioned {
        version: product.0.version,
        body: product,
    })
}

async fn update(
    State(catalog): State<Catalog>,
    _: Admin,
    Path(id): Path<ProductId>,
    if_match: IfMatch,
    request: Write<UpdateProduct>,
) -> Result<Versioned<product::Product>, Failure> {
    let Product(product) = catalog.update(id, request.body, if_match, request.context).await?;
    Ok(Versioned {
        version: product.version,
        body: product,
    })
}

async fn archive(
    State(catalog): State<Catalog>,
    _: Admin,
    Path(id): Path<ProductId>,
    if_match: IfMatch,
    command: Command,
) -> Result<StatusCode, Failure> {
    catalog.archive(id, if_match, command.context).await?;
    Ok(StatusCode::NO_CONTENT)
}
