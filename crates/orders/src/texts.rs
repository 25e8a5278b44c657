//! What people wrote about an order: a record beside it, never in an event.

use contracts::user::Address;
use contracts::{Metadata, Reason};
use kernel::document::{Collection, Document, Kind};
use serde::{Deserialize, Serialize};

/// The texts of an order, under its id; only while there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTexts {
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// What the shop keeps with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl OrderTexts {
    /// The names of the texts that there are, as events tell them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let given = [
            ("shipping_address", self.shipping_address.is_some()),
            ("metadata", self.metadata.is_some()),
            ("reason", self.reason.is_some()),
        ];
        given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// What is needed to deliver the order, and nothing else.
    #[must_use]
    pub fn for_delivery(&self) -> Self {
        Self {
            shipping_address: self.shipping_address.clone(),
            ..Self::default()
        }
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Document for OrderTexts {
    const COLLECTION: &'static Collection = &Collection {
        name: "order_texts",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}
