//! What happens to a notification.

use contracts::notification::{Channel, Failed, Sent};
use contracts::order::OrderStatus;
use contracts::{Money, NotificationId, OrderId, Slug, UserId};
use serde::{Deserialize, Serialize};

contracts::events! {
    /// What happened to a notification.
    pub enum Event {
        /// It is to be sent.
        internal "notification.queued" 1 => Queued(Queued),
        /// The channel could not take it; it is tried again.
        internal "notification.deferred" 1 => Deferred(Deferred),
        /// An admin wants a failed one to be tried again.
        internal "notification.retried" 1 => Retried(Retried),
        /// It was handed over.
        public "notification.sent" 1 => Sent(Sent),
        /// It could not be sent.
        public "notification.failed" 1 => Failed(Failed),
    }
}

/// `notification.queued`: a message is to be sent, with what its template needs. Its text and its address are in no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Which message.
    pub notification_id: NotificationId,
    /// To whom.
    pub user_id: UserId,
    /// About which order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// By which template.
    pub template: Slug,
    /// How.
    pub channel: Channel,
    /// The order's status, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_status: Option<OrderStatus>,
    /// The order's total, what was paid, or what was refunded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
}

/// `notification.deferred`: a try failed, and another follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// Which message.
    pub notification_id: NotificationId,
}

/// `notification.retried`: a failed message is queued again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Which message.
    pub notification_id: NotificationId,
}
