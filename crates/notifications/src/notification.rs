//! The notification: one message to one user, from queued to sent.

use contracts::notification::{Channel, Failed, NotificationStatus, Sent};
use contracts::order::OrderStatus;
use contracts::{Money, NotificationId, OrderId, Slug, UserId};
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::events::{Deferred, Queued, Retried};
use crate::{Error, Event};

/// The receiver is gone, or never was.
pub const UNDELIVERABLE: &str = "undeliverable";

/// A notification's state. It holds nothing personal: address, name and text exist only while it is being sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub(crate) id: NotificationId,
    pub(crate) user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order_id: Option<OrderId>,
    pub(crate) channel: Channel,
    pub(crate) template: Slug,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order_status: Option<OrderStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) amount: Option<Money>,
    pub(crate) status: NotificationStatus,
    pub(crate) attempts: u32,
    /// When it was queued first.
    pub(crate) created_at: Timestamp,
    /// When it was queued last.
    pub(crate) queued_at: Timestamp,
    pub(crate) version: u64,
}

/// What can be asked of a notification.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send it.
    Queue(Queued),
    /// The channel has taken it.
    Sent {
        /// Which one; it may have been set up anew since the message was queued.
        channel: Channel,
    },
    /// The channel could not take it now.
    Defer,
    /// It cannot be sent.
    Fail {
        /// A stable word.
        cause: &'static str,
    },
    /// Try a failed one again.
    Retry,
}

impl Notification {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> NotificationId {
        self.id
    }

    /// Where it is on its way.
    #[must_use]
    pub fn status(&self) -> NotificationStatus {
        self.status
    }

    fn new(queued: &Queued, now: Timestamp) -> Self {
        Self {
            id: queued.notification_id,
            user_id: queued.user_id,
            order_id: queued.order_id,
            channel: queued.channel,
            template: queued.template.clone(),
            order_status: queued.order_status,
            amount: queued.amount,
            status: NotificationStatus::Queued,
            attempts: 0,
            created_at: now,
            queued_at: now,
            version: 0,
        }
    }

    fn sent(&self, channel: Channel) -> Event {
        let Self {
            id: notification_id,
            user_id,
            order_id,
            ref template,
            ..
        } = *self;
        Sent {
            notification_id,
            user_id,
            order_id,
            template: template.clone(),
            channel,
        }
        .into()
    }

    fn failed(&self, cause: &str) -> Event {
        let Self {
            id: notification_id,
            user_id,
            order_id,
            channel,
            ref template,
            ..
        } = *self;
        Failed {
            notification_id,
            user_id,
            order_id,
            template: template.clone(),
            channel,
            cause: cause.to_owned(),
        }
        .into()
    }
}

impl Document for Notification {
    const COLLECTION: &'static Collection = &Collection {
        name: "notifications",
        kind: Kind::View,
        columns: &[
            Column {
                name: "user_id",
                column_type: ColumnType::Text,
            },
            Column {
                name: "order_id",
                column_type: ColumnType::Text,
            },
            Column {
                name: "status",
                column_type: ColumnType::Text,
            },
        ],
        // Ids begin with the time, so every list is in its order without a column for it.
        indexes: &[
            Index {
                name: "by_user",
                columns: &["user_id"],
            },
            Index {
                name: "by_order",
                columns: &["order_id"],
            },
            Index {
                name: "by_status",
                columns: &["status"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        vec![
            self.user_id.to_string().into(),
            self.order_id.map(|id| id.to_string()).into(),
            self.status.as_str().into(),
        ]
    }
}

impl Aggregate for Notification {
    type Command = Command;
    type Event = Event;
    type Error = Error;

    fn version(&self) -> u64 {
        self.version
    }

    fn decide(state: Option<&Self>, command: Command, _: Timestamp) -> Result<Vec<Event>, Error> {
        use NotificationStatus as Status;
        let Some(state) = state else {
            return match command {
                Command::Queue(queued) => Ok(vec![queued.into()]),
                Command::Sent { .. } | Command::Defer | Command::Fail { .. } | Command::Retry => Err(Error::Unknown),
            };
        };
        Ok(match (command, state.status) {
            (Command::Queue(_), _) => Vec::new(),
            // Two tries can overlap when a lease lapses; what was handed over was handed over.
            (Command::Sent { channel }, Status::Queued | Status::Failed) => vec![state.sent(channel)],
            (Command::Sent { .. }, Status::Sent) => Vec::new(),
            (Command::Defer, Status::Queued) => vec![
                Deferred {
                    notification_id: state.id,
                }
                .into(),
            ],
            (Command::Defer, Status::Sent | Status::Failed) => Vec::new(),
            (Command::Fail { cause }, Status::Queued) => vec![state.failed(cause)],
            (Command::Fail { .. }, Status::Sent | Status::Failed) => Vec::new(),
            (Command::Retry, Status::Failed) => vec![
                Retried {
                    notification_id: state.id,
                }
                .into(),
            ],
            (Command::Retry, Status::Queued | Status::Sent) => return Err(Error::NotFailed),
        })
    }

    fn apply(state: &mut Option<Self>, event: &Event, at: &Occurrence<'_>) {
        if let Event::Queued(queued) = event {
            *state = Some(Self::new(queued, at.time));
        }
        let Some(state) = state else { return };
        match event {
            Event::Queued(_) => {}
            Event::Deferred(_) => state.attempts += 1,
            Event::Retried(_) => {
                state.status = NotificationStatus::Queued;
                state.queued_at = at.time;
            }
            Event::Sent(sent) => {
                state.channel = sent.channel;
                state.status = NotificationStatus::Sent;
                state.attempts += 1;
            }
            Event::Failed(failed) => {
                state.status = NotificationStatus::Failed;
                state.attempts += u32::from(failed.cause != UNDELIVERABLE);
            }
        }
        state.version = at.version;
    }
}

#[cfg(test)]
mod tests {
    use contracts::Service;
    use proptest::prelude::*;
    use testkit::aggregate::{given, nothing};
    use testkit::lives::{Life, assert_views_are_the_fold};

    use super::*;

    const SENT: Command = Command::Sent { channel: Channel::Log };

    fn queued() -> Queued {
        let id = "01h455vb4pex5vsknk084sn02q";
        Queued {
            notification_id: format!("ntf_{id}").parse().unwrap(),
            user_id: format!("usr_{id}").parse().unwrap(),
            order_id: Some(format!("ord_{id}").parse().unwrap()),
            template: "order-confirmed".parse().unwrap(),
            channel: Channel::Log,
            order_status: Some(OrderStatus::Confirmed),
            amount: None,
        }
    }

    fn sent() -> Event {
        Notification::new(&queued(), Timestamp::UNIX_EPOCH).sent(Channel::Log)
    }

    fn failed(cause: &str) -> Event {
        Notification::new(&queued(), Timestamp::UNIX_EPOCH).failed(cause)
    }

    fn deferred() -> Event {
        Deferred {
            notification_id: queued().notification_id,
        }
        .into()
    }

    fn retried() -> Event {
        Retried {
            notification_id: queued().notification_id,
        }
        .into()
    }

    #[test]
    fn a_message_is_queued_once() {
        let queue = || Command::Queue(queued());
        nothing::<Notification>()
            .when(queue())
            .then([queued().into()])
            .when(queue())
            .then_nothing();
        given::<Notification>([queued().into(), sent()])
            .when(queue())
            .then_nothing();
        given::<Notification>([queued().into(), failed(UNDELIVERABLE)])
            .when(queue())
            .then_nothing();
    }

    #[test]
    fn a_message_is_sent_once() {
        let after = given::<Notification>([queued().into()]).when(SENT).then([sent()]);
        assert_eq!(
            after.state().map(|it| (it.status, it.attempts)),
            Some((NotificationStatus::Sent, 1))
        );
        let after = after.when(SENT).then_nothing();
        let after = after.when(Command::Defer).then_nothing();
        after.when(Command::Fail { cause: "refused" }).then_nothing();
    }

    #[test]
    fn every_try_of_the_channel_counts() {
        let after = given::<Notification>([queued().into()]);
        let after = after
            .when(Command::Defer)
            .then([deferred()])
            .when(Command::Defer)
            .then([deferred()]);
        let after = after.when(Command::Fail { cause: "refused" }).then([failed("refused")]);
        assert_eq!(
            after.state().map(|it| (it.status, it.attempts)),
            Some((NotificationStatus::Failed, 3))
        );
    }

    #[test]
    fn a_message_without_a_receiver_was_not_tried() {
        let after = given::<Notification>([queued().into()]);
        let after = after
            .when(Command::Fail { cause: UNDELIVERABLE })
            .then([failed(UNDELIVERABLE)]);
        assert_eq!(after.state().map(|it| it.attempts), Some(0));
    }

    #[test]
    fn only_a_failed_message_is_retried() {
        let failed = given::<Notification>([queued().into(), failed("refused")]);
        let again = failed.when(Command::Retry).then([retried()]);
        assert_eq!(again.state().map(|it| it.status), Some(NotificationStatus::Queued));
        assert!(again.state().is_some_and(|it| it.queued_at > it.created_at));
        assert!(matches!(again.when(Command::Retry).then_refused(), Error::NotFailed));
        let sent = given::<Notification>([queued().into(), sent()]);
        assert!(matches!(sent.when(Command::Retry).then_refused(), Error::NotFailed));
        assert!(matches!(
            nothing::<Notification>().when(Command::Retry).then_refused(),
            Error::Unknown
        ));
    }

    #[test]
    fn what_was_handed_over_after_all_is_sent() {
        given::<Notification>([queued().into(), failed("unreachable")])
            .when(SENT)
            .then([sent()]);
    }

    fn anything() -> impl Strategy<Value = Command> {
        let channel = prop::sample::select(Channel::ALL);
        prop_oneof![
            2 => Just(Command::Queue(queued())),
            1 => channel.prop_map(|channel| Command::Sent { channel }),
            3 => Just(Command::Defer),
            2 => prop::sample::select(vec![UNDELIVERABLE, "refused"]).prop_map(|cause| Command::Fail { cause }),
            2 => Just(Command::Retry),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_asked_a_message_is_sent_at_most_once_and_every_try_counts(
            commands in prop::collection::vec((anything(), 0..100_u32), 0..40)
        ) {
            let mut life = Life::<Notification>::default();
            let (mut tries, mut sent) = (0, 0);
            for (command, seconds) in commands {
                life.pass(seconds);
                let before = life.state().map(|it| it.status);
                for event in life.ask(command) {
                    let is_legal = match &event {
                        Event::Queued(_) => before.is_none(),
                        Event::Deferred(_) | Event::Failed(_) => before == Some(NotificationStatus::Queued),
                        Event::Retried(_) => before == Some(NotificationStatus::Failed),
                        Event::Sent(_) => before.is_some_and(|before| before != NotificationStatus::Sent),
                    };
                    prop_assert!(is_legal, "{before:?}: {event:?}");
                    sent += u32::from(matches!(event, Event::Sent(_)));
                    tries += u32::from(match &event {
                        Event::Deferred(_) | Event::Sent(_) => true,
                        Event::Failed(failed) => failed.cause != UNDELIVERABLE,
                        Event::Queued(_) | Event::Retried(_) => false,
                    });
                }
                if let Some(message) = life.state() {
                    prop_assert_eq!(message.attempts, tries);
                    prop_assert_eq!(message.status == NotificationStatus::Sent, sent == 1);
                    prop_assert!(message.created_at <= message.queued_at && message.queued_at <= life.now());
                }
            }
            prop_assert!(sent <= 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn views_of_messages_are_the_fold_of_the_journal(
            commands in prop::collection::vec((0..3_u8, anything()), 0..30)
        ) {
            let commands = commands.into_iter().map(|(number, command)| (format!("message-{number}"), command));
            let service = Service::Notifications;
            assert_views_are_the_fold::<Notification>(service, crate::COLLECTIONS, crate::fold, commands);
        }
    }
}
