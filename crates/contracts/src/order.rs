//! Orders: what a user wants to buy, from placed to delivered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Cursor, Limit, List, Metadata, Money, OrderId, Patch, PaymentId, Price, ProductId, ProductName, Quantity, Reason,
    Sku, UserId, money, patch, payment::PaymentStatus, user::Address, word::words,
};

pub mod event;

pub use event::{
    Cancelled, Canceller, Confirmed, Expired, Fulfilled, Paid, PaidBy, Placed, Refunded, Rejected, Updated, Viewed,
};

words! {
    /// Where an order is on its way.
    pub enum OrderStatus {
        /// Placed; its stock is not reserved yet.
        Pending = "pending",
        /// Its stock is reserved; it can be paid.
        Confirmed = "confirmed",
        /// Its stock is not to be had. An end.
        Rejected = "rejected",
        /// Paid; to be delivered.
        Paid = "paid",
        /// Delivered.
        Fulfilled = "fulfilled",
        /// Cancelled. An end.
        Cancelled = "cancelled",
        /// Not paid in time. An end.
        Expired = "expired",
        /// All of its money was given back. An end.
        Refunded = "refunded",
    }
}

impl OrderStatus {
    /// True if nothing changes the status any more. A fulfilled order may still be refunded.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Rejected | Self::Cancelled | Self::Expired | Self::Refunded)
    }
}

/// A line of an order, with the price at which it was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// Which SKU.
    pub sku: Sku,
    /// Which product.
    pub product_id: ProductId,
    /// The product's name at that time.
    pub name: ProductName,
    /// How many pieces.
    pub quantity: Quantity,
    /// What a piece costs.
    pub unit_price: Price,
    /// What the line costs: quantity times price.
    pub total: Money,
}

impl OrderLine {
    /// A line whose total is quantity times price.
    ///
    /// # Errors
    /// [`money::Error::Overflow`].
    pub fn new(
        sku: Sku,
        product_id: ProductId,
        name: ProductName,
        quantity: Quantity,
        unit_price: Price,
    ) -> Result<Self, money::Error> {
        let total = unit_price.money().checked_mul(quantity)?;
        Ok(Self {
            sku,
            product_id,
            name,
            quantity,
            unit_price,
            total,
        })
    }
}

/// The payment of an order, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPayment {
    /// Its id.
    pub id: PaymentId,
    /// Where it is.
    pub status: PaymentStatus,
}

/// An order, as its owner and admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// Where it is on its way.
    pub status: OrderStatus,
    /// What was ordered.
    pub lines: Vec<OrderLine>,
    /// What all lines cost.
    pub total: Money,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// Its latest payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<OrderPayment>,
    /// Why it was cancelled or rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the shop keeps with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The number of its changes, for `If-Match`.
    pub version: u64,
}

/// The lines that an order asks for: 1 to 1,000.
pub type LineRequests = List<LineRequest, 1, 1000>;

/// `POST /api/orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// What is ordered.
    pub lines: LineRequests,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// What the shop keeps with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// For whom, if an admin orders for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

/// A line that an order asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LineWire", into = "LineWire")]
pub struct LineRequest {
    /// Which product.
    pub product: ProductRef,
    /// How many pieces.
    pub quantity: Quantity,
    /// The price that the client showed; another one in the catalogue refuses the order.
    pub expected_unit_price: Option<Price>,
}

/// A product by its id or by its SKU: on the wire `product_id` or `sku`, and not both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProductRef {
    /// By its id.
    Id(ProductId),
    /// By its SKU.
    Sku(Sku),
}

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `sku` or `product_id`, and `quantity`"
)]
struct LineWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product_id: Option<ProductId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sku: Option<Sku>,
    quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_unit_price: Option<Price>,
}

/// A line that names no product, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must name the product by `product_id` or by `sku`, and not by both")]
pub struct ProductRefError;

impl TryFrom<LineWire> for LineRequest {
    type Error = ProductRefError;

    fn try_from(wire: LineWire) -> Result<Self, ProductRefError> {
        let product = match (wire.product_id, wire.sku) {
            (Some(id), None) => ProductRef::Id(id),
            (None, Some(sku)) => ProductRef::Sku(sku),
            (Some(_), Some(_)) | (None, None) => return Err(ProductRefError),
        };
        Ok(Self {
            product,
            quantity: wire.quantity,
            expected_unit_price: wire.expected_unit_price,
        })
    }
}

impl From<LineRequest> for LineWire {
    fn from(line: LineRequest) -> Self {
        let (product_id, sku) = match line.product {
            ProductRef::Id(id) => (Some(id), None),
            ProductRef::Sku(sku) => (None, Some(sku)),
        };
        Self {
            product_id,
            sku,
            quantity: line.quantity,
            expected_unit_price: line.expected_unit_price,
        }
    }
}

/// `POST /api/orders/{id}/cancel`. The body may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// `PATCH /api/orders/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateOrder {
    /// The status that it should have. For admins.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<OrderStatus>,
    /// Where it goes. For the owner too, until fulfilled.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub shipping_address: Patch<Address>,
    /// What the shop keeps with it, as a whole. For admins.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub metadata: Patch<Metadata>,
}

/// The query of `GET /api/orders`. The list is newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListOrders {
    /// Those of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OrderStatus>,
    /// Those of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Those placed after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    /// Those placed before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// The query of `GET /api/orders/{id}`: as it is, or as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsOf {
    /// As it was at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// As it was after so many changes. Not together with `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The query of `GET /api/orders/{id}/events`. The list is in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListOrderEvents {
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_product_once() {
        let line = r#"{"sku":"A","quantity":2,"expected_unit_price":{"amount":5,"currency":"USD"}}"#;
        let read: LineRequest = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
        for wrong in [
            r#"{"quantity":2}"#,
            r#"{"sku":"A","product_id":"prd_01h455vb4pex5vsknk084sn02q","quantity":2}"#,
            r#"{"sku":"A","quantity":2,"price":5}"#,
            r#"{"sku":"A"}"#,
        ] {
            assert!(serde_json::from_str::<LineRequest>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_order_has_1_to_1000_lines() {
        let order = |lines: usize| {
            let lines = vec![r#"{"sku":"A","quantity":1}"#; lines].join(",");
            serde_json::from_str::<PlaceOrder>(&format!(r#"{{"lines":[{lines}]}}"#))
        };
        assert!(order(0).is_err() && order(1001).is_err());
        assert_eq!(order(1000).unwrap().lines.len(), 1000);
    }

    #[test]
    fn a_total_that_does_not_fit_is_refused() {
        let line = |amount| {
            OrderLine::new(
                "A".try_into().unwrap(),
                "prd_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
                "Lamp".try_into().unwrap(),
                Quantity::MAX,
                Price::new(amount, crate::Currency::USD).unwrap(),
            )
        };
        assert_eq!(line(5).unwrap().total.amount(), 5_000_000);
        assert_eq!(line(money::AMOUNT_MAX), Err(money::Error::Overflow));
    }
}
