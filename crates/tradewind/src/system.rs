//! The wiring: stores, engines, the bus, services and the gateway, in one process.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use contracts::{Secret, Service};
use gateway::config::{Origins, RateLimits};
use gateway::{FrontDoor, Gateway, Pool, Upstream};
use kernel::access::AccessEvents;
use kernel::auth::Verifier;
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::document::Collection;
use kernel::embedded::Journal;
use kernel::engine::{Engine, Parts, schema};
use kernel::reaction::Consumers;
use kernel::rebuild::Fold;
use kernel::relay;
use kernel::store::{Opened, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use notifications::Recipients;
use payments::provider::Provider;
use payments::simulated::Simulated;
use users::{Argon2Hasher, Keys, Users};

use crate::buses::{BusUrl, Surroundings};
use crate::config::Config;
use crate::data::DataDirectory;
use crate::recipients::InProcess;
use crate::remote::{RemoteRecipients, RemoteUsers};
use crate::stores::Place;
use crate::topology::Topology;

/// How long the start waits for consumers to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end waits for a broker.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What a service keeps, and how it is folded.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Whose it is.
    pub service: Service,
    /// Its own collections.
    pub collections: &'static [&'static Collection],
    /// Folds an event of its journal into its views.
    pub fold: Fold,
}

impl Described {
    /// Every collection of the service, the kernel's own included, in the order of their names.
    #[must_use]
    pub fn by_name(&self) -> Vec<&'static Collection> {
        let mut all = schema(self.collections).collections;
        all.sort_unstable_by_key(|collection| collection.name);
        all
    }
}

/// Every service of the house.
pub const SERVICES: [Described; 7] = [
    Described {
        service: Service::Users,
        collections: users::COLLECTIONS,
        fold: users::fold,
    },
    Described {
        service: Service::Catalog,
        collections: catalog::COLLECTIONS,
        fold: catalog::fold,
    },
    Described {
        service: Service::Inventory,
        collections: inventory::COLLECTIONS,
        fold: inventory::fold,
    },
    Described {
        service: Service::Orders,
        collections: orders::COLLECTIONS,
        fold: orders::fold,
    },
    Described {
        service: Service::Payments,
        collections: payments::COLLECTIONS,
        fold: payments::fold,
    },
    Described {
        service: Service::Notifications,
        collections: notifications::COLLECTIONS,
        fold: notifications::fold,
    },
    Described {
        service: Service::Events,
        collections: events::COLLECTIONS,
        fold: events::fold,
    },
];

/// Opens the stores of services at once: to make one is mostly to wait for the disk.
async fn open_stores(places: &[(&Described, Place)], ids: &Ids, clock: &dyn Clock) -> Result<Vec<Arc<dyn Opened>>> {
    let opening = places
        .iter()
        .map(|(described, place)| place.open(described, Vec::new(), ids, clock));
    futures::future::try_join_all(opening).await
}

/// What is put around the ports of a system to measure it, or to break it. Nothing is, in a shop.
pub trait Around: Send + Sync {
    /// Around the clock.
    fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        clock
    }

    /// Around a service's store.
    fn store(&self, _: Service, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }

    /// Around the bus.
    fn bus(&self, bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
        bus
    }

    /// Whether the journals must be published to the bus, since it reads none itself.
    fn is_published_to(&self) -> bool {
        false
    }

    /// Around the payment provider.
    fn provider(&self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        provider
    }

    /// Around a service's routes.
    fn router(&self, _: Service, router: Router, _: &Arc<Verifier>) -> Router {
        router
    }
}

/// Nothing around anything.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Around for Plain {}

/// What one process runs of the shop.
#[derive(Debug)]
pub struct System {
    /// The way in, to what runs here or to everything.
    pub door: FrontDoor,
    /// For the first admin, if users runs here.
    pub users: Option<Users>,
    events: Option<events::Events>,
    engines: BTreeMap<Service, Engine>,
    stores: Vec<Arc<dyn Opened>>,
    bus: Arc<dyn Bus>,
}

/// What every service is started with.
struct Foundation<'a> {
    config: &'a Config,
    data: &'a DataDirectory,
    around: &'a dyn Around,
    engines: BTreeMap<Service, Engine>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
}

/// A service that was started.
struct Started {
    service: Service,
    router: Router,
    consumers: Consumers,
}

impl Foundation<'_> {
    fn engine(&self, service: Service) -> Engine {
        self.engines.get(&service).expect("it runs here").clone()
    }

    fn service_secret(&self) -> Result<Option<Secret>> {
        let secret = self
            .config
            .service_secret
            .as_ref()
            .map(|secret| secret.reveal().parse());
        secret.transpose().map_err(|error| anyhow!("service_secret: {error}"))
    }

    /// The replicas of a service that run elsewhere.
    fn pool(&self, service: Service) -> Pool {
        Pool::new(
            service,
            self.config.replicas_of(service).to_vec(),
            Arc::clone(&self.clock),
        )
    }

    async fn users(&self, keys: Keys, verifier: &Arc<Verifier>, access: &AccessEvents) -> Result<Users> {
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

    fn recipients(&self, users: Option<&Users>) -> Result<Arc<dyn Recipients>> {
        if let Some(users) = users.cloned() {
            return Ok(Arc::new(InProcess { users }));
        }
        let secret = self.service_secret()?.context("service_secret is not set")?;
        let users = RemoteUsers::new(self.pool(Service::Users));
        Ok(Arc::new(RemoteRecipients::new(users, secret, Arc::clone(&self.clock))))
    }

    /// Starts a service other than users and events, which others know by more than their routes.
    async fn start(
        &self,
        service: Service,
        verifier: &Arc<Verifier>,
        access: &AccessEvents,
        users: Option<&Users>,
    ) -> Result<Started> {
        let (engine, bus) = (self.engine(service), &self.bus);
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

impl System {
    /// Starts what is to run here, on the stores that are configured; what has no store of its own is in `data`.
    pub async fn start(
        config: &Config,
        topology: &Topology,
        data: &DataDirectory,
        metrics: PrometheusHandle,
        around: &dyn Around,
    ) -> Result<Self> {
        let clock = around.clock(Arc::new(SystemClock::new()));
        let ids = Arc::new(Ids::from_entropy());
        let replica = data.replica(&ids, clock.as_ref())?;
        let mut engines = BTreeMap::new();
        let places: Vec<(&Described, Place)> = SERVICES
            .iter()
            .filter(|described| topology.runs(described.service))
            .map(|described| (described, Place::of(described.service, config, data)))
            .collect();
        let stores = open_stores(&places, &ids, clock.as_ref()).await?;
        for ((described, place), store) in places.iter().zip(&stores) {
            let parts = Parts {
                store: around.store(described.service, Arc::clone(store) as _),
                replica: place.is_shared().then_some(replica),
                clock: Arc::clone(&clock),
                ids: Arc::clone(&ids),
            };
            let engine = Engine::start(described.service, parts).await;
            let engine = engine.with_context(|| format!("cannot start {} on {place}", described.service))?;
            engines.insert(described.service, engine);
        }
        let journals = engines.iter().map(|(&service, engine)| {
            let journal = Journal {
                store: Arc::clone(engine.reader().store()),
                head: engine.head(),
            };
            (service, journal)
        });
        let surroundings = Surroundings {
            process: replica,
            journals: journals.collect(),
            clock: &clock,
            ids: &ids,
        };
        // The way in alone tells and hears of nothing.
        let url = match topology.services.is_empty() {
            true => &BusUrl::Embedded,
            false => &config.bus,
        };
        let bus = around.bus(url.open(surroundings).await?);
        let foundation = Foundation {
            config,
            data,
            around,
            engines,
            bus,
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
        };

        let keys = match topology.runs(Service::Users) {
            true => Some(Keys::open(&foundation.engine(Service::Users)).await?),
            false => None,
        };
        let verifier = Arc::new(Verifier::new(
            match &keys {
                Some(keys) => keys.key_source(),
                None => Arc::new(RemoteUsers::new(foundation.pool(Service::Users))),
            },
            Arc::clone(&clock),
        ));
        let access = AccessEvents::new(Arc::clone(&clock), Arc::clone(&ids));
        let mut started = Vec::new();
        let mut users = None;
        if let Some(keys) = keys {
            let running = foundation.users(keys, &verifier, &access).await?;
            started.push(Started {
                service: Service::Users,
                router: running.router(),
                consumers: running.consumers().clone(),
            });
            users = Some(running);
        }
        let apart = [Service::Users, Service::Events];
        for &service in topology.services.iter().filter(|service| !apart.contains(service)) {
            started.push(foundation.start(service, &verifier, &access, users.as_ref()).await?);
        }
        let mut events = None;
        if topology.runs(Service::Events) {
            let engine = foundation.engine(Service::Events);
            let running = events::Events::start(engine, &foundation.bus, &verifier, access).await?;
            started.push(Started {
                service: Service::Events,
                router: running.router(),
                consumers: running.consumers().clone(),
            });
            events = Some(running);
        }
        if config.bus != BusUrl::Embedded || around.is_published_to() {
            for engine in foundation.engines.values() {
                relay::start(engine, &foundation.bus);
            }
        }
        // So that nobody is served whose order would come before a consumer begins.
        let begun = futures::future::join_all(started.iter().map(|started| started.consumers.begun()));
        if tokio::time::timeout(BEGIN_TIMEOUT, begun).await.is_err() {
            tracing::warn!("some consumers have not begun yet; they go on trying");
        }
        let process = gateway::health::Process {
            engines: foundation.engines.values().cloned().collect(),
            consumers: started.iter().map(|started| started.consumers.clone()).collect(),
            clock: Arc::clone(&clock),
        };
        let mut upstreams = BTreeMap::new();
        for Started { service, router, .. } in started {
            upstreams.insert(service, Upstream::from(around.router(service, router, &verifier)));
        }
        if topology.is_gateway {
            for &service in Service::ALL {
                upstreams
                    .entry(service)
                    .or_insert_with(|| foundation.pool(service).into());
            }
        }
        let door = Gateway::new(gateway_config(config, topology)?, upstreams, verifier, clock, ids)
            .with_health(Arc::new(process))
            .with_metrics(metrics)
            .open();
        let Foundation { engines, bus, .. } = foundation;
        Ok(Self {
            door,
            users,
            events,
            engines,
            stores,
            bus,
        })
    }

    /// The journal of a service that runs here.
    pub fn journal(&self, service: Service) -> &Arc<dyn Store> {
        let engine = self.engines.get(&service).expect("the service runs here");
        engine.reader().store()
    }

    /// Ends what would not end by itself. To be called before the requests under way are waited for.
    pub fn close_streams(&self) {
        if let Some(events) = &self.events {
            events.close_streams();
        }
    }

    /// Finishes what was accepted, gives lanes back, and closes the stores.
    pub async fn stop(self) {
        futures::future::join_all(self.engines.values().map(Engine::stop_background)).await;
        if tokio::time::timeout(LEAVE_MAX, self.bus.close()).await.is_err() {
            tracing::warn!("the broker does not answer; others take the lanes of this process over once they lapse");
        }
        futures::future::join_all(self.engines.values().map(Engine::stop)).await;
        for store in self.stores {
            store.close().await;
        }
    }
}

/// Who is not the way in counts nothing and compresses nothing: the gateway before it does.
fn gateway_config(config: &Config, topology: &Topology) -> Result<gateway::Config> {
    let timeout = u64::try_from(config.request_timeout.get().as_millis()).context("request_timeout is too long")?;
    let rate_limit = match topology.is_gateway {
        true => RateLimits {
            anonymous: config.rate_limit_anonymous,
            user: config.rate_limit_user,
            ip: config.rate_limit_ip,
        },
        false => RateLimits::OFF,
    };
    Ok(gateway::Config {
        rate_limit,
        compression: topology.is_gateway,
        trusted_proxies: config.trusted_proxies.0.clone(),
        cors_origins: Origins::try_from(config.cors_origins.0.clone())?,
        request_timeout_ms: NonZeroU64::new(timeout).context("request_timeout must be at least a millisecond")?,
    })
}
