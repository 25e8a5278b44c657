//! Notifications: messages to users.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Cursor, Limit, NotificationId, OrderId, Slug, UserId, word::words};

words! {
    /// How a message is sent.
    pub enum Channel {
        /// To the log, and nowhere else.
        Log = "log",
        /// By SMTP.
        Smtp = "smtp",
        /// By the Gmail API.
        Gmail = "gmail",
    }
}

words! {
    /// Where a message is on its way.
    pub enum NotificationStatus {
        /// To be sent, or to be tried again.
        Queued = "queued",
        /// Handed over.
        Sent = "sent",
        /// Not sent, and not tried again by itself.
        Failed = "failed",
    }
}

/// A message, as its receiver and admins see it. Its text and its address are not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// To whom.
    pub user_id: UserId,
    /// About which order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// How.
    pub channel: Channel,
    /// The template: a file's name without its ending.
    pub template: Slug,
    /// The subject line.
    pub subject: String,
    /// Where it is on its way.
    pub status: NotificationStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was queued.
    pub created_at: Timestamp,
}

/// `POST /api/notify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// To whom.
    pub user_id: UserId,
    /// About which order.
    pub order_id: OrderId,
    /// The template: a file's name without its ending; the one for the order's status unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Slug>,
}

/// The answer to [`Notify`] and to a retry: 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The message's id.
    pub id: NotificationId,
    /// Where it is on its way: queued.
    pub status: NotificationStatus,
}

/// The query of `GET /api/notifications`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListNotifications {
    /// Those to this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Those of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<NotificationStatus>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// `notification.sent`: a message was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
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
}

/// `notification.failed`: a message could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
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
    /// Why: a stable word, such as `undeliverable`.
    pub cause: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_no_path() {
        let id = "01h455vb4pex5vsknk084sn02q";
        let notify = |template: &str| {
            serde_json::from_str::<Notify>(&format!(
                r#"{{"user_id":"usr_{id}","order_id":"ord_{id}","template":"{template}"}}"#
            ))
        };
        assert!(notify("order-confirmed").is_ok());
        assert!(notify("../../etc/passwd").is_err());
    }
}
