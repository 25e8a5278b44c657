//! What consumers owe: order, exactly one effect, nothing lost or dropped in silence, whatever the bus does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contracts::{DeadLetterId, DecodeError, EventData, EventKind, Service};
use kernel::aggregate::{Occurrence, Projected};
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::clock::{Ids, ManualClock};
use kernel::context::{Claim, Context};
use kernel::document::{Collection, Document, Kind};
use kernel::embedded::{EmbeddedBus, Journal};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::{LANES_DEFAULT, Lane, Position, StreamId};
use kernel::freshness::{self, Missing};
use kernel::http::Paging;
use kernel::memory::MemoryStore;
use kernel::memory::bus::MemoryBus;
use kernel::reaction::{Checkpoint, Consumers, Failed, LetterError, Reaction, Start};
use kernel::relay;
use kernel::store::{Query, Store};
use kernel::unit::{Unit, Views};
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use testkit::faults::{Delivery, Fault, FaultyStore, LossyBus};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const STREAMS: u64 = 20;

/// Something that happens in the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Happened {
    number: u64,
}

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

/// The versions of a stream that the consumer saw, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    versions: Vec<u64>,
}

impl Document for Seen {
    const COLLECTION: &'static Collection = &Collection {
        name: "seen",
        kind: Kind::Replica { consumer: "witness" },
        columns: &[],
        indexes: &[],
    };
}

/// Notes what it sees; trips over version 2 of the stream `bad` as told.
#[derive(Clone, Default)]
struct Witness {
    trips: Arc<AtomicBool>,
    panics: bool,
    waits: Arc<AtomicBool>,
    from_now: bool,
}

impl Reaction for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Catalog]
    }

    fn start(&self) -> Start {
        if self.from_now { Start::Now } else { Start::Beginning }
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let event = &message.event;
        let mut seen = unit
            .get::<Seen>(&event.stream)
            .map(|seen| Seen::clone(&seen))
            .unwrap_or_default();
        seen.versions.push(event.version);
        unit.put(&event.stream, seen);
        let stumbles = event.stream.as_str() == "bad" && event.version == 2;
        if stumbles && self.waits.load(Ordering::Relaxed) {
            return Err(Failed::Wait("for something".to_owned()));
        }
        if stumbles && self.trips.load(Ordering::Relaxed) {
            assert!(!self.panics, "told to panic");
            return Err(Failed::Poison("told to fail".to_owned()));
        }
        Ok(())
    }
}

static SEEDS: AtomicU64 = AtomicU64::new(1);

fn store(epoch: u128) -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(
        schema(&[Seen::COLLECTION]),
        uuid::Uuid::from_u128(epoch),
    ))
}

async fn engine(service: Service, store: Arc<dyn Store>) -> Engine {
    engine_at("2026-01-01T00:00:00Z", service, store).await
}

async fn engine_at(time: &str, service: Service, store: Arc<dyn Store>) -> Engine {
    let clock = Arc::new(ManualClock::starting_at(time.parse().unwrap()));
    let ids = Arc::new(Ids::from_seed(SEEDS.fetch_add(1, Ordering::Relaxed)));
    Engine::start(
        service,
        Parts {
            store,
            replica: None,
            clock,
            ids,
        },
    )
    .await
    .unwrap()
}

/// A source whose journal is relayed to a broker.
struct Source {
    engine: Engine,
    bus: MemoryBus,
    stop: CancellationToken,
}

impl Source {
    async fn new() -> Self {
        let source = Self {
            engine: engine(Service::Catalog, store(1)).await,
            bus: MemoryBus::default(),
            stop: CancellationToken::new(),
        };
        tokio::spawn(relay::run(
            source.engine.clone(),
            Arc::new(source.bus.clone()),
            source.stop.clone(),
        ));
        source
    }

    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.bus.clone())
    }
}

/// The `version`th event of a stream happens.
async fn happen(engine: &Engine, stream: &str, version: u64) {
    let stream = StreamId::new(stream);
    let happened = engine
        .writer()
        .execute(Priority::Background, Context::system("test"), move |unit| {
            unit.append(stream.clone(), version, Happened { number: version });
            Ok::<(), writer::Error>(())
        });
    happened.await.unwrap();
}

async fn happen_much(engine: &Engine, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        for stream in 0..STREAMS {
            happen(engine, &format!("s{stream}"), version).await;
        }
    }
}

async fn seen(engine: &Engine, stream: &str) -> Vec<u64> {
    engine
        .reader()
        .get::<Seen>(stream)
        .await
        .unwrap()
        .map(|seen| seen.versions.clone())
        .unwrap_or_default()
}

/// Waits until a stream was seen up to a version; fails after ten minutes of its own time.
async fn until_seen(engine: &Engine, stream: &str, version: u64) {
    for _ in 0..6000 {
        if seen(engine, stream).await.last().is_some_and(|last| *last >= version) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "{stream} was seen up to {:?}, not {version}",
        seen(engine, stream).await
    );
}

async fn assert_all_seen_once(engine: &Engine, last: u64) {
    for stream in 0..STREAMS {
        until_seen(engine, &format!("s{stream}"), last).await;
        assert_eq!(
            seen(engine, &format!("s{stream}")).await,
            (1..=last).collect::<Vec<_>>(),
            "stream {stream}"
        );
    }
}

/// What has become of the source's events: how many were applied, are parked, were discarded. Together, in each lane, as
/// many as there were up to the checkpoint.
async fn accounts(target: &Engine, source: &Engine) -> [u64; 3] {
    let journal = source
        .reader()
        .store()
        .tail(Position::START, 1000)
        .await
        .unwrap()
        .events;
    let checkpoints = Query::all(Checkpoint::COLLECTION, 1000);
    let mut sums = [0; 3];
    for found in target.reader().store().query(&checkpoints).await.unwrap() {
        let checkpoint: serde_json::Value = serde_json::from_str(&found.stored.document).unwrap();
        let lane: u16 = found.id.rsplit('/').next().unwrap().parse().unwrap();
        let counts = ["applied", "parked", "discarded"].map(|name| checkpoint[name].as_u64().unwrap());
        let position = checkpoint["position"].as_u64().unwrap();
        let events = journal
            .iter()
            .filter(|event| event.lane.0 == lane && event.position.0 <= position);
        assert_eq!(
            counts.iter().sum::<u64>(),
            events.count() as u64,
            "{} {checkpoint}",
            found.id
        );
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    sums
}

fn witness(engine: &Engine, bus: &Arc<dyn Bus>, witness: Witness) -> Consumers {
    Consumers::start(engine, bus, vec![Arc::new(witness)])
}

#[tokio::test(start_paused = true)]
async fn each_event_has_its_effect_once_and_in_order_when_messages_are_lost_and_doubled() {
    let source = Source::new().await;
    let fates: Mutex<BTreeMap<u64, u32>> = Mutex::default();
    let bus: Arc<dyn Bus> = Arc::new(LossyBus::new(source.bus(), move |message| {
        let mut fates = fates.lock().unwrap();
        let tries = fates.entry(message.event.position.0).or_default();
        *tries += 1;
        match message.event.position.0 {
            position if position % 7 == 0 && *tries < 3 => Delivery::Lost,
            position if position % 5 == 0 => Delivery::Twice,
            _ => Delivery::Once,
        }
    }));
    let target = engine(Service::Inventory, store(2)).await;
    let _consumers = witness(&target, &bus, Witness::default());
    happen_much(&source.engine, 1..=10).await;
    assert_all_seen_once(&target, 10).await;
    assert_eq!(accounts(&target, &source.engine).await, [10 * STREAMS, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_consumer_loses_and_doubles_nothing() {
    let source = Source::new().await;
    let target_store = store(2);
    for round in 0..5 {
        let target = engine(Service::Inventory, Arc::clone(&target_store)).await;
        let _consumers = witness(&target, &source.bus(), Witness::default());
        happen_much(&source.engine, round * 3 + 1..=round * 3 + 3).await;
        target.stop().await;
    }
    let target = engine(Service::Inventory, target_store).await;
    let _consumers = witness(&target, &source.bus(), Witness::default());
    assert_all_seen_once(&target, 15).await;
    assert_eq!(accounts(&target, &source.engine).await, [15 * STREAMS, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_behind_until_what_it_received_is_committed() {
    let source = Source::new().await;
    let faulty = FaultyStore::new(store(2));
    let target = engine(Service::Inventory, Arc::clone(&faulty) as _).await;
    let consumers = witness(&target, &source.bus(), Witness::default());
    happen_much(&source.engine, 1..=1).await;
    assert_all_seen_once(&target, 1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!consumers.is_behind(Service::Catalog));
    faulty.close();
    happen_much(&source.engine, 2..=2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(seen(&target, "s0").await, [1]);
    assert!(consumers.is_behind(Service::Catalog), "it says what it has not seen");
    faulty.open();
    assert_all_seen_once(&target, 2).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!consumers.is_behind(Service::Catalog));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_about_when_the_newest_event_was_may_be_on_its_way_whatever_the_clock_says() {
    let source = Source::new().await;
    let target = engine_at("2025-12-31T23:00:00Z", Service::Inventory, store(2)).await;
    let consumers = witness(&target, &source.bus(), Witness::default());
    let made_at = source.engine.clock().now();
    let missing = |made_at| freshness::missing(&target, &consumers, Service::Catalog, Some(made_at));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(missing(made_at), Missing::Unknown, "an hour from now");
    happen_much(&source.engine, 1..=1).await;
    assert_all_seen_once(&target, 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(missing(made_at), Missing::CatchingUp);
    assert_eq!(missing(made_at + Duration::from_secs(120)), Missing::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_wiped_broker_is_seen_as_a_gap_and_healed_by_republishing() {
    let source = Source::new().await;
    let target = engine(Service::Inventory, store(2)).await;
    let consumers = witness(&target, &source.bus(), Witness::default());
    happen_much(&source.engine, 1..=2).await;
    assert_all_seen_once(&target, 2).await;
    target.stop().await;
    happen_much(&source.engine, 3..=4).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    source.bus.wipe();
    let target = engine(Service::Inventory, Arc::clone(target.reader().store())).await;
    drop(consumers);
    let consumers = witness(&target, &source.bus(), Witness::default());
    happen_much(&source.engine, 5..=5).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(consumers.is_behind(Service::Catalog), "the gap is reported");
    assert_eq!(consumers.journal().await.unwrap().consumers[0].lanes_held, 8);
    assert_eq!(seen(&target, "s0").await, [1, 2], "and nothing behind it is taken");
    relay::republish(&source.engine, Position::START).await.unwrap();
    assert_all_seen_once(&target, 5).await;
}

/// A broker that hands the first messages over in the order of these batches, by position, and then as it should.
#[derive(Debug)]
struct DisorderlyBus(MemoryBus, &'static [&'static [u64]]);

#[async_trait]
impl Bus for DisorderlyBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.0.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.0.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(Disorderly {
            inner: self.0.subscribe(group, from).await?,
            received: Vec::new(),
            batches: self.1,
        }))
    }
}

struct Disorderly {
    inner: Box<dyn Subscription>,
    received: Vec<Message>,
    batches: &'static [&'static [u64]],
}

#[async_trait]
impl Subscription for Disorderly {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        let Some((batch, rest)) = self.batches.split_first() else {
            return self.inner.receive(max).await;
        };
        let wanted = self.batches.iter().flat_map(|batch| batch.iter()).max().copied();
        while self.received.last().map(|message| message.event.position.0) < wanted {
            self.received.extend(self.inner.receive(max).await?);
        }
        self.batches = rest;
        let at = |position: &u64| {
            self.received
                .iter()
                .find(|it| it.event.position.0 == *position)
                .cloned()
        };
        Ok(batch.iter().filter_map(at).collect())
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.inner.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.inner.head().await
    }
}

/// What came behind a gap and was left aside comes again, also where the gap closes by itself before it is asked for.
#[tokio::test(start_paused = true)]
async fn what_came_behind_a_gap_is_not_forgotten_when_the_gap_closes_by_itself() {
    const ORDERS: [&[&[u64]]; 5] = [
        &[&[1, 3, 4], &[2, 3]],
        &[&[1, 3, 4, 2, 3]],
        &[&[3, 4], &[1, 2, 3]],
        &[&[4], &[3], &[1, 2]],
        &[&[4], &[1, 3], &[2, 3]],
    ];
    for batches in ORDERS {
        let source = Source::new().await;
        let bus: Arc<dyn Bus> = Arc::new(DisorderlyBus(source.bus.clone(), batches));
        let target = engine(Service::Inventory, store(2)).await;
        let _consumers = witness(&target, &bus, Witness::default());
        for version in 1..=4 {
            happen(&source.engine, "s0", version).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(seen(&target, "s0").await, [1, 2, 3, 4], "{batches:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_again_and_lost_again_is_asked_for_once_more() {
    let source = Source::new().await;
    let tries: Mutex<BTreeMap<u64, u32>> = Mutex::default();
    let bus: Arc<dyn Bus> = Arc::new(LossyBus::new(source.bus(), move |message| {
        let position = message.event.position.0;
        let mut tries = tries.lock().unwrap();
        let tries = tries.entry(position).or_default();
        *tries += 1;
        // The second is lost twice, and so is what would show it the second time.
        match (position, *tries) {
            (2, 1 | 2) | (3, 2) => Delivery::Lost,
            _ => Delivery::Once,
        }
    }));
    let target = engine(Service::Inventory, store(2)).await;
    let _consumers = witness(&target, &bus, Witness::default());
    for version in 1..=3 {
        happen(&source.engine, "s0", version).await;
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(seen(&target, "s0").await, [1, 2, 3]);
}

/// A broker that takes its time to hand out each batch, and counts how often it is asked for a lane again.
#[derive(Debug)]
struct ThoroughBus {
    bus: MemoryBus,
    each: Duration,
    rewinds: Arc<AtomicU64>,
}

impl ThoroughBus {
    fn new(bus: &MemoryBus, each: Duration) -> Arc<Self> {
        Arc::new(Self {
            bus: bus.clone(),
            each,
            rewinds: Arc::default(),
        })
    }
}

#[async_trait]
impl Bus for ThoroughBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.bus.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.bus.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(Thorough {
            inner: self.bus.subscribe(group, from).await?,
            each: self.each,
            next: Instant::now() + self.each,
            rewinds: Arc::clone(&self.rewinds),
        }))
    }
}

struct Thorough {
    inner: Box<dyn Subscription>,
    each: Duration,
    next: Instant,
    rewinds: Arc<AtomicU64>,
}

#[async_trait]
impl Subscription for Thorough {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        tokio::time::sleep_until(self.next).await;
        let received = self.inner.receive(max).await;
        self.next = Instant::now() + self.each;
        received
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.rewinds.fetch_add(1, Ordering::Relaxed);
        self.inner.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.inner.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.inner.head().await
    }
}

/// The broker has lost the first of these events.
async fn without_its_first(events: u64) -> Source {
    let source = Source::new().await;
    happen(&source.engine, "s0", 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    source.bus.wipe();
    for version in 2..=events {
        happen(&source.engine, "s0", version).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    source
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_for_less_and_less_often_however_much_is_behind_it() {
    let source = without_its_first(3 * 256).await;
    let bus = ThoroughBus::new(&source.bus, Duration::from_millis(1));
    let target = engine(Service::Inventory, store(2)).await;
    let consumers = witness(&target, &(Arc::clone(&bus) as _), Witness::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let rewinds = bus.rewinds.load(Ordering::Relaxed);
    assert!((10..=20).contains(&rewinds), "{rewinds} times in a minute");
    assert!(consumers.is_behind(Service::Catalog));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_found_at_the_end_however_slowly_that_is_come_to() {
    const EVENTS: u64 = 8 * 256;
    // More slowly than what is missing is asked for again at first, and nearly as slowly as later.
    for each in [300, 4000] {
        let source = without_its_first(EVENTS).await;
        let target = engine(Service::Inventory, store(2)).await;
        let bus = ThoroughBus::new(&source.bus, Duration::from_millis(each));
        let _consumers = witness(&target, &(bus as _), Witness::default());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(seen(&target, "s0").await, [0; 0]);
        relay::republish(&source.engine, Position::START).await.unwrap();
        until_seen(&target, "s0", EVENTS).await;
        assert_eq!(seen(&target, "s0").await, (1..=EVENTS).collect::<Vec<_>>());
    }
}

/// What was lost on its way and is still there is asked for, however much is always coming behind it.
#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_for_also_while_the_lane_goes_on() {
    let source = Source::new().await;
    let is_lost = AtomicBool::new(false);
    let bus: Arc<dyn Bus> = Arc::new(LossyBus::new(source.bus(), move |message| {
        let is_first = message.event.position.0 == 1 && !is_lost.swap(true, Ordering::Relaxed);
        if is_first { Delivery::Lost } else { Delivery::Once }
    }));
    let target = engine(Service::Inventory, store(2)).await;
    let _consumers = witness(&target, &bus, Witness::default());
    for version in 1..=200 {
        happen(&source.engine, "s0", version).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen(&target, "s0").await.len() > 100, "long before there is a pause");
}

/// A broker that is away until it is let in.
#[derive(Debug)]
struct AwayBus(MemoryBus, AtomicBool);

#[async_trait]
impl Bus for AwayBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.0.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        if self.1.load(Ordering::Relaxed) {
            return Err(BusError::new("it is away"));
        }
        self.0.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.0.subscribe(group, from).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_is_published_to_soon_after_its_return_however_long_it_was_away() {
    let source = engine(Service::Catalog, store(1)).await;
    let bus = MemoryBus::default();
    let away = Arc::new(AwayBus(bus.clone(), AtomicBool::new(true)));
    tokio::spawn(relay::run(
        source.clone(),
        Arc::clone(&away) as _,
        CancellationToken::new(),
    ));
    let target = engine(Service::Inventory, store(2)).await;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let _consumers = witness(&target, &bus, Witness::default());
    happen(&source, "s0", 1).await;
    // Long enough for a pause that doubles to become nearly a minute, and not over by itself.
    tokio::time::sleep(Duration::from_secs(60)).await;
    away.1.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(seen(&target, "s0").await, [1]);
}

/// A broker that takes its time.
#[derive(Debug)]
struct SlowBus(MemoryBus);

const SLOW: Duration = Duration::from_secs(2);

#[async_trait]
impl Bus for SlowBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.0.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.0.publish(messages).await?;
        tokio::time::sleep(SLOW).await;
        Ok(())
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.0.subscribe(group, from).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_under_way_leaves_the_cursor_to_who_has_all_published_again() {
    let source = engine(Service::Catalog, store(1)).await;
    let bus = MemoryBus::default();
    let (slow, stop) = (Arc::new(SlowBus(bus.clone())), CancellationToken::new());
    tokio::spawn(relay::run(source.clone(), slow, stop));
    happen(&source, "s0", 1).await;
    tokio::time::sleep(SLOW * 2).await;
    happen(&source, "s0", 2).await;
    tokio::time::sleep(SLOW / 2).await;
    bus.wipe();
    relay::republish(&source, Position::START).await.unwrap();
    let target = engine(Service::Inventory, store(2)).await;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let _consumers = witness(&target, &bus, Witness::default());
    until_seen(&target, "s0", 2).await;
    assert_eq!(seen(&target, "s0").await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn publishing_again_from_where_nothing_was_published_yet_passes_nothing_over() {
    let source = engine(Service::Catalog, store(1)).await;
    let bus = MemoryBus::default();
    let away = Arc::new(AwayBus(bus.clone(), AtomicBool::new(false)));
    tokio::spawn(relay::run(
        source.clone(),
        Arc::clone(&away) as _,
        CancellationToken::new(),
    ));
    happen(&source, "s0", 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    away.1.store(true, Ordering::Relaxed);
    for version in 2..=4 {
        happen(&source, "s0", version).await;
    }
    relay::republish(&source, Position(3)).await.unwrap();
    away.1.store(false, Ordering::Relaxed);
    let target = engine(Service::Inventory, store(2)).await;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let _consumers = witness(&target, &bus, Witness::default());
    until_seen(&target, "s0", 4).await;
    assert_eq!(seen(&target, "s0").await, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn poison_parks_its_own_stream_and_the_others_go_on() {
    for panics in [false, true] {
        let source = Source::new().await;
        let target = engine(Service::Inventory, store(2)).await;
        let trips = Arc::new(AtomicBool::new(true));
        let consumers = witness(
            &target,
            &source.bus(),
            Witness {
                trips: Arc::clone(&trips),
                panics,
                ..Witness::default()
            },
        );
        for version in 1..=4 {
            happen(&source.engine, "bad", version).await;
        }
        happen_much(&source.engine, 1..=3).await;
        assert_all_seen_once(&target, 3).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(seen(&target, "bad").await, [1]);
        let letters = consumers.dead_letters().list(&Paging::default()).await.unwrap().data;
        assert_eq!(letters.len(), 3, "the event itself and the two that follow it");
        assert_eq!(accounts(&target, &source.engine).await, [3 * STREAMS + 1, 3, 0]);
        assert_eq!(
            letters
                .iter()
                .filter(|letter| letter.behind == Some(letters[0].id))
                .count(),
            2
        );
        let admin = Context {
            actor: "usr_admin".into(),
            ..Context::system("test")
        };
        let behind = consumers.dead_letters().retry(letters[1].id, admin.clone()).await;
        assert!(
            matches!(behind, Err(LetterError::Behind { first }) if first == letters[0].id),
            "{behind:?}"
        );
        let still = consumers.dead_letters().retry(letters[0].id, admin.clone()).await;
        assert!(matches!(still, Err(LetterError::StillFails(_))), "{still:?}");
        trips.store(false, Ordering::Relaxed);
        assert_eq!(consumers.dead_letters().retry(letters[0].id, admin).await.unwrap(), 3);
        assert_eq!(seen(&target, "bad").await, [1, 2, 3, 4]);
        assert_eq!(accounts(&target, &source.engine).await, [3 * STREAMS + 4, 0, 0]);
        happen(&source.engine, "bad", 5).await;
        until_seen(&target, "bad", 5).await;
        assert!(
            consumers
                .dead_letters()
                .list(&Paging::default())
                .await
                .unwrap()
                .data
                .is_empty()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_discarded_letter_is_given_up_in_somebodys_name_and_the_rest_can_go_on() {
    let source = Source::new().await;
    let target = engine(Service::Inventory, store(2)).await;
    let trips = Arc::new(AtomicBool::new(true));
    let consumers = witness(
        &target,
        &source.bus(),
        Witness {
            trips,
            ..Witness::default()
        },
    );
    for version in 1..=3 {
        happen(&source.engine, "bad", version).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let letters = consumers.dead_letters();
    let ids: Vec<DeadLetterId> = letters
        .list(&Paging::default())
        .await
        .unwrap()
        .data
        .into_iter()
        .map(|letter| letter.id)
        .collect();
    let admin = Context {
        actor: "usr_admin".into(),
        ..Context::system("test")
    };
    let keyed = |key: &str| Context {
        claim: Some(Claim {
            id: key.into(),
            principal: "usr_admin".into(),
            fingerprint: "{}".into(),
        }),
        ..admin.clone()
    };
    for _ in 0..2 {
        letters.discard(ids[0], keyed("discard")).await.unwrap();
        assert_eq!(accounts(&target, &source.engine).await, [1, 1, 1]);
    }
    for _ in 0..2 {
        assert_eq!(letters.retry(ids[1], keyed("retry")).await.unwrap(), 1);
    }
    assert_eq!(seen(&target, "bad").await, [1, 3]);
    assert_eq!(accounts(&target, &source.engine).await, [2, 0, 1]);
    let again = letters.discard(ids[0], admin).await;
    assert!(matches!(again, Err(LetterError::Unknown(_))), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_holds_its_lane_for_as_long_as_it_takes_and_is_never_parked() {
    let source = Source::new().await;
    let target = engine(Service::Inventory, store(2)).await;
    let waits = Arc::new(AtomicBool::new(true));
    let consumers = witness(
        &target,
        &source.bus(),
        Witness {
            waits: Arc::clone(&waits),
            ..Witness::default()
        },
    );
    for version in 1..=3 {
        happen(&source.engine, "bad", version).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(seen(&target, "bad").await, [1]);
    assert!(
        consumers
            .dead_letters()
            .list(&Paging::default())
            .await
            .unwrap()
            .data
            .is_empty()
    );
    waits.store(false, Ordering::Relaxed);
    until_seen(&target, "bad", 3).await;
    assert_eq!(seen(&target, "bad").await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_another_subscriber_receives_by_now_is_not_held_here() {
    let source = Source::new().await;
    let target = engine(Service::Inventory, store(2)).await;
    let waits = Arc::new(AtomicBool::new(true));
    let waiting = Witness {
        waits: Arc::clone(&waits),
        ..Witness::default()
    };
    let consumers = witness(&target, &source.bus(), waiting);
    for version in 1..=3 {
        happen(&source.engine, "bad", version).await;
    }
    let held = || {
        consumers
            .progress()
            .map(|(_, progress)| progress.lanes_held())
            .sum::<u64>()
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(held(), 1);
    // Of three subscribers, the first keeps the lanes 0 to 2, and the stream is in the fourth.
    assert_eq!(Lane::of(&StreamId::new("bad"), LANES_DEFAULT), Lane(3));
    let (group, _) = consumers.progress().next().unwrap();
    let others = [
        source.bus.subscribe(group, Vec::new()).await.unwrap(),
        source.bus.subscribe(group, Vec::new()).await.unwrap(),
    ];
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(held(), 0);
    assert!(
        consumers.is_behind(Service::Catalog),
        "nobody else sees them for this store"
    );
    drop(others);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(held(), 1, "it is received here again");
    waits.store(false, Ordering::Relaxed);
    until_seen(&target, "bad", 3).await;
    assert_eq!(seen(&target, "bad").await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_is_waited_for() {
    let source = Source::new().await;
    let faulty = FaultyStore::new(store(2));
    let target = engine(Service::Inventory, Arc::clone(&faulty) as _).await;
    faulty.fail_next([
        Fault::Unavailable,
        Fault::UnknownAfter,
        Fault::Unavailable,
        Fault::UnknownBefore,
        Fault::Unavailable,
    ]);
    let consumers = witness(&target, &source.bus(), Witness::default());
    happen_much(&source.engine, 1..=4).await;
    assert_all_seen_once(&target, 4).await;
    assert!(
        consumers
            .dead_letters()
            .list(&Paging::default())
            .await
            .unwrap()
            .data
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn content_that_the_store_refuses_is_parked_alone() {
    let source = Source::new().await;
    let faulty = FaultyStore::new(store(2));
    faulty.refuse_content("[1,2,3]");
    let target = engine(Service::Inventory, Arc::clone(&faulty) as _).await;
    happen(&source.engine, "bad", 1).await;
    happen(&source.engine, "bad", 2).await;
    happen(&source.engine, "bad", 3).await;
    happen(&source.engine, "good", 1).await;
    let consumers = witness(&target, &source.bus(), Witness::default());
    until_seen(&target, "good", 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(seen(&target, "bad").await, [1, 2]);
    let letters = consumers.dead_letters().list(&Paging::default()).await.unwrap().data;
    assert_eq!(
        letters.iter().map(|letter| letter.subject.as_str()).collect::<Vec<_>>(),
        ["bad"]
    );
}

fn embedded(source: &Engine) -> Arc<dyn Bus> {
    let journal = Journal {
        store: Arc::clone(source.reader().store()),
        head: source.head(),
    };
    Arc::new(EmbeddedBus::new([(Service::Catalog, journal)]))
}

#[tokio::test(start_paused = true)]
async fn the_embedded_bus_hands_over_every_event_once_and_in_order() {
    let source = engine(Service::Catalog, store(1)).await;
    happen_much(&source, 1..=3).await;
    let target = engine(Service::Inventory, store(2)).await;
    let _consumers = witness(&target, &embedded(&source), Witness::default());
    happen_much(&source, 4..=9).await;
    assert_all_seen_once(&target, 9).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_starts_from_now_sees_nothing_older_and_misses_nothing_after_a_restart() {
    let source = engine(Service::Catalog, store(1)).await;
    happen_much(&source, 1..=2).await;
    let faulty = FaultyStore::new(store(2));
    let target = engine(Service::Inventory, Arc::clone(&faulty) as _).await;
    faulty.close();
    let from_now = Witness {
        from_now: true,
        ..Witness::default()
    };
    let consumers = witness(&target, &embedded(&source), from_now.clone());
    let begun = tokio::time::timeout(Duration::from_secs(5), consumers.begun()).await;
    assert!(begun.is_err(), "where it begins is not noted yet");
    faulty.open();
    consumers.begun().await;
    happen_much(&source, 3..=3).await;
    until_seen(&target, "s0", 3).await;
    target.stop().await;
    happen_much(&source, 4..=4).await;
    let target = engine(Service::Inventory, Arc::clone(target.reader().store())).await;
    let _consumers = witness(&target, &embedded(&source), from_now);
    for stream in 0..STREAMS {
        until_seen(&target, &format!("s{stream}"), 4).await;
        assert_eq!(seen(&target, &format!("s{stream}")).await, [3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_beyond_its_source_is_halted_and_the_others_go_on() {
    let lane = |stream: &str| Lane::of(&StreamId::new(stream), LANES_DEFAULT);
    let other = (0..100).map(|number| format!("t{number}"));
    let other = other.into_iter().find(|it| lane(it) != lane("s0")).unwrap();
    let source = engine(Service::Catalog, store(1)).await;
    let target_store = store(2);
    let target = engine(Service::Inventory, Arc::clone(&target_store)).await;
    let _consumers = witness(&target, &embedded(&source), Witness::default());
    for version in 1..=3 {
        happen(&source, "s0", version).await;
    }
    until_seen(&target, "s0", 3).await;
    target.stop().await;

    let restored = engine(Service::Catalog, store(1)).await;
    happen(&restored, "s0", 1).await;
    happen(&restored, &other, 1).await;
    let target = engine(Service::Inventory, target_store).await;
    let consumers = witness(&target, &embedded(&restored), Witness::default());
    until_seen(&target, &other, 1).await;
    happen(&restored, &other, 2).await;
    until_seen(&target, &other, 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(seen(&target, "s0").await, [1, 2, 3]);
    let held: Vec<u64> = consumers
        .progress()
        .map(|(_, progress)| progress.lanes_held())
        .collect();
    assert_eq!(held, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_source_restored_from_an_older_backup_halts_its_consumers() {
    let source = engine(Service::Catalog, store(1)).await;
    happen_much(&source, 1..=3).await;
    let target = engine(Service::Inventory, store(2)).await;
    let _consumers = witness(&target, &embedded(&source), Witness::default());
    assert_all_seen_once(&target, 3).await;
    target.stop().await;
    for epoch in [1, 9] {
        // The same life of the journal, or a new one; in both, positions are used twice.
        let restored = engine(Service::Catalog, store(epoch)).await;
        happen_much(&restored, 1..=1).await;
        let target = engine(Service::Inventory, Arc::clone(target.reader().store())).await;
        let consumers = witness(&target, &embedded(&restored), Witness::default());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(consumers.is_behind(Service::Catalog), "epoch {epoch}");
        if epoch == 9 {
            // A new life is told apart even when the positions have grown past the checkpoints.
            happen_much(&restored, 2..=6).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert!(consumers.is_behind(Service::Catalog), "epoch {epoch}");
        }
        target.stop().await;
    }
    assert_eq!(seen(&target, "s0").await, [1, 2, 3]);
}
