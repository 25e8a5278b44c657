//! Several replicas of a service on one store.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contracts::{DecodeError, EventData, EventKind, Service};
use kernel::aggregate::{Occurrence, Projected};
use kernel::bus::{Bus, Message};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::document::{Collection, Document, Key, Kind};
use kernel::embedded::{EmbeddedBus, Journal};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::StreamId;
use kernel::freshness::{self, Missing};
use kernel::memory::MemoryStore;
use kernel::reaction::{Consumers, Failed, Reaction};
use kernel::store::Store;
use kernel::unit::{Unit, Views};
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use testkit::faults::{Fault, FaultyStore};
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
#[derive(Clone, Default)]
struct Counting {
    /// Whether this replica was handed any.
    handed: Arc<AtomicBool>,
    waits: Arc<AtomicBool>,
}

impl Reaction for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Catalog]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        if self.waits.load(Ordering::Relaxed) {
            return Err(Failed::Wait("for something".to_owned()));
        }
        let tally = unit.get::<Tally>(&message.event.stream);
        let times = tally.map_or(0, |tally| tally.times) + 1;
        unit.put(&message.event.stream, Tally { times });
        self.handed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

struct Replica {
    engine: Engine,
    store: Arc<FaultyStore>,
    counting: Counting,
    consumers: Consumers,
}

/// Two stores in memory, the journal of the catalogue and one that is shared, under one clock.
struct House {
    clock: Arc<ManualClock>,
    catalog: Engine,
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
        Self {
            clock,
            catalog: Engine::start(Service::Catalog, parts).await.unwrap(),
            shared: memory(2),
        }
    }

    async fn replica(&self, name: u128) -> Replica {
        let store = FaultyStore::new(Arc::clone(&self.shared));
        let parts = Parts {
            store: Arc::clone(&store) as _,
            replica: Some(Uuid::from_u128(name)),
            clock: Arc::clone(&self.clock) as _,
            ids: Arc::new(Ids::from_entropy()),
        };
        let engine = Engine::start(Service::Orders, parts).await.unwrap();
        let journal = Journal {
            store: Arc::clone(self.catalog.reader().store()),
            head: self.catalog.head(),
        };
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new([(Service::Catalog, journal)]));
        let counting = Counting::default();
        let consumers = Consumers::start(&engine, &bus, vec![Arc::new(counting.clone())]);
        Replica {
            engine,
            store,
            counting,
            consumers,
        }
    }

    /// Events happen in the catalogue, each in a stream of its own.
    async fn happen(&self, streams: Range<u64>) {
        for stream in streams {
            happen(&self.catalog, stream).await;
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

async fn happen(engine: &Engine, stream: u64) {
    let happened = engine
        .writer()
        .execute(Priority::Background, Context::system("test"), move |unit| {
            unit.append(StreamId::new(format!("s{stream}")), 1, Happened {});
            Ok::<(), writer::Error>(())
        });
    happened.await.unwrap();
}

impl Replica {
    /// Whether it was handed any event.
    fn has_worked(&self) -> bool {
        self.counting.handed.load(Ordering::Relaxed)
    }

    /// Its connection to the store breaks, for as long as it lives.
    fn is_cut_off(&self) {
        self.store.fail_next(std::iter::repeat_n(Fault::Unavailable, 100_000));
    }
}

#[tokio::test(start_paused = true)]
async fn one_replica_at_a_time_works_and_another_goes_on_when_it_stops() {
    let house = House::new().await;
    let (first, second) = (house.replica(1).await, house.replica(2).await);
    first.consumers.begun().await;
    second.consumers.begun().await;
    house.happen(0..20).await;
    house.pass(2).await;
    let (worked, stood_by) = if first.has_worked() {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!((worked.has_worked(), stood_by.has_worked()), (true, false));

    worked.engine.stop().await;
    house.happen(20..30).await;
    house.pass(3).await;
    assert!(stood_by.has_worked(), "what is given back is taken at once");
    assert_eq!(house.effects(0..30).await, [1; 30]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_cut_off_is_relieved_when_its_lease_has_lapsed() {
    let house = House::new().await;
    let first = house.replica(1).await;
    first.consumers.begun().await;
    let second = house.replica(2).await;
    second.consumers.begun().await;
    house.happen(0..10).await;
    house.pass(2).await;
    first.is_cut_off();
    house.happen(10..20).await;
    house.pass(9).await;
    assert!(!second.has_worked(), "a lease lasts 15 s from its last renewal");
    house.pass(12).await;
    assert!(second.has_worked());
    assert_eq!(house.effects(0..20).await, [1; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_started_again_goes_on_at_once() {
    let house = House::new().await;
    let first = house.replica(1).await;
    first.consumers.begun().await;
    // As if it had been killed: its lease is not given back.
    first.is_cut_off();
    let again = house.replica(1).await;
    house.happen(0..10).await;
    house.pass(2).await;
    assert_eq!(house.effects(0..10).await, [1; 10]);
    assert!(again.has_worked());
}

#[tokio::test(start_paused = true)]
async fn both_of_two_replicas_that_think_they_hold_the_lease_do_no_harm() {
    let house = House::new().await;
    let (first, second) = (house.replica(1).await, house.replica(1).await);
    for replica in [&first, &second] {
        replica.consumers.begun().await;
    }
    house.happen(0..50).await;
    house.pass(10).await;
    assert_eq!(house.effects(0..50).await, [1; 50]);
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_commits_is_announced_in_the_other() {
    let house = House::new().await;
    let (first, second) = (house.replica(1).await, house.replica(2).await);
    let mut head = second.engine.head();
    head.mark_unchanged();
    happen(&first.engine, 0).await;
    let before = house.clock.monotonic();
    head.changed().await.unwrap();
    assert!(house.clock.monotonic() - before <= Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stands_by_knows_what_the_other_has_not_seen() {
    let house = House::new().await;
    let first = house.replica(1).await;
    first.consumers.begun().await;
    let second = house.replica(2).await;
    second.consumers.begun().await;
    let missing = || freshness::missing(&second.engine, &second.consumers, Service::Catalog, None);
    house.pass(10).await;
    assert_eq!(missing(), Missing::Unknown);

    first.counting.waits.store(true, Ordering::Relaxed);
    house.happen(0..1).await;
    house.pass(10).await;
    assert_eq!(missing(), Missing::CatchingUp);

    first.counting.waits.store(false, Ordering::Relaxed);
    house.pass(20).await;
    assert_eq!(missing(), Missing::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_store_is_in_use_while_a_replica_keeps_its_lease_up() {
    let house = House::new().await;
    let in_use = async || {
        kernel::lease::is_in_use(house.shared.as_ref(), house.clock.as_ref())
            .await
            .unwrap()
    };
    assert!(!in_use().await, "nobody has ever worked on it");
    let replica = house.replica(1).await;
    house.pass(1).await;
    assert!(in_use().await);
    // As good as killed: it renews nothing any more.
    replica.store.close();
    house.pass(10).await;
    assert!(!in_use().await);
    replica.store.open();
    house.pass(10).await;
    assert!(in_use().await);
    replica.store.close();
    house.pass(10).await;
    let waits = house.replica(2).await;
    assert!(in_use().await, "by one that waits for the lease of the first");
    waits.engine.stop_background().await;
    let asked = house.clock.monotonic();
    assert!(!in_use().await);
    assert_eq!(
        house.clock.monotonic(),
        asked,
        "a lease that was given back is not waited for"
    );
}
