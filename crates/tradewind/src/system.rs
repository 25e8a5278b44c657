//! The wiring: stores, engines, the bus, services and the gateway, in one process.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use contracts::Service;
use gateway::config::{Origins, RateLimits};
use gateway::{FrontDoor, Gateway, Upstream};
use kernel::access::AccessEvents;
use kernel::auth::Verifier;
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::document::Collection;
use kernel::embedded::{EmbeddedBus, Journal};
use kernel::engine::{Engine, Parts, schema};
use kernel::reaction::Consumers;
use kernel::rebuild::Fold;
use kernel::relay;
use kernel::store::{Opened, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use payments::provider::Provider;
use payments::simulated::Simulated;
use users::{Argon2Hasher, Keys, Users};

use crate::config::Config;
use crate::data::DataDirectory;
use crate::recipients::InProcess;
use crate::stores::Place;

/// How long the start waits for consumers to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Opens the stores of all services at once: to make one is mostly to wait for the disk.
async fn open_stores(places: &[Place], ids: &Ids, clock: &dyn Clock) -> Result<Vec<Arc<dyn Opened>>> {
    let opening = SERVICES
        .iter()
        .zip(places)
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

/// All services of one process, running.
#[derive(Debug)]
pub struct System {
    /// The way in.
    pub door: FrontDoor,
    /// For the first admin.
    pub users: Users,
    events: events::Events,
    engines: BTreeMap<Service, Engine>,
    stores: Vec<Arc<dyn Opened>>,
}

impl System {
    /// Starts everything on the stores that are configured; what has no store of its own is in `data`.
    pub async fn start(
        config: &Config,
        data: &DataDirectory,
        metrics: PrometheusHandle,
        around: &dyn Around,
    ) -> Result<Self> {
        let clock = around.clock(Arc::new(SystemClock::new()));
        let ids = Arc::new(Ids::from_entropy());
        let replica = data.replica(&ids, clock.as_ref())?;
        let mut engines = BTreeMap::new();
        let mut stores = Vec::new();
        let places = SERVICES.map(|described| Place::of(described.service, config, data));
        let opened = open_stores(&places, &ids, clock.as_ref()).await?;
        for ((described, place), store) in SERVICES.iter().zip(&places).zip(opened) {
            stores.push(Arc::clone(&store));
            let parts = Parts {
                store: around.store(described.service, store),
                replica: place.is_shared().then_some(replica),
                clock: Arc::clone(&clock),
                ids: Arc::clone(&ids),
            };
            engines.insert(described.service, Engine::start(described.service, parts).await?);
        }
        let engine = |service: Service| engines.get(&service).expect("every service has an engine").clone();
        let journals = engines.iter().map(|(&service, engine)| {
            (
                service,
                Journal {
                    store: Arc::clone(engine.reader().store()),
                    head: engine.head(),
                },
            )
        });
        let bus = around.bus(Arc::new(EmbeddedBus::new(journals)));

        let keys = Keys::open(&engine(Service::Users)).await?;
        let verifier = Arc::new(Verifier::new(keys.key_source(), Arc::clone(&clock)));
        let access = AccessEvents::new(Arc::clone(&clock), Arc::clone(&ids));
        let ports = users::Ports {
            keys,
            hasher: Arc::new(Argon2Hasher::on_all_processors(Arc::clone(&ids))),
            access: access.clone(),
        };
        let service_secret = config.service_secret.as_ref().map(|secret| secret.reveal().parse());
        let service_secret = service_secret
            .transpose()
            .map_err(|error| anyhow!("service_secret: {error}"))?;
        let users_config = users::Config { service_secret };
        let users = Users::start(engine(Service::Users), &bus, &verifier, ports, users_config).await?;
        let catalog = catalog::Catalog::start(engine(Service::Catalog), &bus, &verifier).await?;
        let inventory = inventory::Inventory::start(engine(Service::Inventory), &bus, &verifier).await?;
        let orders_config = orders::Config {
            payment_window: config.payment_window.get(),
        };
        let orders =
            orders::Orders::start(engine(Service::Orders), &bus, &verifier, access.clone(), &orders_config).await?;
        let provider = Simulated::open(&data.ledger()).context("cannot open the payment ledger")?;
        let provider = around.provider(Arc::new(provider));
        let payments = payments::Payments::start(engine(Service::Payments), &bus, &verifier, provider).await?;
        let notifications_config = notifications::Config {
            templates: config.templates.clone(),
        };
        let notifications = notifications::Notifications::start(
            engine(Service::Notifications),
            &bus,
            &verifier,
            notifications_config,
            Arc::new(InProcess { users: users.clone() }),
            Arc::new(notifications::LogChannel),
        )
        .await?;
        let events = events::Events::start(engine(Service::Events), &bus, &verifier, access).await?;

        let consumers: Vec<Consumers> = [
            users.consumers(),
            catalog.consumers(),
            inventory.consumers(),
            orders.consumers(),
            payments.consumers(),
            notifications.consumers(),
            events.consumers(),
        ]
        .map(Consumers::clone)
        .to_vec();
        if around.is_published_to() {
            for engine in engines.values() {
                relay::start(engine, &bus);
            }
        }
        // So that nobody is served whose order would come before a consumer begins.
        let begun = futures::future::join_all(consumers.iter().map(Consumers::begun));
        if tokio::time::timeout(BEGIN_TIMEOUT, begun).await.is_err() {
            tracing::warn!("some consumers have not begun yet; they go on trying");
        }
        let upstreams = [
            (Service::Users, users.router()),
            (Service::Catalog, catalog.router()),
            (Service::Inventory, inventory.router()),
            (Service::Orders, orders.router()),
            (Service::Payments, payments.router()),
            (Service::Notifications, notifications.router()),
            (Service::Events, events.router()),
        ]
        .map(|(service, router)| (service, Upstream::from(around.router(service, router, &verifier))));
        let process = gateway::health::Process {
            engines: engines.values().cloned().collect(),
            consumers,
            clock: Arc::clone(&clock),
        };
        let door = Gateway::new(gateway_config(config)?, upstreams.into(), verifier, clock, ids)
            .with_health(Arc::new(process))
            .with_metrics(metrics)
            .open();
        Ok(Self {
            door,
            users,
            events,
            engines,
            stores,
        })
    }

    /// The journal of a service.
    pub fn journal(&self, service: Service) -> &Arc<dyn Store> {
        let engine = self.engines.get(&service).expect("every service has an engine");
        engine.reader().store()
    }

    /// Ends what would not end by itself. To be called before the requests under way are waited for.
    pub fn close_streams(&self) {
        self.events.close_streams();
    }

    /// Finishes what was accepted, and closes the stores.
    pub async fn stop(self) {
        futures::future::join_all(self.engines.values().map(Engine::stop_background)).await;
        futures::future::join_all(self.engines.values().map(Engine::stop)).await;
        for store in self.stores {
            store.close().await;
        }
    }
}

fn gateway_config(config: &Config) -> Result<gateway::Config> {
    let timeout = u64::try_from(config.request_timeout.get().as_millis()).context("request_timeout is too long")?;
    Ok(gateway::Config {
        rate_limit: RateLimits {
            anonymous: config.rate_limit_anonymous,
            user: config.rate_limit_user,
            ip: config.rate_limit_ip,
        },
        trusted_proxies: config.trusted_proxies.0.clone(),
        cors_origins: Origins::try_from(config.cors_origins.0.clone())?,
        request_timeout_ms: NonZeroU64::new(timeout).context("request_timeout must be at least a millisecond")?,
        ..gateway::Config::default()
    })
}
