//! The public events of a payment. Stored forms: a field may be added with a default, and nothing else changes.

use serde::{Deserialize, Serialize};

use crate::{Money, OrderId, PaymentId, RefundId, Slug, UserId, word::words};

words! {
    /// What a payment failed at.
    pub enum Stage {
        /// Getting the money held ready.
        Authorize = "authorize",
        /// Taking it.
        Capture = "capture",
    }
}

/// `payment.initiated`: somebody pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiated {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// Who takes the money: `simulated` or `stripe`.
    pub provider: String,
    /// With what, as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Slug>,
}

/// `payment.authorized`: the provider holds the money ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorized {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
}

/// `payment.captured`: the money was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
}

/// `payment.failed`: the money could not be had. Never of a timeout, whose outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// What it failed at.
    pub stage: Stage,
    /// Why, as the provider calls it: `insufficient_funds`.
    pub decline_code: String,
}

/// `payment.voided`: the money that was held ready was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voided {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
}

/// `payment.refunded`: money was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refunded {
    /// Which payment.
    pub payment_id: PaymentId,
    /// By which refund.
    pub refund_id: RefundId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much this time.
    pub amount: Money,
    /// How much in all.
    pub refunded_total: Money,
    /// How much was taken.
    pub captured: Money,
    /// True if nothing is left to give back.
    pub full: bool,
}
