//! Stock: what lies in the warehouse, what of it is reserved, and what was sold.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Cursor, Delta, Limit, OnHand, OrderId, ProductId, Reason, ReservationId, Sku, UserId, word::words};

words! {
    /// Why the number in the warehouse changed.
    pub enum Cause {
        /// The product was created, with its first stock.
        Created = "created",
        /// Somebody counted.
        Set = "set",
        /// Somebody added or removed.
        Adjusted = "adjusted",
    }
}

words! {
    /// What a reservation was before its stock was released.
    pub enum ReleasedFrom {
        /// Reserved, not sold yet.
        Reserved = "reserved",
        /// Sold; the pieces are back in the warehouse.
        Sold = "sold",
    }
}

/// The stock of one SKU: `available = on_hand - reserved`. A sale lowers both `on_hand` and `reserved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Of which SKU.
    pub sku: Sku,
    /// Of which product.
    pub product_id: ProductId,
    /// What lies in the warehouse, reserved included.
    pub on_hand: u64,
    /// What is promised to orders.
    pub reserved: u64,
    /// What can be promised yet.
    pub available: u64,
    /// The number of its changes, for `If-Match`.
    pub version: u64,
}

/// `PUT /api/inventory/{sku}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStock {
    /// What lies in the warehouse, reserved included.
    pub on_hand: OnHand,
}

/// `POST /api/inventory/{sku}/adjustments`. The answer is the [`Stock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    /// How many pieces came (above zero) or went.
    #[serde(deserialize_with = "a_change")]
    pub delta: Delta,
    /// Why.
    pub reason: Reason,
}

fn a_change<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Delta, D::Error> {
    let delta = Delta::deserialize(deserializer)?;
    if delta.get() == 0 {
        return Err(D::Error::custom("must not be 0, by which nothing changes"));
    }
    Ok(delta)
}

/// The query of `GET /api/inventory`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListStock {
    /// Those with fewer pieces available than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_below: Option<u64>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// A line of a reservation: lines of the order with the same SKU are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationLine {
    /// Which SKU.
    pub sku: Sku,
    /// Which product.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: u64,
}

/// What an order wanted of a SKU and what there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// Which SKU.
    pub sku: Sku,
    /// How many pieces were wanted.
    pub requested: u64,
    /// How many there were.
    pub available: u64,
}

/// `inventory.updated`: what lies in the warehouse changed, other than by a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Which SKU.
    pub sku: Sku,
    /// Which product.
    pub product_id: ProductId,
    /// Why.
    pub cause: Cause,
    /// By how many pieces.
    pub delta: i64,
    /// What lies in the warehouse now.
    pub on_hand: u64,
    /// What of it can be promised now.
    pub available: u64,
}

/// `inventory.reserved`: all lines of an order were reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was reserved.
    pub lines: Vec<ReservationLine>,
}

/// `inventory.rejected`: a line of an order could not be reserved, and so none was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The reservation that was not made.
    pub reservation_id: ReservationId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was missing.
    pub shortages: Vec<Shortage>,
}

/// `inventory.released`: what was reserved or sold is available again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Of which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was released.
    pub lines: Vec<ReservationLine>,
    /// What it was before.
    pub from: ReleasedFrom,
}

/// `inventory.sold`: a reservation became a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sold {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Of which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was sold.
    pub lines: Vec<ReservationLine>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_cannot_be_set_below_zero_and_an_adjustment_says_why() {
        assert!(serde_json::from_str::<SetStock>(r#"{"on_hand":0}"#).is_ok());
        assert!(serde_json::from_str::<SetStock>(r#"{"on_hand":-1}"#).is_err());
        assert!(serde_json::from_str::<AdjustStock>(r#"{"delta":-3,"reason":"broken"}"#).is_ok());
        assert!(serde_json::from_str::<AdjustStock>(r#"{"delta":-3}"#).is_err());
        assert!(serde_json::from_str::<AdjustStock>(r#"{"delta":0,"reason":"broken"}"#).is_err());
    }
}
