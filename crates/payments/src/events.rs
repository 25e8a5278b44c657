//! What happens to a payment. What was asked of the provider is journaled before the provider is called.

use contracts::payment::{Authorized, Captured, Failed, Initiated, Refunded, Voided};
use contracts::{Money, OrderId, PaymentId, RefundId, UserId};
use serde::{Deserialize, Serialize};

contracts::events! {
    /// What happened to a payment.
    pub enum Event {
        /// Somebody pays: the provider is asked to hold the money ready.
        public "payment.initiated" 1 => Initiated(Initiated),
        /// The payer has to do something first.
        internal "payment.action_required" 1 => ActionRequired(ActionRequired),
        /// The provider holds the money ready.
        public "payment.authorized" 1 => Authorized(Authorized),
        /// The provider is asked to take the money.
        internal "payment.capture_requested" 1 => CaptureRequested(CaptureRequested),
        /// The money was taken.
        public "payment.captured" 1 => Captured(Captured),
        /// The money could not be had.
        public "payment.failed" 1 => Failed(Failed),
        /// The provider is asked to let the money go.
        internal "payment.void_requested" 1 => VoidRequested(VoidRequested),
        /// The provider let the money go.
        public "payment.voided" 1 => Voided(Voided),
        /// The provider is asked to give money back.
        internal "payment.refund_requested" 1 => RefundRequested(RefundRequested),
        /// Money was given back.
        public "payment.refunded" 1 => Refunded(Refunded),
        /// The provider refused to give money back.
        internal "payment.refund_failed" 1 => RefundFailed(RefundFailed),
    }
}

/// `payment.action_required`. What the payer needs for it is a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRequired {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
}

/// `payment.capture_requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRequested {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
}

/// `payment.void_requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidRequested {
    /// Which payment.
    pub payment_id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
}

/// Why money is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundCause {
    /// An admin asked for it.
    Admin,
    /// The order is over, or was paid otherwise.
    OrderOver,
}

/// `payment.refund_requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequested {
    /// Which payment.
    pub payment_id: PaymentId,
    /// By which refund.
    pub refund_id: RefundId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub cause: RefundCause,
    /// The names of the texts given along (`reason`), never the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// `payment.refund_failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundFailed {
    /// Which payment.
    pub payment_id: PaymentId,
    /// Which refund.
    pub refund_id: RefundId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much was not given back.
    pub amount: Money,
    /// Why, as the provider calls it.
    pub decline_code: String,
}
