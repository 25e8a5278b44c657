//! The wiring: stores, engines, the bus, services and the gateway, in one process.

mod described;
mod foundation;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use contracts::Service;
use gateway::config::{Origins, RateLimits};
use gateway::{FrontDoor, Gateway, Upstream};
use kernel::access::AccessEvents;
use kernel::auth::Verifier;
use kernel::bus::{Bus, BusError};
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::embedded::Journal;
use kernel::engine::{Engine, Parts};
use kernel::relay;
use kernel::store::{Opened, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use payments::provider::Provider;
use users::{Keys, Users};

use crate::buses::{BusUrl, Surroundings};
use crate::config::Config;
use crate::data::DataDirectory;
use crate::remote::RemoteUsers;
use crate::stores::Place;
use crate::system::foundation::{Foundation, Started};
use crate::topology::Topology;

pub use self::described::{Described, SERVICES};

/// How long the start waits for consumers to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end waits for a broker.
const LEAVE_MAX: Duration = Duration::from_secs(5);

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
    engines: BTreeMap<Service, Engine>,
    stores: Vec<Arc<dyn Opened>>,
    bus: Arc<dyn Bus>,
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
        let mut begun = Vec::new();
        let started = Self::begin(config, topology, data, metrics, around, &mut begun).await;
        if started.is_err() {
            // Others would wait for their leases.
            futures::future::join_all(begun.iter().map(Engine::stop)).await;
        }
        started
    }

    /// The same. What has begun is in `begun`, whatever comes of it.
    async fn begin(
        config: &Config,
        topology: &Topology,
        data: &DataDirectory,
        metrics: PrometheusHandle,
        around: &dyn Around,
        begun: &mut Vec<Engine>,
    ) -> Result<Self> {
        let clock = around.clock(Arc::new(SystemClock::new()));
        let gateway_config = gateway_config(config, topology)?;
        let limits = gateway_config.rate_limit;
        let limiter = match &config.redis {
            Some(url) if limits != RateLimits::OFF => {
                let opened = url.open(limits, Arc::clone(&clock)).await;
                Some(opened.context("requests cannot be counted where TRADEWIND_REDIS says")?)
            }
            _ => None,
        };
        let ids = Arc::new(Ids::from_entropy());
        let replica = data.replica(&ids, clock.as_ref())?;
        let places: Vec<(&Described, Place)> = SERVICES
            .iter()
            .filter(|described| topology.runs(described.service))
            .map(|described| (described, Place::of(described.service, config, data)))
            .collect();
        let stores = open_stores(&places, &ids, clock.as_ref()).await?;
        let mut engines = BTreeMap::new();
        for ((described, place), store) in places.iter().zip(&stores) {
            let parts = Parts {
                store: around.store(described.service, Arc::clone(store) as _),
                replica: place.is_shared().then_some(replica),
                clock: Arc::clone(&clock),
                ids: Arc::clone(&ids),
            };
            let engine = Engine::start(described.service, parts).await;
            let engine = engine.with_context(|| format!("cannot start {} on {place}", described.service))?;
            begun.push(engine.clone());
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
        let mut foundation = Foundation {
            config,
            data,
            around,
            engines,
            pools: BTreeMap::new(),
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
        if topology.runs(Service::Events) {
            let engine = foundation.engine(Service::Events);
            let running = events::Events::start(engine, &foundation.bus, &verifier, access).await?;
            started.push(Started {
                service: Service::Events,
                router: running.router(),
                consumers: running.consumers().clone(),
            });
        }
        if config.bus != BusUrl::Embedded || around.is_published_to() {
            for described in SERVICES.iter().filter(|described| described.is_followed) {
                if let Some(engine) = foundation.engines.get(&described.service) {
                    relay::start(engine, &foundation.bus);
                }
            }
        }
        let groups = started.iter().flat_map(|started| started.consumers.running().cloned());
        // What somebody has to change is said now; a broker that is away will be told by its consumers.
        if let Err(error @ BusError::Differs { .. }) = foundation.bus.declare(&groups.collect::<Vec<_>>()).await {
            return Err(error).context(
                "the broker cannot be used: change that there, or name another ?prefix= in TRADEWIND_BUS for streams of its own",
            );
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
        let mut way_in = Gateway::new(gateway_config, upstreams, verifier, clock, ids)
            .with_health(Arc::new(process))
            .with_metrics(metrics);
        if let Some(limiter) = limiter {
            way_in = way_in.with_limiter(limiter);
        }
        let door = way_in.open();
        let Foundation { engines, bus, .. } = foundation;
        Ok(Self {
            door,
            users,
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use kernel::bus::{Group, Message, Subscription};
    use kernel::event::Position;

    use super::*;
    use crate::metrics;

    /// A broker on which the journals have other lanes.
    #[derive(Debug)]
    struct OtherwiseMade;

    #[async_trait]
    impl Bus for OtherwiseMade {
        async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
            let source = groups.first().map_or(Service::Orders, |group| group.source);
            Err(BusError::lanes(source, 12, 8))
        }

        async fn publish(&self, _: Vec<Message>) -> Result<(), BusError> {
            Err(BusError::new("no"))
        }

        async fn subscribe(&self, _: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
            Err(BusError::new("no"))
        }
    }

    impl Around for OtherwiseMade {
        fn bus(&self, _: Arc<dyn Bus>) -> Arc<dyn Bus> {
            Arc::new(Self)
        }
    }

    #[tokio::test]
    async fn a_broker_with_other_settings_is_refused_at_the_start() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = DataDirectory::lock(directory.path()).expect("nobody else has it");
        let config = Config::with(&[]).expect("nothing is wrong with the defaults");
        let metrics = metrics::install().expect("the recorder is installed");
        let started = System::start(&config, &Topology::whole(), &data, metrics, &OtherwiseMade).await;
        let error = format!("{:#}", started.map(drop).expect_err("it does not start"));
        assert!(error.contains("?prefix="), "{error}");
        assert!(error.contains("lanes 12 on the broker, and 8 is configured"), "{error}");
    }
}
