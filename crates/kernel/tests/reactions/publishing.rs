//! The relay: from the journal to the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::event::Position;
use kernel::memory::bus::MemoryBus;
use kernel::relay;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Witness, engine, happen, seen, store, until_seen, witness};

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
