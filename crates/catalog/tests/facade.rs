//! The catalogue's use cases on a memory store.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use catalog::{COLLECTIONS, Catalog, Error};
use contracts::product::{CreateProduct, ListProducts, ProductStatus, UpdateProduct};
use contracts::{Service, UserId};
use kernel::http::{IfMatch, Paging};
use serde_json::json;
use testkit::harness::Harness;

async fn catalog() -> (Harness, Catalog) {
    let harness = Harness::new(Service::Catalog, COLLECTIONS).await;
    let catalog = Catalog::start(harness.engine(), harness.bus(), harness.verifier())
        .await
        .unwrap();
    (harness, catalog)
}

fn lamp(sku: &str) -> CreateProduct {
    serde_json::from_value(json!({"sku": sku, "name": "Lamp", "price": {"amount": 1299, "currency": "EUR"}})).unwrap()
}

fn admin(harness: &Harness) -> kernel::context::Context {
    harness.context(UserId::from_uuid(harness.uuid()))
}

#[tokio::test(start_paused = true)]
async fn a_sku_is_taken_once() {
    let (harness, catalog) = catalog().await;
    catalog.create(lamp("A"), admin(&harness)).await.unwrap();
    catalog.create(lamp("a"), admin(&harness)).await.unwrap();
    let again = catalog.create(lamp("A"), admin(&harness)).await;
    assert!(matches!(again, Err(Error::SkuTaken)), "{again:?}");
    assert_eq!(harness.journal().await, ["product.created", "product.created"]);
}

#[tokio::test(start_paused = true)]
async fn an_archived_product_leaves_lists_and_stays_readable() {
    let (harness, catalog) = catalog().await;
    let id = catalog.create(lamp("A"), admin(&harness)).await.unwrap().0.id;
    catalog.archive(id, IfMatch::Absent, admin(&harness)).await.unwrap();
    catalog.archive(id, IfMatch::Absent, admin(&harness)).await.unwrap();
    let listed = catalog
        .products(&ListProducts::default(), &Paging::default())
        .await
        .unwrap();
    assert_eq!(listed.data, []);
    assert_eq!(catalog.product(id).await.unwrap().0.status, ProductStatus::Archived);
    assert_eq!(harness.journal().await, ["product.created", "product.archived"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_if_match_changes_nothing() {
    let (harness, catalog) = catalog().await;
    let id = catalog.create(lamp("A"), admin(&harness)).await.unwrap().0.id;
    let update: UpdateProduct = serde_json::from_value(json!({"name": "Torch"})).unwrap();
    let stale = catalog
        .update(id, update.clone(), IfMatch::Versions(vec![2]), admin(&harness))
        .await;
    assert!(matches!(stale, Err(Error::Stale)), "{stale:?}");
    let fresh = catalog
        .update(id, update, IfMatch::Versions(vec![1]), admin(&harness))
        .await
        .unwrap();
    assert_eq!((fresh.0.name.as_str(), fresh.0.version), ("Torch", 2));
}
