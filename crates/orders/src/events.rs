//! What happens to orders.

use contracts::order::{Cancelled, Confirmed, Expired, Fulfilled, Paid, Placed, Refunded, Rejected, Updated};
use contracts::payment::PaymentStatus;
use contracts::{OrderId, PaymentId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

contracts::events! {
    /// What happened to an order. (`order.viewed` is an access event, and in no journal.)
    pub enum Event {
        /// Somebody wants to buy.
        public "order.placed" 1 => Placed(Placed),
        /// Its stock is reserved.
        public "order.confirmed" 1 => Confirmed(Confirmed),
        /// Its stock is not to be had.
        public "order.rejected" 1 => Rejected(Rejected),
        /// The money is here.
        public "order.paid" 1 => Paid(Paid),
        /// It will not be delivered.
        public "order.cancelled" 1 => Cancelled(Cancelled),
        /// It was not paid in time.
        public "order.expired" 1 => Expired(Expired),
        /// It was delivered.
        public "order.fulfilled" 1 => Fulfilled(Fulfilled),
        /// All of its money was given back.
        public "order.refunded" 1 => Refunded(Refunded),
        /// Its address or its metadata changed.
        public "order.updated" 1 => Updated(Updated),
        /// A payment of it went on, and its status stayed.
        internal "order.payment-noted" 1 => PaymentNoted(PaymentNoted),
    }
}

/// `order.payment-noted`: what payments tells of a payment, as far as the order's own events don't say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentNoted {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// Which payment.
    pub payment_id: PaymentId,
    /// Where it is now.
    pub status: PaymentStatus,
    /// Until when the order can be paid now, if that starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}
