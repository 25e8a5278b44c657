//! Notifications: messages to users about the steps of their orders.
//!
//! A message is queued in the commit that handles the step's event, and sent by an effect. What is personal (address,
//! name, text) exists only while it is being sent: it is asked of users then, and stored nowhere.

use std::path::PathBuf;
use std::sync::Arc;

use contracts::notification::{ListNotifications, Notify, Queued};
use contracts::{NotificationId, Page, Problem, Slug, notification as contract};
use kernel::auth::{User, Verifier};
use kernel::bus::Bus;
use kernel::context::Context;
use kernel::document::{Collection, Document};
use kernel::engine::Engine;
use kernel::erasure::{self, Erasure, Purge};
use kernel::http::{Kit, Paging};
use kernel::reaction::Consumers;
use kernel::store::{Query, StoreError};
use kernel::writer;
use serde::{Deserialize, Serialize};

mod channel;
mod error;
mod events;
mod http;
mod notification;
mod recipients;
mod send;
mod steps;
mod templates;
mod views;

pub use channel::{Channel, LogChannel, Message, Undelivered};
pub use error::Error;
pub use events::Event;
pub use notification::{Command, Notification, UNDELIVERABLE};
pub use recipients::{Recipient, Recipients, Unavailable};
pub use send::{BAD_TEMPLATE, UNREACHABLE};
pub use steps::Steps;
pub use templates::{Error as TemplateError, check as check_templates};
pub use views::fold;

/// What notifications keep besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[Notification::COLLECTION];

/// Messages about one order that are looked at to learn its status.
const LATEST_MAX: usize = 20;

/// How notifications are set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A directory with templates of your own, `order-confirmed.txt` and so on; those that it lacks are built in.
    pub templates: Option<PathBuf>,
}

/// Why notifications cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The store does not answer.
    #[error(transparent)]
    Write(#[from] writer::Error),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

/// The notifications' use cases.
#[derive(Clone, Debug)]
pub struct Notifications {
    engine: Engine,
    consumers: Consumers,
    kit: Kit,
    templates: Arc<templates::Templates>,
    channel: contract::Channel,
}

impl Notifications {
    /// Starts consuming and sending, and is ready to answer. On the very first start, what happened before is not mailed.
    pub async fn start(
        engine: Engine,
        bus: &Arc<dyn Bus>,
        verifier: &Arc<Verifier>,
        config: Config,
        recipients: Arc<dyn Recipients>,
        channel: Arc<dyn Channel>,
    ) -> Result<Self, StartError> {
        let kit = Kit::of(&engine, verifier).await?;
        let templates = Arc::new(templates::Templates::load(config.templates.as_deref())?);
        let addresses = Arc::new(recipients::AddressBook::new(recipients, Arc::clone(engine.clock())));
        erasure::start(&engine, verifier, Arc::clone(&addresses) as Arc<dyn Purge>).await?;
        let kind = channel.kind();
        let send = send::Send {
            engine: engine.clone(),
            addresses,
            templates: Arc::clone(&templates),
            channel,
        };
        engine.perform(vec![Arc::new(send)]);
        let consumers = Consumers::start(&engine, bus, vec![Arc::new(Erasure), Arc::new(Steps { channel: kind })]);
        Ok(Self {
            engine,
            consumers,
            kit,
            templates,
            channel: kind,
        })
    }

    /// How the consuming goes.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Queues a message about an order, by the template given or by the one for the order's status.
    ///
    /// The order's status, and whose it is, are known from the messages about it so far. Of an order without any, the
    /// caller is believed, and has to name the template.
    pub async fn notify(&self, request: Notify, context: Context) -> Result<Queued, Error> {
        let Notify {
            user_id,
            order_id,
            template,
        } = request;
        let known = self.latest_about(order_id).await?;
        if known.iter().any(|it| it.user_id != user_id) {
            return Err(Error::ForeignOrder);
        }
        let known = known.into_iter().find(|it| it.order_status.is_some());
        let (order_status, amount) = known.map_or((None, None), |it| (it.order_status, it.amount));
        let by_status = || {
            let name = order_status.and_then(templates::of_status)?;
            Slug::try_from(name).ok()
        };
        let template = template.or_else(by_status).ok_or(Error::UnknownStatus)?;
        if !self.templates.contains(&template) {
            return Err(Error::UnknownTemplate);
        }
        let channel = self.channel;
        let queued = self.engine.writer().answer(context, move |unit| {
            let notification_id = NotificationId::from_uuid(unit.uuid());
            unit.fresh::<Notification>(notification_id);
            let order_id = Some(order_id);
            let template = template.clone();
            let queued = events::Queued {
                notification_id,
                user_id,
                order_id,
                template,
                channel,
                order_status,
                amount,
            };
            steps::queue(unit, queued)?;
            let notification = unit.get::<Notification>(notification_id).ok_or(Error::Unknown)?;
            Ok(Queued {
                id: notification_id,
                status: notification.status(),
            })
        });
        queued.await
    }

    /// Tries a failed message again.
    pub async fn retry(&self, id: NotificationId, context: Context) -> Result<Queued, Error> {
        let queued = self.engine.writer().answer(context, move |unit| {
            unit.decide::<Notification>(id, Command::Retry)?;
            unit.intend(send::KIND, id);
            let notification = unit.get::<Notification>(id).ok_or(Error::Unknown)?;
            Ok(Queued {
                id,
                status: notification.status(),
            })
        });
        queued.await
    }

    /// The viewer's messages, or everybody's for an admin; newest first.
    pub async fn notifications(
        &self,
        viewer: User,
        filter: &ListNotifications,
        paging: &Paging,
    ) -> Result<Page<contract::Notification>, Problem> {
        let owner = if viewer.is_admin() {
            filter.user_id
        } else {
            Some(viewer.id)
        };
        if owner != filter.user_id && filter.user_id.is_some() {
            return Ok(Page::default());
        }
        let all = Notification::COLLECTION;
        let status = filter.status.map(|status| status.as_str().into());
        let mut query = match (owner, status) {
            (Some(owner), status) => {
                let mut query = Query::by(all, "by_user", vec![owner.to_string().into()], 0);
                query.filters.extend(status.map(|status| ("status", status)));
                query
            }
            (None, Some(status)) => Query::by(all, "by_status", vec![status], 0),
            (None, None) => Query::all(all, 0),
        };
        query.descending = true;
        let found = self.engine.reader().find(&paging.apply(query)?).await?;
        Ok(paging.page(found, |found| {
            self.engine.reader().document(&found).map(|it| self.shown(&it))
        })?)
    }

    /// The messages about an order, the latest first.
    async fn latest_about(&self, order: contracts::OrderId) -> Result<Vec<Arc<Notification>>, StoreError> {
        let mut query = Query::by(
            Notification::COLLECTION,
            "by_order",
            vec![order.to_string().into()],
            LATEST_MAX,
        );
        query.descending = true;
        let found = self.engine.reader().query(&query).await?;
        Ok(found.into_iter().map(|(_, notification)| notification).collect())
    }

    /// A message as its receiver sees it. The subject is made anew, as it reads for nobody in particular.
    fn shown(&self, notification: &Notification) -> contract::Notification {
        contract::Notification {
            id: notification.id,
            user_id: notification.user_id,
            order_id: notification.order_id,
            channel: notification.channel,
            template: notification.template.clone(),
            subject: self.templates.headline(notification).unwrap_or_default(),
            status: notification.status,
            attempts: notification.attempts,
            created_at: notification.created_at,
        }
    }
}
