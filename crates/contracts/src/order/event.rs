//! The public events of an order. Stored forms: a field may be added with a default, and nothing else changes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OrderLine, OrderStatus};
use crate::{Money, OrderId, PaymentId, UserId, stock::Shortage, word::words};

/// `order.placed`: somebody wants to buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was ordered.
    pub lines: Vec<OrderLine>,
    /// What all lines cost.
    pub total: Money,
    /// The names of the texts given along (`shipping_address`, `metadata`), never the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// `order.confirmed`: its stock is reserved, and it can be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What is to be paid.
    pub total: Money,
    /// Until when, unless a payment is under way then.
    pub expires_at: Timestamp,
}

/// `order.rejected`: its stock is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was missing.
    pub shortages: Vec<Shortage>,
}

/// How an order came to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PaidBy {
    /// A payment was captured.
    Payment {
        /// Which one.
        payment_id: PaymentId,
    },
    /// An admin says that the money came some other way.
    Manual {
        /// Who says so.
        admin: UserId,
    },
}

/// `order.paid`: the money is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// How.
    pub paid_by: PaidBy,
}

words! {
    /// Who cancelled an order.
    pub enum Canceller {
        /// Its owner.
        Customer = "customer",
        /// An admin.
        Admin = "admin",
        /// Nobody; its owner's account was deleted.
        Erasure = "erasure",
    }
}

/// `order.cancelled`: it will not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// Where it was on its way.
    pub was: OrderStatus,
    /// Who cancelled it.
    pub by: Canceller,
    /// The names of the texts given along (`reason`), never the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// `order.expired`: it was not paid in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
}

/// `order.fulfilled`: it was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fulfilled {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
}

/// `order.refunded`: all of its money was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refunded {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// By which payment.
    pub payment_id: PaymentId,
    /// How much, over all refunds.
    pub amount: Money,
    /// Where it was on its way.
    pub was: OrderStatus,
}

/// `order.updated`: its address or its metadata changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// The names of the fields that changed, never their values.
    pub changed: Vec<String>,
}

/// `order.viewed`: somebody read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewed {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
}
