//! The shop's services, each living and dying on its own, and what outlives them: stores, broker, provider.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use contracts::{PaymentId, Service, UserId};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use kernel::access::AccessEvents;
use kernel::auth::{Caller, FetchError, Jwks, KeySource, Verifier};
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::document::Collection;
use kernel::engine::{Engine, Parts, schema};
use kernel::event::Position;
use kernel::memory::MemoryStore;
use kernel::rebuild::Fold;
use kernel::relay;
use notifications::{LogChannel, Recipient, Recipients, Unavailable};
use payments::Payments;
use serde_json::Value;
use tower::ServiceExt as _;
use users::{Keys, SimulatedHasher, Users};

use crate::bus::{Broker, RemoteBus};
use crate::dice::Dice;
use crate::fault::{Fault, Faults};
use crate::line::{Life, Line};
use crate::poison::Poison;
use crate::provider::{House, RemoteProvider};
use crate::store::RemoteStore;
use crate::trace::Trace;

/// When every run begins.
const NOON: &str = "2026-01-01T12:00:00Z";
/// How long a confirmed order waits for its payment.
pub(crate) const PAYMENT_WINDOW: Duration = Duration::from_secs(120);
/// How long a service stays dead.
const DEAD_MAX: Duration = Duration::from_secs(6);
/// How long a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often there is weather: a crash out of the blue, a broker that goes down.
const WEATHER_PAUSE: Duration = Duration::from_secs(2);
/// How long the broker stays down.
const OUTAGE_MAX: Duration = Duration::from_secs(20);
/// Where a path has its id, after the empty part before the first slash.
const ID_PLACE: usize = 3;
/// How far the clock jumps.
const JUMP_MAX: Duration = Duration::from_secs(240);

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

/// What a service answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
    /// The problem's code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// What a repetition is to be answered too: everything but which request a problem was the answer to.
    pub(crate) fn to_all(&self) -> (u16, String) {
        let mut problem = self.json.clone();
        match problem.as_object_mut().and_then(|problem| problem.remove("instance")) {
            Some(_) => (self.status, problem.to_string()),
            None => (self.status, self.text.clone()),
        }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) body: Option<Value>,
    /// Which service, where the path does not tell.
    pub(crate) to: Option<Service>,
}

impl Request {
    /// What is asked for: the route, and of two things on one route, which.
    pub(crate) fn action(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let parts = path.split('/').enumerate();
        let route: Vec<&str> = parts
            .map(|(place, part)| if place == ID_PLACE { "{id}" } else { part })
            .collect();
        let body = self.body.as_ref().unwrap_or(&Value::Null);
        let which = match (body["status"].as_str(), body["delta"].as_i64()) {
            (Some(status), _) => format!(" {status}"),
            (None, Some(delta)) if delta < 0 => " less".to_owned(),
            (None, Some(_)) => " more".to_owned(),
            (None, None) => String::new(),
        };
        format!("{} {}{which}", self.method, route.join("/"))
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
            let life = Life::new();
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
            shared: false,
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
        engine.spawn(|stop| relay::run(engine.clone(), Arc::clone(&bus), stop));
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

    /// Sends a request to the service of its path; `None` if no answer came.
    pub(crate) async fn send(&self, request: &Request) -> Option<Answer> {
        let running = self.running(request.to.unwrap_or_else(|| owner_of(&request.path)))?;
        let mut http = http::Request::builder().method(request.method).uri(&request.path);
        if let Some(token) = &request.token {
            http = http.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = &request.key {
            http = http.header("idempotency-key", key);
        }
        let body = match &request.body {
            Some(body) => {
                http = http.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let http = http.body(body).expect("the simulation's own requests are valid");
        let answered = async {
            let response = running.router.clone().oneshot(http).await.ok()?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.ok()?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(Answer {
                status: parts.status.as_u16(),
                json: serde_json::from_str(&text).unwrap_or_default(),
                text,
            })
        };
        let gone = self.0.faults.strikes(Fault::ClientGone);
        let patience = match gone {
            true => self.0.dice.up_to(Duration::from_millis(20)),
            false => CLIENT_TIMEOUT,
        };
        let answer = tokio::select! {
            biased;
            () = running.life.until_ended() => None,
            answer = answered => answer,
            () = self.0.clock.sleep(patience) => None,
        };
        self.note(|| {
            let said = answer.as_ref().map(|answer| (answer.status, answer.code().to_owned()));
            format!("{} {} {:?}: {said:?}", request.method, request.path, request.key)
        });
        answer
    }

    async fn make_weather(self) {
        loop {
            self.0.clock.sleep(self.0.dice.up_to(WEATHER_PAUSE)).await;
            let faults = &self.0.faults;
            if faults.strikes(Fault::CrashAnyTime) {
                let service = SERVICES[usize::try_from(self.0.dice.below(7)).unwrap_or_default()].0;
                self.note(|| format!("{service}: dies"));
                if let Some(running) = self.running(service) {
                    running.life.end();
                }
            }
            if faults.strikes(Fault::BrokerDown) {
                let outage = self.0.dice.up_to(OUTAGE_MAX);
                self.note(|| format!("the broker is down for {outage:?}"));
                self.0.broker.goes_down_until(self.0.clock.monotonic() + outage);
            }
            if faults.strikes(Fault::BrokerWiped) {
                self.note(|| "the broker has lost everything".to_owned());
                self.0.broker.bus.wipe();
                tokio::spawn(self.clone().republish());
            }
            if faults.strikes(Fault::ClockJumps) {
                let by = SignedDuration::try_from(self.0.dice.up_to(JUMP_MAX)).unwrap_or_default();
                let by = if self.0.dice.percent(50) { by } else { -by };
                self.note(|| format!("the clock jumps by {by}"));
                self.0.clock.jump(by);
            }
        }
    }

    /// What an operator does once the broker was wiped: has every journal published again from its beginning.
    async fn republish(self) {
        self.0.clock.sleep(Duration::from_secs(1)).await;
        for (service, ..) in SERVICES {
            while !self.republished(service).await {
                self.0.clock.sleep(Duration::from_secs(1)).await;
            }
            self.note(|| format!("{service}: is published again"));
        }
    }

    async fn republished(&self, service: Service) -> bool {
        let Some(running) = self.running(service) else {
            return false;
        };
        tokio::select! {
            biased;
            () = running.life.until_ended() => false,
            done = relay::republish(&running.engine, Position::START) => done.is_ok(),
        }
    }

    /// Ends whatever goes wrong from outside.
    pub(crate) fn calm_down(&self) {
        self.note(|| "nothing goes wrong any more".to_owned());
        self.0.faults.set_active(false);
        self.0.broker.goes_down_until(Duration::ZERO);
    }

    /// Ends every service, for the audit.
    pub(crate) fn end(&self) {
        for running in locked(&self.0.running).values() {
            running.life.end();
        }
    }
}

fn owner_of(path: &str) -> Service {
    let of = |prefix: &str| path.starts_with(prefix);
    match path {
        _ if of("/api/products") => Service::Catalog,
        _ if of("/api/inventory") => Service::Inventory,
        _ if of("/api/orders") => Service::Orders,
        _ if of("/api/payments") => Service::Payments,
        _ if of("/api/notifications") => Service::Notifications,
        _ if of("/api/events") => Service::Events,
        _ => Service::Users,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys that users have published.
#[derive(Debug)]
struct Published(Arc<OnceLock<Jwks>>);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        let keys = self.0.get().cloned();
        keys.ok_or_else(|| FetchError::new("users have not started yet"))
    }
}

/// Users, asked for addresses. The world has the service that asks, and not the other way round.
struct Addresses(Weak<Inner>);

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

#[async_trait]
impl Recipients for Addresses {
    async fn recipient(&self, user: UserId) -> Result<Option<Recipient>, Unavailable> {
        let world = self.0.upgrade().map(World);
        let running = world.and_then(|world| world.running(Service::Users));
        let Some(Running {
            life,
            users: Some(users),
            ..
        }) = running
        else {
            return Err(Unavailable("users are not there".to_owned()));
        };
        let context = Context::system("notifications");
        let found = tokio::select! {
            biased;
            () = life.until_ended() => return Err(Unavailable("users have gone".to_owned())),
            found = users.user(user, Caller::Service(Service::Notifications), &context) => found,
        };
        match found {
            Ok(user) => Ok(Some(Recipient {
                email: user.email,
                name: user.name,
            })),
            Err(users::Error::Unknown) => Ok(None),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }
}
