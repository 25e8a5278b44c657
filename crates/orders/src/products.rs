//! The replica of the catalogue: what can be ordered, and for how much.

use contracts::product::ProductStatus;
use contracts::{Price, ProductId, ProductName, PublicEvent, Service, Sku};
use kernel::bus::Message;
use kernel::document::{Collection, Document, Kind};
use kernel::reaction::{Failed, Reaction};
use kernel::unit::Unit;
use serde::{Deserialize, Serialize};

/// The consumer that feeds the replica. Permanent: its checkpoints are kept under this name.
const CONSUMER: &str = "products";

/// A product as far as its price goes, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) sku: Sku,
    pub(crate) name: ProductName,
    pub(crate) price: Price,
    pub(crate) status: ProductStatus,
}

impl Document for Product {
    const COLLECTION: &'static Collection = &Collection {
        name: "products",
        kind: Kind::Replica { consumer: CONSUMER },
        columns: &[],
        indexes: &[],
    };
}

/// Which product has a SKU, by the SKU. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SkuOwner {
    pub(crate) product_id: ProductId,
}

impl Document for SkuOwner {
    const COLLECTION: &'static Collection = &Collection {
        name: "sku_owners",
        kind: Kind::Replica { consumer: CONSUMER },
        columns: &[],
        indexes: &[],
    };
}

/// Follows the catalogue.
#[derive(Debug)]
pub(crate) struct Products;

impl Reaction for Products {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Catalog]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&["product.created", "product.updated", "product.archived"])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        match message.public()? {
            PublicEvent::ProductCreated(created) => {
                let id = created.product_id;
                let owner = SkuOwner { product_id: id };
                unit.put(&created.sku, owner);
                let (sku, name, price) = (created.sku, created.name, created.price);
                unit.put(
                    id,
                    Product {
                        sku,
                        name,
                        price,
                        status: ProductStatus::Active,
                    },
                );
            }
            PublicEvent::ProductUpdated(updated) => {
                let (sku, name, price) = (updated.sku, updated.name, updated.price);
                unit.put(
                    updated.product_id,
                    Product {
                        sku,
                        name,
                        price,
                        status: updated.status,
                    },
                );
            }
            PublicEvent::ProductArchived(archived) => {
                if let Some(product) = unit.get::<Product>(archived.product_id) {
                    let gone = Product {
                        status: ProductStatus::Archived,
                        ..Product::clone(&product)
                    };
                    unit.put(archived.product_id, gone);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
