//! Notifications on memory stores, with users and a channel in the test's hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contracts::notification::{ListNotifications, Notification};
use contracts::{Currency, Money, OrderId, PublicEvent, Role, Service, SessionId, UserId, order, user};
use kernel::auth::User;
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids};
use kernel::engine::{Engine, Parts};
use kernel::http::Paging;
use notifications::{
    COLLECTIONS, Channel, Config, Message, Notifications, Recipient, Recipients, Unavailable, Undelivered,
};
use testkit::harness::Harness;

pub(crate) const EMAIL: &str = "ada@example.com";
pub(crate) const NAME: &str = "Ada Lovelace";

/// Users, as far as notifications know them.
#[derive(Debug, Default)]
pub(crate) struct Users {
    known: Mutex<HashMap<UserId, Recipient>>,
    pub(crate) down: AtomicBool,
    pub(crate) asked: AtomicU32,
}

#[async_trait]
impl Recipients for Users {
    async fn recipient(&self, user: UserId) -> Result<Option<Recipient>, Unavailable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) {
            return Err(Unavailable("as the test asks".to_owned()));
        }
        Ok(self.known.lock().unwrap().get(&user).cloned())
    }
}

impl Users {
    pub(crate) fn sign_up(&self, user: UserId) {
        let recipient = Recipient {
            email: EMAIL.try_into().unwrap(),
            name: Some(NAME.try_into().unwrap()),
        };
        self.known.lock().unwrap().insert(user, recipient);
    }

    pub(crate) fn delete(&self, user: UserId) {
        self.known.lock().unwrap().remove(&user);
    }
}

/// What a channel was handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: contracts::NotificationId,
    pub(crate) order_id: Option<OrderId>,
    pub(crate) email: String,
    pub(crate) subject: String,
    pub(crate) headline: String,
    pub(crate) body: String,
}

/// A channel that keeps what it was handed.
#[derive(Debug, Default)]
pub(crate) struct Postbox {
    letters: Mutex<Vec<Letter>>,
    pub(crate) failure: Mutex<Option<Undelivered>>,
    pub(crate) hangs: AtomicBool,
    pub(crate) tried: AtomicU32,
}

#[async_trait]
impl Channel for Postbox {
    fn kind(&self) -> contracts::notification::Channel {
        contracts::notification::Channel::Smtp
    }

    async fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if let Some(failure) = self.failure.lock().unwrap().clone() {
            return Err(failure);
        }
        let Message {
            id,
            order_id,
            recipient,
            subject,
            headline,
            body,
            ..
        } = *message;
        let email = recipient.email.as_str().to_owned();
        let [subject, headline, body] = [subject, headline, body].map(str::to_owned);
        self.letters.lock().unwrap().push(Letter {
            id,
            order_id,
            email,
            subject,
            headline,
            body,
        });
        Ok(())
    }
}

impl Postbox {
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    pub(crate) fn fail(&self, failure: Option<Undelivered>) {
        *self.failure.lock().unwrap() = failure;
    }
}

pub(crate) struct Rig {
    pub(crate) harness: Harness,
    pub(crate) engine: Engine,
    pub(crate) users: Arc<Users>,
    pub(crate) postbox: Arc<Postbox>,
    pub(crate) notifications: Notifications,
}

pub(crate) async fn rig() -> Rig {
    let harness = Harness::new(Service::Notifications, COLLECTIONS).await;
    let bus = Arc::clone(harness.bus());
    rig_on(harness, &bus).await
}

pub(crate) async fn rig_on(harness: Harness, bus: &Arc<dyn Bus>) -> Rig {
    let (users, postbox) = (Arc::new(Users::default()), Arc::new(Postbox::default()));
    let engine = harness.engine();
    let notifications = start(&harness, &engine, bus, &users, &postbox).await;
    Rig {
        harness,
        engine,
        users,
        postbox,
        notifications,
    }
}

async fn start(
    harness: &Harness,
    engine: &Engine,
    bus: &Arc<dyn Bus>,
    users: &Arc<Users>,
    postbox: &Arc<Postbox>,
) -> Notifications {
    let (recipients, channel) = (Arc::clone(users) as _, Arc::clone(postbox) as _);
    let config = Config::default();
    let started = Notifications::start(engine.clone(), bus, harness.verifier(), config, recipients, channel).await;
    // The consumers begin "now" as soon as they run.
    harness.clock().sleep(Duration::from_secs(1)).await;
    started.unwrap()
}

impl Rig {
    pub(crate) fn user(&self) -> UserId {
        let user = self.stranger();
        self.users.sign_up(user);
        user
    }

    pub(crate) fn stranger(&self) -> UserId {
        UserId::from_uuid(self.harness.uuid())
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::from_uuid(self.harness.uuid())
    }

    pub(crate) async fn happens(&self, order: OrderId, event: impl Into<PublicEvent>) {
        self.harness.publish(Service::Orders, order, event).await;
    }

    pub(crate) async fn erased(&self, user_id: UserId) {
        self.harness
            .publish(Service::Users, user_id, user::Erased { user_id })
            .await;
    }

    /// Time passes, and everything that was waiting for it is done.
    pub(crate) async fn pass(&self, time: Duration) {
        self.harness.clock().sleep(time).await;
    }

    pub(crate) async fn settle(&self) {
        self.harness.settle(self.notifications.consumers()).await;
        self.pass(Duration::from_secs(2)).await;
    }

    /// The process ends and another one goes on with its store.
    pub(crate) async fn restart(&mut self, bus: &Arc<dyn Bus>) {
        self.engine.stop().await;
        let clock = Arc::clone(self.harness.clock());
        let (store, ids) = (Arc::clone(self.engine.reader().store()), Arc::new(Ids::from_seed(8)));
        let parts = Parts {
            store,
            replica: None,
            clock,
            ids,
        };
        self.engine = Engine::start(Service::Notifications, parts).await.unwrap();
        self.notifications = start(&self.harness, &self.engine, bus, &self.users, &self.postbox).await;
    }

    /// What an admin sees.
    pub(crate) async fn all(&self) -> Vec<Notification> {
        let admin = self.viewer(self.stranger(), Role::Admin);
        let filter = ListNotifications::default();
        let paging = Paging::new(contracts::Limit::MAX, None).unwrap();
        self.notifications
            .notifications(admin, &filter, &paging)
            .await
            .unwrap()
            .data
    }

    pub(crate) async fn only(&self) -> Notification {
        let mut all = self.all().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub(crate) fn viewer(&self, id: UserId, role: Role) -> User {
        User {
            id,
            role,
            session: SessionId::from_uuid(self.harness.uuid()),
        }
    }
}

pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR).unwrap()
}

pub(crate) fn confirmed(order_id: OrderId, user_id: UserId) -> order::Confirmed {
    order::Confirmed {
        order_id,
        user_id,
        total: eur(2500),
        expires_at: "2026-01-01T12:30:00Z".parse().unwrap(),
    }
}
