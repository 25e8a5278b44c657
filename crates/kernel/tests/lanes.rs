//! Replicas of a consumer that share its lanes through a broker.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contracts::{DecodeError, EventData, EventKind, Service};
use jiff::SignedDuration;
use kernel::aggregate::{Occurrence, Projected};
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::document::{Collection, Document, Key, Kind};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::{LANES_DEFAULT, Lane, Position, StreamId};
use kernel::memory::MemoryStore;
use kernel::memory::bus::MemoryBus;
use kernel::reaction::{Consumers, Failed, Reaction, Start};
use kernel::relay;
use kernel::store::Store;
use kernel::unit::{Unit, Views};
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Something that happens in the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Happened {}

impl EventData for Happened {
    const TYPES: &'static [EventKind] = &[EventKind {
        name: "thing.happened",
        schema: 1,
        public: true,
    }];

    fn kind(&self) -> EventKind {
        Self::TYPES[0]
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        serde_json::value::to_raw_value(self)
    }

    fn decode(_: &str, _: u16, data: &str) -> Result<Self, DecodeError> {
        Ok(serde_json::from_str(data).expect("the test's own data"))
    }
}

impl Projected for Happened {
    fn project(&self, _: &Occurrence<'_>, _: &mut Views<'_>) {}
}

/// How often something was done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tally {
    times: u64,
}

impl Document for Tally {
    const COLLECTION: &'static Collection = &Collection {
        name: "tallies",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// Counts the events of each stream.
#[derive(Clone)]
struct Counting {
    start: Start,
    /// How many this replica has handled.
    handled: Arc<AtomicU64>,
    /// It waits at this stream.
    waits_at: Option<&'static str>,
}

impl Reaction for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Catalog]
    }

    fn start(&self) -> Start {
        self.start
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        if self.waits_at == Some(message.event.stream.as_str()) {
            return Err(Failed::Wait("for something".to_owned()));
        }
        let tally = unit.get::<Tally>(&message.event.stream);
        let times = tally.map_or(0, |tally| tally.times) + 1;
        unit.put(&message.event.stream, Tally { times });
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Replica {
    engine: Engine,
    handled: Arc<AtomicU64>,
    consumers: Consumers,
}

/// The journal of the catalogue, a broker, and a store that replicas of orders share.
struct House {
    clock: Arc<ManualClock>,
    catalog: Engine,
    bus: MemoryBus,
    shared: Arc<dyn Store>,
}

impl House {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let memory = |epoch| -> Arc<dyn Store> {
            Arc::new(MemoryStore::new(schema(&[Tally::COLLECTION]), Uuid::from_u128(epoch)))
        };
        let parts = Parts {
            store: memory(1),
            replica: None,
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(Ids::from_seed(1)),
        };
        let catalog = Engine::start(Service::Catalog, parts).await.unwrap();
        let bus = MemoryBus::default();
        relay::start(&catalog, &(Arc::new(bus.clone()) as _));
        Self {
            clock,
            catalog,
            bus,
            shared: memory(2),
        }
    }

    async fn replica(&self, name: u128, start: Start, waits_at: Option<&'static str>) -> Replica {
        let replica = self.starting(name, start, waits_at).await;
        replica.consumers.begun().await;
        replica
    }

    /// One whose consumers may not have begun.
    async fn starting(&self, name: u128, start: Start, waits_at: Option<&'static str>) -> Replica {
        let bus = Arc::new(self.bus.joined(LANES_DEFAULT));
        self.starting_on(bus, Some(name), start, waits_at).await
    }

    /// Without a name it has no others beside it.
    async fn starting_on(
        &self,
        bus: Arc<dyn Bus>,
        name: Option<u128>,
        start: Start,
        waits_at: Option<&'static str>,
    ) -> Replica {
        let parts = Parts {
            store: Arc::clone(&self.shared),
            replica: name.map(Uuid::from_u128),
            clock: Arc::clone(&self.clock) as _,
            ids: Arc::new(Ids::from_entropy()),
        };
        let engine = Engine::start(Service::Orders, parts).await.unwrap();
        let counting = Counting {
            start,
            handled: Arc::default(),
            waits_at,
        };
        bus.declare(&Consumers::groups(Service::Orders, &[Arc::new(counting.clone())]))
            .await
            .unwrap();
        let consumers = Consumers::start(&engine, &bus, vec![Arc::new(counting.clone())]);
        Replica {
            engine,
            handled: counting.handled,
            consumers,
        }
    }

    /// Events happen in the catalogue, each in a stream of its own.
    async fn happen(&self, streams: Range<u64>) {
        for stream in streams {
            let happened = self
                .catalog
                .writer()
                .execute(Priority::Background, Context::system("test"), move |unit| {
                    unit.append(StreamId::new(format!("s{stream}")), 1, Happened {});
                    Ok::<(), writer::Error>(())
                });
            happened.await.unwrap();
        }
    }

    async fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// How often the event of each stream had its effect.
    async fn effects(&self, streams: Range<u64>) -> Vec<u64> {
        let keys: Vec<_> = streams.map(|stream| Key::of::<Tally>(format!("s{stream}"))).collect();
        let found = self.shared.get(&keys).await.unwrap();
        let times = |document: &str| serde_json::from_str::<Tally>(document).unwrap().times;
        found
            .iter()
            .map(|it| it.as_ref().map_or(0, |it| times(&it.document)))
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_handle_the_lanes_that_each_of_them_receives() {
    let house = House::new().await;
    let first = house.replica(1, Start::Beginning, None).await;
    let second = house.replica(2, Start::Beginning, None).await;
    house.happen(0..60).await;
    house.pass(2).await;
    assert_eq!(house.effects(0..60).await, [1; 60]);
    for replica in [&first, &second] {
        assert!(replica.handled.load(Ordering::Relaxed) > 10, "each has its share");
    }
    second.engine.stop().await;
    drop(second);
    house.happen(60..90).await;
    house.pass(30).await;
    assert_eq!(house.effects(60..90).await, [1; 30], "the lanes were taken over");
}

#[tokio::test(start_paused = true)]
async fn a_replica_knows_that_another_one_is_behind() {
    let house = House::new().await;
    let first = house.replica(1, Start::Beginning, Some("s7")).await;
    let second = house.replica(2, Start::Beginning, Some("s7")).await;
    house.pass(3).await;
    let are_behind = || [&first, &second].map(|replica| replica.consumers.is_behind(Service::Catalog));
    assert_eq!(are_behind(), [false; 2]);
    house.happen(0..20).await;
    house.pass(3).await;
    let held = |replica: &Replica| replica.consumers.progress().map(|(_, it)| it.lanes_held()).sum::<u64>();
    assert_eq!(held(&first) + held(&second), 1, "one of them holds the lane");
    assert_eq!(are_behind(), [true; 2]);
    for replica in [&first, &second] {
        let journal = replica.consumers.journal().await.unwrap();
        assert_eq!(journal.consumers[0].lanes_held, 1, "each says so");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_cut_off_from_the_broker_does_not_think_that_it_has_seen_everything() {
    let house = House::new().await;
    let only = house.replica(1, Start::Beginning, None).await;
    house.pass(3).await;
    assert!(!only.consumers.is_behind(Service::Catalog));
    house.bus.stand_still(true);
    house.pass(3).await;
    assert!(only.consumers.is_behind(Service::Catalog));
    house.bus.stand_still(false);
    house.pass(10).await;
    assert!(!only.consumers.is_behind(Service::Catalog));
}

/// A broker whose subscriptions wait for it while it is away.
#[derive(Debug)]
struct PatientBus(MemoryBus);

#[async_trait]
impl Bus for PatientBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.0.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.0.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(Patient(self.0.subscribe(group, from).await?)))
    }
}

struct Patient(Box<dyn Subscription>);

#[async_trait]
impl Subscription for Patient {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            match self.0.receive(max).await {
                Err(BusError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                received => return received,
            }
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.0.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.0.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.0.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.0.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.0.head().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_for_the_broker_does_not_think_that_it_has_seen_everything() {
    let house = House::new().await;
    let bus = Arc::new(PatientBus(house.bus.joined(LANES_DEFAULT)));
    let only = house.starting_on(bus, Some(1), Start::Beginning, None).await;
    only.consumers.begun().await;
    house.pass(3).await;
    assert!(!only.consumers.is_behind(Service::Catalog));
    house.bus.stand_still(true);
    house.pass(3).await;
    assert!(only.consumers.is_behind(Service::Catalog));
    house.bus.stand_still(false);
    house.pass(3).await;
    assert!(!only.consumers.is_behind(Service::Catalog));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_was_not_given_its_lanes_yet_does_not_think_that_it_has_seen_everything() {
    let house = House::new().await;
    let bus: Arc<dyn Bus> = Arc::new(PatientBus(house.bus.joined(LANES_DEFAULT)));
    let group = Group {
        service: Service::Orders,
        consumer: "counting",
        source: Service::Catalog,
    };
    // Who had them before is not known to be gone.
    let before = bus
        .subscribe(&group, vec![Position::START; usize::from(LANES_DEFAULT)])
        .await
        .unwrap();
    let only = house.starting_on(bus, None, Start::Beginning, None).await;
    only.consumers.begun().await;
    house.pass(3).await;
    assert!(only.consumers.is_behind(Service::Catalog));
    drop(before);
    house.pass(10).await;
    assert!(!only.consumers.is_behind(Service::Catalog));
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_broker_is_away_does_not_pass_by_a_consumer_that_begins_now() {
    let house = House::new().await;
    let starting = house.starting(1, Start::Now, None).await;
    house.bus.stand_still(true);
    house.pass(300).await;
    house.happen(0..20).await;
    house.pass(300).await;
    house.bus.stand_still(false);
    house.pass(10).await;
    starting.consumers.begun().await;
    house.pass(2).await;
    assert_eq!(house.effects(0..20).await, [1; 20]);
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_passes_by_a_consumer_that_begins_now() {
    let house = House::new().await;
    house.happen(0..20).await;
    // Of those, nothing is so recent that clocks may say it is older than it is.
    house.pass(25 * 60 * 60).await;
    let first = house.replica(1, Start::Now, None).await;
    house.happen(20..40).await;
    house.pass(2).await;
    assert_eq!(house.effects(0..40).await, [vec![0; 20], vec![1; 20]].concat());
    // It has begun, and does so once: what happens while nobody consumes is not passed by.
    first.engine.stop().await;
    drop(first);
    house.happen(40..60).await;
    house.pass(1).await;
    let _again = house.replica(1, Start::Now, None).await;
    house.pass(2).await;
    assert_eq!(house.effects(40..60).await, [1; 20]);
}

/// Whether it is too old for the broker, or lost though it happened since, nobody can tell.
#[tokio::test(start_paused = true)]
async fn a_consumer_that_begins_now_is_held_by_what_the_broker_has_forgotten_until_it_is_sent_again() {
    let house = House::new().await;
    house.happen(0..20).await;
    house.pass(2).await;
    house.clock.jump(SignedDuration::from_hours(8 * 24));
    house.bus.wipe();
    let first = house.replica(1, Start::Now, None).await;
    house.pass(1).await;
    house.happen(20..40).await;
    house.pass(60).await;
    let journal = first.consumers.journal().await.unwrap();
    assert_eq!(
        (journal.consumers[0].lanes_held, house.effects(20..40).await),
        (8, vec![0; 20])
    );
    relay::republish(&house.catalog, Position::START).await.unwrap();
    house.pass(60).await;
    let journal = first.consumers.journal().await.unwrap();
    assert_eq!(journal.consumers[0].lanes_held, 0);
    assert_eq!(house.effects(0..40).await, [vec![0; 20], vec![1; 20]].concat());
}
