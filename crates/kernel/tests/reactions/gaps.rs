//! What was lost on the way is noticed, asked for again, and not passed over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::event::{Lane, Position};
use kernel::memory::bus::MemoryBus;
use kernel::relay;
use testkit::faults::{Delivery, LossyBus};
use tokio::time::Instant;

use crate::fixture::{
    Source, Witness, assert_all_seen_once, engine, happen, happen_much, seen, store, until_seen, witness,
};

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
