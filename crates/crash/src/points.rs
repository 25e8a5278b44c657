//! The ports of the shop with points at which the process dies, and a clock that jumps.

use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use contracts::{Service, Slug};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use kernel::auth::Verifier;
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::clock::Clock;
use kernel::document::{Document as _, Key};
use kernel::event::{Lane, Position, Recorded, StreamId};
use kernel::reaction::Checkpoint;
use kernel::store::{Batch, CommitError, Committed, Found, Query, Store, StoreError, Stored, Tail};
use payments::provider::{self, Authorisation, Capture, Charge, Held, Provider, Refund, Return, UnknownMethod, Void};
use tradewind::system::Around;

use crate::broker::Published;
use crate::plan::{Death, Jump, Plan, Point};

/// Around every port, as planned.
#[derive(Debug)]
pub(crate) struct Points {
    plan: Plan,
    fuse: Arc<Fuse>,
}

impl Points {
    pub(crate) fn new(plan: Plan) -> Self {
        let fuse = Arc::new(Fuse {
            death: plan.death,
            met: AtomicU32::new(0),
        });
        Self { plan, fuse }
    }
}

impl Around for Points {
    fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        match self.plan.jump {
            Some(jump) => Arc::new(Jumping {
                clock,
                jump,
                said: Once::new(),
            }),
            None => clock,
        }
    }

    fn store(&self, service: Service, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let fuse = Arc::clone(&self.fuse);
        Arc::new(MinedStore { store, service, fuse })
    }

    fn bus(&self, bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
        let bus = match &self.plan.broker {
            Some(directory) => Arc::new(Published::open(bus, directory)),
            None => bus,
        };
        let fuse = Arc::clone(&self.fuse);
        Arc::new(MinedBus { bus, fuse })
    }

    fn is_published_to(&self) -> bool {
        self.plan.broker.is_some()
    }

    fn provider(&self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        let fuse = Arc::clone(&self.fuse);
        Arc::new(MinedProvider { provider, fuse })
    }

    fn router(&self, service: Service, router: Router, _: &Arc<Verifier>) -> Router {
        let fuse = Arc::clone(&self.fuse);
        router.layer(from_fn(move |request: Request, next: Next| {
            let fuse = Arc::clone(&fuse);
            async move {
                let answer = next.run(request).await;
                fuse.reach(Point::BeforeAnswer, service);
                answer
            }
        }))
    }
}

/// Counts how often the point of a death was reached.
#[derive(Debug)]
struct Fuse {
    death: Option<Death>,
    met: AtomicU32,
}

impl Fuse {
    /// Where the process may die, as by `kill -9`: nothing is run or written afterwards.
    fn reach(&self, point: Point, service: Service) {
        let is_here = |death: &Death| (death.point, death.service) == (point, service);
        let Some(death) = self.death.as_ref().filter(|death| is_here(death)) else {
            return;
        };
        if self.met.fetch_add(1, Ordering::Relaxed) + 1 != death.nth {
            return;
        }
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        killed.expect("a process may kill itself");
        loop {
            std::thread::park();
        }
    }
}

/// What stands in the log when somebody has seen the clock jump.
pub(crate) const JUMPED: &str = "the clock has jumped";

/// A clock that jumps once.
#[derive(Debug)]
struct Jumping {
    clock: Arc<dyn Clock>,
    jump: Jump,
    said: Once,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        if self.clock.monotonic() < Duration::from_millis(self.jump.after_ms) {
            return self.clock.now();
        }
        self.said.call_once(|| eprintln!("{JUMPED}"));
        self.clock.now() + SignedDuration::from_secs(self.jump.by_s)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

/// A store with points around its commits.
#[derive(Debug)]
struct MinedStore {
    store: Arc<dyn Store>,
    service: Service,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl Store for MinedStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        let has_checkpoint = batch
            .puts
            .iter()
            .any(|put| put.key.collection == Checkpoint::COLLECTION.name);
        let (before, after) = match has_checkpoint {
            true => (Point::BeforeCheckpoint, Point::AfterCheckpoint),
            false => (Point::BeforeCommit, Point::AfterCommit),
        };
        self.fuse.reach(before, self.service);
        let committed = self.store.commit(batch).await;
        self.fuse.reach(after, self.service);
        committed
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.store.get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        self.store.query(query).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.stream(id, from_version, limit).await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        self.store.tail(after, limit).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.store.scrub().await
    }
}

/// A bus with points around what is published, received and acknowledged.
#[derive(Debug)]
struct MinedBus {
    bus: Arc<dyn Bus>,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl Bus for MinedBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.bus.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let source = messages.first().map(|message| message.source);
        let reach = |point| source.into_iter().for_each(|source| self.fuse.reach(point, source));
        reach(Point::BeforePublish);
        let published = self.bus.publish(messages).await;
        reach(Point::AfterPublish);
        published
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(MinedSubscription {
            subscription: self.bus.subscribe(group, from).await?,
            service: group.service,
            fuse: Arc::clone(&self.fuse),
        }))
    }
}

struct MinedSubscription {
    subscription: Box<dyn Subscription>,
    service: Service,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl Subscription for MinedSubscription {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        let received = self.subscription.receive(max).await;
        self.fuse.reach(Point::OnReceipt, self.service);
        received
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.fuse.reach(Point::BeforeAcknowledgement, self.service);
        self.subscription.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.subscription.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.subscription.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.subscription.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.subscription.head().await
    }
}

/// A provider with points around its calls.
#[derive(Debug)]
struct MinedProvider {
    provider: Arc<dyn Provider>,
    fuse: Arc<Fuse>,
}

impl MinedProvider {
    async fn call<T>(&self, call: impl Future<Output = T> + Send) -> T {
        self.fuse.reach(Point::BeforeCall, Service::Payments);
        let answer = call.await;
        self.fuse.reach(Point::AfterCall, Service::Payments);
        answer
    }
}

#[async_trait]
impl Provider for MinedProvider {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn method(&self, asked: Option<Slug>) -> Result<Option<Slug>, UnknownMethod> {
        self.provider.method(asked)
    }

    async fn authorise(&self, charge: &Charge, key: &str) -> Result<Authorisation, provider::Error> {
        self.call(self.provider.authorise(charge, key)).await
    }

    async fn capture(&self, held: &Held, key: &str) -> Result<Capture, provider::Error> {
        self.call(self.provider.capture(held, key)).await
    }

    async fn void(&self, held: &Held, key: &str) -> Result<Void, provider::Error> {
        self.call(self.provider.void(held, key)).await
    }

    async fn refund(&self, held: &Held, refund: &Return, key: &str) -> Result<Refund, provider::Error> {
        self.call(self.provider.refund(held, refund, key)).await
    }
}
