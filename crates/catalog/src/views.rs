//! What the catalogue's events are folded into.

use contracts::{DecodeError, ProductId};
use kernel::aggregate::{Occurrence, Projected};
use kernel::document::{Collection, Document, Kind};
use kernel::event::Recorded;
use kernel::unit::Views;
use serde::{Deserialize, Serialize};

use crate::{Event, Product};

/// Whose SKU it is, by SKU. It stays taken when the product is archived: old orders name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SkuOwner {
    product_id: ProductId,
}

impl Document for SkuOwner {
    const COLLECTION: &'static Collection = &Collection {
        name: "sku_owners",
        kind: Kind::View,
        columns: &[],
        indexes: &[],
    };
}

impl Projected for Event {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<Product>(self, at);
        match self {
            Self::Created(created) => {
                let owner = SkuOwner {
                    product_id: created.product_id,
                };
                views.update(&created.sku, |it| *it = Some(owner));
            }
            Self::Updated(_) | Self::Archived(_) => {}
        }
    }
}

/// Folds a recorded event of the catalogue's journal.
pub fn fold(recorded: &Recorded, views: &mut Views<'_>) -> Result<(), DecodeError> {
    kernel::rebuild::fold::<Event>(recorded, views).map(|_| ())
}
