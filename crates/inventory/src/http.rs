//! The inventory's routes.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use contracts::stock::{AdjustStock, ListStock, SetStock, Stock};
use contracts::{Page, Sku};
use kernel::auth::Admin;
use kernel::http::{Created, Failure, IfMatch, Json, Paging, Path, Query, Versioned, Write, serve_with};

use crate::Inventory;

impl Inventory {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/inventory", get(list))
            .route("/api/inventory/{sku}", get(read).put(set))
            .route("/api/inventory/{sku}/adjustments", post(adjust))
            .with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }
}

async fn read(State(inventory): State<Inventory>, Path(sku): Path<Sku>) -> Result<Versioned<Stock>, Failure> {
    let stock = inventory.stock(&sku).await?;
    Ok(Versioned {
        version: stock.version(),
        body: stock.shown(),
    })
}

async fn list(
    State(inventory): State<Inventory>,
    _: Admin,
    Query(filter): Query<ListStock>,
) -> Result<Json<Page<Stock>>, Failure> {
    let paging = Paging::new(filter.limit, filter.cursor.as_ref())?;
    Ok(Json(inventory.stocks(&filter, &paging).await?))
}

async fn set(
    State(inventory): State<Inventory>,
    _: Admin,
    Path(sku): Path<Sku>,
    if_match: IfMatch,
    request: Write<SetStock>,
) -> Result<Versioned<Stock>, Failure> {
    let stock = inventory.set(sku, request.body, if_match, request.context).await?;
    Ok(Versioned {
        version: stock.version,
        body: stock,
    })
}

async fn adjust(
    State(inventory): State<Inventory>,
    _: Admin,
    Path(sku): Path<Sku>,
    request: Write<AdjustStock>,
) -> Result<Created<Stock>, Failure> {
    let stock = inventory.adjust(sku, request.body, request.context).await?;
    Ok(Created {
        location: path(&stock.sku),
        version: stock.version,
        body: stock,
    })
}

/// The path of a SKU's stock: whatever RFC 3986 does not leave unreserved is percent-encoded.
fn path(sku: &Sku) -> String {
    let mut path = String::from("/api/inventory/");
    for byte in sku.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("a String takes what is written");
        }
    }
    path
}
