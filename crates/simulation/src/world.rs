//! The shop's services, each living and dying on its own, and what outlives them: stores, broker, provider.

mod outside;
mod ports;
mod request;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::Router;
use contracts::{PaymentId, Service};
use jiff::Timestamp;
use kernel::access::AccessEvents;
use kernel::auth::{Jwks, Verifier};
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::document::Collection;
use kernel::engine::{Engine, Parts, schema};
use kernel::event::LANES_DEFAULT;
use kernel::memory::MemoryStore;
use kernel::rebuild::Fold;
use kernel::relay;
use notifications::LogChannel;
use payments::Payments;
use users::{Keys, SimulatedHasher, Users};

use crate::bus::{Broker, RemoteBus};
use crate::dice::Dice;
use crate::fault::Faults;
use crate::line::{Life, Line};
use crate::poison::Poison;
use crate::provider::{House, RemoteProvider};
use crate::store::RemoteStore;
use crate::trace::Trace;
use crate::world::ports::{Addresses, Published};

pub(crate) use crate::world::request::{Answer, Request};

/// When every run begins.
const NOON: &str = "2026-01-01T12:00:00Z";
/// How long a confirmed order waits for its payment.
pub(crate) const PAYMENT_WINDOW: Duration = Duration::from_secs(120);
/// How long a service stays dead.
const DEAD_MAX: Duration = Duration::from_secs(6);

/// Each service's collections, and how they are folded.
pub(crate) const SERVICES: [(Service, &[&Collection], Fold); 7] = [
    (Service::Users, users::COLLECTIONS, users::fold),
    (Service::Catalog, catalog::COLLECTIONS, catalog::fold),
    (Service::Inventory, inventory::COLLECTIONS, inventory::fold),
    (Service::Orders, orders::COLLECTIONS, orders::fold),
    (Service::Payments, payments::COLLECTIONS, payments::fold),
    (Service::Notifications, notifications::COLLECTIONS, notifications::fold),
    (Service::Events, events::COLLECTIONS, events::fold),
];

/// Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    clock: Arc<ManualClock>,
    ids: Arc<Ids>,
    dice: Dice,
    faults: Arc<Faults>,
    trace: Trace,
    stores: BTreeMap<Service, Arc<MemoryStore>>,
    broker: Broker,
    poison: Poison,
    house: House,
    keys: Arc<OnceLock<Jwks>>,
    running: Mutex<BTreeMap<Service, Running>>,
    /// Every one there ever was.
    engines: Mutex<Vec<Engine>>,
}

/// A service that runs.
#[derive(Clone)]
struct Running {
    life: Arc<Life>,
    engine: Engine,
    router: Router,
    users: Option<Users>,
    payments: Option<Payments>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(dice: &Dice, faults: Arc<Faults>, trace: Trace, seed: u64) -> Self {
        let origin: Timestamp = NOON.parse().expect("a constant time");
        let ids = Arc::new(Ids::from_seed(seed));
        let stores = SERVICES.iter().map(|(service, collections, _)| {
            (
                *service,
                Arc::new(MemoryStore::new(schema(collections), ids.uuid(origin))),
            )
        });
        let stores = stores.collect();
        Self(Arc::new(Inner {
            clock: Arc::new(ManualClock::starting_at(origin)),
            ids,
            dice: dice.clone(),
            faults,
            trace,
            stores,
            broker: Broker::default(),
            poison: Poison::default(),
            house: House::new(),
            keys: Arc::default(),
            running: Mutex::default(),
            engines: Mutex::default(),
        }))
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock) as _
    }

    pub(crate) fn dice(&self) -> &Dice {
        &self.0.dice
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.0.faults
    }

    pub(crate) fn house(&self) -> &House {
        &self.0.house
    }

    pub(crate) fn poison(&self) -> &Poison {
        &self.0.poison
    }

    pub(crate) fn store(&self, service: Service) -> &Arc<MemoryStore> {
        &self.0.stores[&service]
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.0.ids
    }

    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        self.0.trace.note(self.0.clock.as_ref(), what);
    }

    /// Services of which a task has panicked, in any of their lives.
    pub(crate) fn failed(&self) -> Vec<Service> {
        let engines = locked(&self.0.engines);
        let failed = engines.iter().filter(|engine| engine.has_failed());
        failed.map(Engine::service).collect()
    }

    /// Keeps every service running, and makes the weather, for as long as the run lasts.
    pub(crate) fn begin(&self) {
        for (service, ..) in SERVICES {
            tokio::spawn(self.clone().keep_alive(service));
        }
        tokio::spawn(self.clone().make_weather());
    }

    /// Waits until all services run.
    pub(crate) async fn all_run(&self) {
        while locked(&self.0.running).len() < SERVICES.len() {
            self.0.clock.sleep(Duration::from_millis(10)).await;
        }
    }

    async fn keep_alive(self, service: Service) {
        loop {
            let life = Life::new(self.0.broker.bus.joined(LANES_DEFAULT));
            let started = tokio::select! {
                biased;
                () = life.until_ended() => None,
                started = self.start(service, &life) => Some(started),
            };
            match started {
                Some(Ok(running)) => {
                    self.note(|| format!("{service}: runs"));
                    locked(&self.0.running).insert(service, running);
                    life.until_ended().await;
                    locked(&self.0.running).remove(&service);
                }
                Some(Err(error)) => {
                    self.note(|| format!("{service}: cannot start: {error:#}"));
                    life.end();
                }
                None => {}
            }
            self.note(|| format!("{service}: is dead"));
            self.0.clock.sleep(self.0.dice.up_to(DEAD_MAX)).await;
        }
    }

    async fn start(&self, service: Service, life: &Arc<Life>) -> Result<Running> {
        let inner = &self.0;
        let line = Line {
            service,
            life: Arc::clone(life),
            clock: self.clock(),
            dice: inner.dice.clone(),
            faults: Arc::clone(&inner.faults),
            trace: inner.trace.clone(),
        };
        let parts = Parts {
            store: Arc::new(RemoteStore {
                store: Arc::clone(self.store(service)),
                poison: inner.poison.clone(),
                line: line.clone(),
            }),
            replica: None,
            clock: self.clock(),
            ids: Arc::clone(&inner.ids),
        };
        let engine = Engine::start(service, parts).await?;
        locked(&inner.engines).push(engine.clone());
        let bus: Arc<dyn Bus> = Arc::new(RemoteBus {
            broker: inner.broker.clone(),
            poison: inner.poison.clone(),
            line: line.clone(),
        });
        relay::start(&engine, &bus);
        let access = AccessEvents::new(self.clock(), Arc::clone(&inner.ids));
        let keys = Arc::new(Published(Arc::clone(&inner.keys)));
        let verifier = Arc::new(Verifier::new(keys, self.clock()));
        let (router, users, payments) = match service {
            Service::Users => {
                let users = self.start_users(&engine, &bus, access).await?;
                (users.router(), Some(users), None)
            }
            Service::Payments => {
                let house = inner.house.clone();
                let provider = Arc::new(RemoteProvider { house, line });
                let payments = Payments::start(engine.clone(), &bus, &verifier, provider).await?;
                (payments.router(), None, Some(payments))
            }
            _ => {
                let router = self.start_other(&engine, &bus, &verifier, access, service).await?;
                (router, None, None)
            }
        };
        Ok(Running {
            life: Arc::clone(life),
            engine,
            router,
            users,
            payments,
        })
    }

    async fn start_users(&self, engine: &Engine, bus: &Arc<dyn Bus>, access: AccessEvents) -> Result<Users> {
        let keys = Keys::open(engine).await?;
        let jwks = keys.jwks().await?;
        let _ = self.0.keys.set(jwks);
        let verifier = Arc::new(Verifier::new(keys.key_source(), self.clock()));
        let ports = users::Ports {
            keys,
            hasher: Arc::new(SimulatedHasher),
            access,
        };
        Ok(Users::start(engine.clone(), bus, &verifier, ports, users::Config::default()).await?)
    }

    async fn start_other(
        &self,
        engine: &Engine,
        bus: &Arc<dyn Bus>,
        verifier: &Arc<Verifier>,
        access: AccessEvents,
        service: Service,
    ) -> Result<Router> {
        let engine = engine.clone();
        Ok(match service {
            Service::Users | Service::Payments => return Err(anyhow!("{service} are started apart")),
            Service::Catalog => catalog::Catalog::start(engine, bus, verifier).await?.router(),
            Service::Inventory => inventory::Inventory::start(engine, bus, verifier).await?.router(),
            Service::Orders => {
                let config = orders::Config {
                    payment_window: PAYMENT_WINDOW,
                };
                orders::Orders::start(engine, bus, verifier, access, &config)
                    .await?
                    .router()
            }
            Service::Notifications => {
                let addresses = Arc::new(Addresses(Arc::downgrade(&self.0)));
                let config = notifications::Config::default();
                notifications::Notifications::start(engine, bus, verifier, config, addresses, Arc::new(LogChannel))
                    .await?
                    .router()
            }
            Service::Events => events::Events::start(engine, bus, verifier, access).await?.router(),
        })
    }

    /// Makes the admin, whatever it takes.
    pub(crate) async fn make_admin(&self, email: &str, password: &str) {
        loop {
            if let Some(Running {
                life,
                users: Some(users),
                ..
            }) = self.running(Service::Users)
            {
                let email = email.try_into().expect("an e-mail");
                let password = password.try_into().expect("a password");
                let made = tokio::select! {
                    biased;
                    () = life.until_ended() => None,
                    made = users.create_admin(email, password) => made.ok(),
                };
                if made.is_some() {
                    return;
                }
            }
            self.0.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    /// The payer confirms a payment at the provider, or declines to; the provider tells payments until they have noted it.
    pub(crate) async fn confirm(&self, id: PaymentId, succeeds: bool) {
        let Some(authorisation) = self.0.house.act(id, succeeds).await else {
            return;
        };
        self.note(|| format!("the payer of {id} has acted: {authorisation:?}"));
        loop {
            if let Some(Running {
                life,
                payments: Some(payments),
                ..
            }) = self.running(Service::Payments)
            {
                let noting = payments.note_authorisation(id, authorisation.clone(), Context::system("provider"));
                let noted = tokio::select! {
                    biased;
                    () = life.until_ended() => false,
                    noted = noting => noted.is_ok(),
                };
                if noted {
                    return;
                }
            }
            self.0.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Starts a service anew, as with a new release, and waits until it runs.
    pub(crate) async fn release(&self, service: Service) {
        self.note(|| format!("{service}: is released"));
        if let Some(running) = self.running(service) {
            running.life.end();
        }
        while self.running(service).is_none_or(|running| running.life.has_ended()) {
            self.0.clock.sleep(Duration::from_millis(10)).await;
        }
    }

    fn running(&self, service: Service) -> Option<Running> {
        locked(&self.0.running).get(&service).cloned()
    }

    /// Ends every service, for the audit.
    pub(crate) fn end(&self) {
        for running in locked(&self.0.running).values() {
            running.life.end();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
