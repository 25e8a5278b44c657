//! What services are started with, and how each is.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use contracts::{Secret, Service};
use gateway::Pool;
use kernel::access::AccessEvents;
use kernel::auth::Verifier;
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids};
use kernel::engine::Engine;
use kernel::reaction::Consumers;
use notifications::Recipients;
use payments::simulated::Simulated;
use users::{Argon2Hasher, Keys, Users};

use crate::config::Config;
use crate::data::DataDirectory;
use crate::recipients::InProcess;
use crate::remote::{RemoteRecipients, RemoteUsers};
use crate::system::Around;

/// What every service is started with.
pub(super) struct Foundation<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a DataDirectory,
    pub(super) around: &'a dyn Around,
    pub(super) engines: BTreeMap<Service, Engine>,
    pub(super) pools: BTreeMap<Service, Pool>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<Ids>,
}

/// A service that was started.
pub(super) struct Started {
    pub(super) service: Service,
    pub(super) router: Router,
    pub(super) consumers: Consumers,
}

impl Foundation<'_> {
    pub(super) fn engine(&self, service: Service) -> Engine {
        self.engines.get(&service).expect("it runs here").clone()
    }

    pub(super) fn service_secret(&self) -> Result<Option<Secret>> {
        let secret = self
            .config
            .service_secret
            .as_ref()
            .map(|secret| secret.reveal().parse());
        secret.transpose().map_err(|error| anyhow!("service_secret: {error}"))
    }

    /// The replicas of a service that run elsewhere. All who ask them here share what is known of them.
    pub(super) fn pool(&mut self, service: Service) -> Pool {
        let pool = self.pools.entry(service).or_insert_with(|| {
            let replicas = self.config.replicas_of(service).to_vec();
            Pool::new(service, replicas, Arc::clone(&self.clock))
        });
        pool.clone()
    }

    pub(super) async fn users(&self, keys: Keys, verifier: &Arc<Verifier>, access: &AccessEvents) -> Result<Users> {
        let ports = users::Ports {
            keys,
            hasher: Arc::new(Argon2Hasher::on_all_processors(Arc::clone(&self.ids))),
            access: access.clone(),
        };
        let config = users::Config {
            service_secret: self.service_secret()?,
        };
        Ok(Users::start(self.engine(Service::Users), &self.bus, verifier, ports, config).await?)
    }

    pub(super) fn recipients(&mut self, users: Option<&Users>) -> Result<Arc<dyn Recipients>> {
        if let Some(users) = users.cloned() {
            return Ok(Arc::new(InProcess { users }));
        }
        let secret = self.service_secret()?.context("service_secret is not set")?;
        let users = RemoteUsers::new(self.pool(Service::Users));
        Ok(Arc::new(RemoteRecipients::new(users, secret, Arc::clone(&self.clock))))
    }

    /// Starts a service other than users and events, which others know by more than their routes.
    pub(super) async fn start(
        &mut self,
        service: Service,
        verifier: &Arc<Verifier>,
        access: &AccessEvents,
        users: Option<&Users>,
    ) -> Result<Started> {
        let (engine, bus) = (self.engine(service), &Arc::clone(&self.bus));
        let (router, consumers) = match service {
            Service::Catalog => {
                let catalog = catalog::Catalog::start(engine, bus, verifier).await?;
                (catalog.router(), catalog.consumers().clone())
            }
            Service::Inventory => {
                let inventory = inventory::Inventory::start(engine, bus, verifier).await?;
                (inventory.router(), inventory.consumers().clone())
            }
            Service::Orders => {
                let config = orders::Config {
                    payment_window: self.config.payment_window.get(),
                };
                let orders = orders::Orders::start(engine, bus, verifier, access.clone(), &config).await?;
                (orders.router(), orders.consumers().clone())
            }
            Service::Payments => {
                let ledger = self.config.ledger(self.data);
                let opened = match engine.is_shared() {
                    true => Simulated::open_for(&engine, &ledger).await,
                    false => Simulated::open(&ledger).map_err(Into::into),
                };
                let provider = opened.context("cannot open the payment ledger")?;
                let provider = self.around.provider(Arc::new(provider));
                let payments = payments::Payments::start(engine, bus, verifier, provider).await?;
                (payments.router(), payments.consumers().clone())
            }
            Service::Notifications => {
                let config = notifications::Config {
                    templates: self.config.templates.clone(),
                };
                let (recipients, channel) = (self.recipients(users)?, Arc::new(notifications::LogChannel));
                let notifications =
                    notifications::Notifications::start(engine, bus, verifier, config, recipients, channel).await?;
                (notifications.router(), notifications.consumers().clone())
            }
            Service::Users | Service::Events => unreachable!("they are started apart"),
        };
        Ok(Started {
            service,
            router,
            consumers,
        })
    }
}
