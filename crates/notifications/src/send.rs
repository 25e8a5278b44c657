//! Sending: asks for the address, writes the text, hands the message to the channel, and records how that ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::notification::NotificationStatus;
use jiff::SignedDuration;
use kernel::effect::{Attempt, Effect, Postponed, backoff};
use kernel::engine::Engine;
use kernel::erasure::ErasedUser;
use kernel::store::StoreError;
use kernel::writer::Priority;

use crate::channel::{Channel, Message, Undelivered};
use crate::notification::UNDELIVERABLE;
use crate::recipients::AddressBook;
use crate::templates::Templates;
use crate::{Command, Error, Notification};

/// The effect's name. Permanent.
pub(crate) const KIND: &str = "send";
/// The template of the message cannot be rendered, or is gone.
pub const BAD_TEMPLATE: &str = "bad-template";
/// The channel was tried for as long as is sensible.
pub const UNREACHABLE: &str = "unreachable";

/// How long a channel may take to answer. Whether it has sent the message is not known then; it is tried again.
const SENDING_MAX: Duration = Duration::from_secs(30);
/// The first pause after a try that failed; each one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(60 * 60);
/// After so long the message is given up. An admin may have it tried again.
const TRIED_MAX: SignedDuration = SignedDuration::from_hours(72);

/// The effect that sends a notification.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) engine: Engine,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) templates: Arc<Templates>,
    pub(crate) channel: Arc<dyn Channel>,
}

#[async_trait]
impl Effect for Send {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed> {
        let notification = self
            .engine
            .reader()
            .get::<Notification>(&attempt.intent.subject)
            .await
            .map_err(unread)?;
        let queued = notification.filter(|it| it.status == NotificationStatus::Queued);
        let Some(notification) = queued else {
            return self.record(attempt, None).await;
        };
        let outcome = self.send(&notification, attempt).await?;
        let again = matches!(outcome, Command::Defer);
        self.record(attempt, Some(outcome)).await?;
        if again {
            return Err(Postponed {
                after: pause(notification.attempts),
                reason: "the channel is not available".into(),
            });
        }
        Ok(())
    }
}

impl Send {
    /// Tries to send. The answer is what to record; waiting for users is no try.
    async fn send(&self, notification: &Notification, attempt: &Attempt) -> Result<Command, Postponed> {
        let user = notification.user_id;
        if self
            .engine
            .reader()
            .get::<ErasedUser>(user)
            .await
            .map_err(unread)?
            .is_some()
        {
            return Ok(Command::Fail { cause: UNDELIVERABLE });
        }
        let recipient = self.addresses.recipient(user).await;
        let recipient = recipient.map_err(|error| Postponed {
            after: backoff(attempt.number),
            reason: error.to_string(),
        })?;
        let Some(recipient) = recipient else {
            return Ok(Command::Fail { cause: UNDELIVERABLE });
        };

        let name = recipient.name.as_ref().map(|name| name.as_str());
        let texts = self.templates.render(notification, name);
        let texts = texts.and_then(|rendered| Ok((rendered, self.templates.headline(notification)?)));
        let (rendered, headline) = match texts {
            Ok(texts) => texts,
            Err(error) => {
                // Its kind and its line, for the message could hold a name.
                let (kind, line) = (error.kind(), error.line());
                tracing::error!(notification.id = %notification.id, template = %notification.template, ?kind, line, "a template cannot be rendered");
                return Ok(Command::Fail { cause: BAD_TEMPLATE });
            }
        };
        let message = Message {
            id: notification.id,
            user_id: user,
            order_id: notification.order_id,
            template: &notification.template,
            recipient: &recipient,
            subject: &rendered.subject,
            headline: &headline,
            body: &rendered.body,
        };
        let sent = tokio::select! {
            biased;
            sent = self.channel.send(&message) => sent,
            () = self.engine.clock().sleep(SENDING_MAX) => {
                Err(Undelivered::Unavailable { reason: "no answer in time".to_owned() })
            }
        };
        Ok(match sent {
            Ok(()) => Command::Sent {
                channel: self.channel.kind(),
            },
            Err(Undelivered::Refused { cause }) => Command::Fail { cause },
            Err(Undelivered::Unavailable { reason }) => self.unavailable(notification, &reason),
        })
    }

    fn unavailable(&self, notification: &Notification, reason: &str) -> Command {
        let tried_for = self.engine.clock().now().duration_since(notification.queued_at);
        let given_up = tried_for >= TRIED_MAX;
        tracing::warn!(notification.id = %notification.id, reason, given_up, "a message could not be handed over");
        if given_up {
            Command::Fail { cause: UNREACHABLE }
        } else {
            Command::Defer
        }
    }

    /// Commits the outcome; unless the message is to be tried again, that ends the intent.
    async fn record(&self, attempt: &Attempt, outcome: Option<Command>) -> Result<(), Postponed> {
        let intent = attempt.intent.clone();
        let recorded = self
            .engine
            .writer()
            .execute(Priority::Background, attempt.context.clone(), move |unit| {
                if let Some(outcome) = &outcome {
                    unit.decide::<Notification>(&intent.subject, outcome.clone())?;
                }
                if !matches!(outcome, Some(Command::Defer)) {
                    unit.finish(&intent);
                }
                Ok::<(), Error>(())
            });
        recorded.await.map_err(|error| Postponed {
            after: backoff(attempt.number),
            reason: error.to_string(),
        })
    }
}

/// The pause after so many tries, and the one that has just failed.
fn pause(attempts: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << attempts.min(16)).min(RETRY_LONGEST)
}

fn unread(error: StoreError) -> Postponed {
    Postponed {
        after: Duration::from_secs(1),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let seconds: Vec<u64> = [0, 1, 2, 11, 12, 40, u32::MAX]
            .map(|attempts| pause(attempts).as_secs())
            .into();
        assert_eq!(seconds, [1, 2, 4, 2048, 3600, 3600, 3600]);
    }
}
