//! How a message leaves the house.

use std::fmt;

use async_trait::async_trait;
use contracts::{NotificationId, OrderId, Slug, UserId, notification};

use crate::Recipient;

/// A message, ready to go. `Debug` shows its ids alone.
pub struct Message<'a> {
    /// The same for every try of a message: a channel that knows how may drop repetitions by it.
    pub id: NotificationId,
    /// The receiver's id.
    pub user_id: UserId,
    /// About which order.
    pub order_id: Option<OrderId>,
    /// The template it was made of.
    pub template: &'a Slug,
    /// The receiver's address. Personal.
    pub recipient: &'a Recipient,
    /// The subject line. May be personal.
    pub subject: &'a str,
    /// The subject line as it reads for nobody in particular, fit for a log.
    pub headline: &'a str,
    /// The text. Personal.
    pub body: &'a str,
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

/// Why a message was not handed over. Nothing here may hold a part of the message or its address: mail servers like to
/// quote them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It never will be.
    #[error("refused: {cause}")]
    Refused {
        /// A stable word, such as `bad-address`; it is published with the event.
        cause: &'static str,
    },
    /// Not now, or not known: it is tried again.
    #[error("not available: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
    },
}

/// A way to send messages.
///
/// It is called at least once per message: again if it said that it is not available, if its answer took too long, and
/// after a crash between its answer and the commit.
#[async_trait]
pub trait Channel: Send + Sync + fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> notification::Channel;

    /// Hands a message over.
    async fn send(&self, message: &Message<'_>) -> Result<(), Undelivered>;
}

/// Sends nothing, and says in the log what would have been sent: which message to whom, by id, without address and text.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogChannel;

#[async_trait]
impl Channel for LogChannel {
    fn kind(&self) -> notification::Channel {
        notification::Channel::Log
    }

    async fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        let Message {
            id,
            user_id,
            order_id,
            template,
            headline,
            ..
        } = message;
        let order_id = order_id.map(tracing::field::display);
        tracing::info!(
            notification.id = %id,
            user.id = %user_id,
            order.id = order_id,
            %template,
            subject = headline,
            "mail sent"
        );
        Ok(())
    }
}
