//! Each event has its effect once and in order, whatever the bus does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::Service;
use kernel::bus::Bus;
use kernel::event::Position;
use kernel::freshness::{self, Missing};
use kernel::relay;
use testkit::faults::{Delivery, FaultyStore, LossyBus};

use crate::fixture::{
    STREAMS, Source, Witness, accounts, assert_all_seen_once, embedded, engine, engine_at, happen_much, seen, store,
    until_seen, witness,
};

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

/// A batch that is not full says nothing: a broker hands out what it has read by then.
#[tokio::test(start_paused = true)]
async fn whoever_receives_what_is_old_has_not_seen_everything() {
    let source = Source::new().await;
    let target = engine(Service::Inventory, store(2)).await;
    let consumers = witness(&target, &source.bus(), Witness::default());
    happen_much(&source.engine, 1..=1).await;
    assert_all_seen_once(&target, 1).await;
    assert!(
        consumers.is_behind(Service::Catalog),
        "at the start nobody knows what is still to come"
    );
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!consumers.is_behind(Service::Catalog));
    relay::republish(&source.engine, Position::START).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(consumers.is_behind(Service::Catalog), "more of it may be on its way");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!consumers.is_behind(Service::Catalog), "nothing came for a while");
    happen_much(&source.engine, 2..=2).await;
    assert_all_seen_once(&target, 2).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(
        !consumers.is_behind(Service::Catalog),
        "what is new has nothing behind it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_behind_until_what_it_received_is_committed() {
    let source = Source::new().await;
    let faulty = FaultyStore::new(store(2));
    let target = engine(Service::Inventory, Arc::clone(&faulty) as _).await;
    let consumers = witness(&target, &source.bus(), Witness::default());
    happen_much(&source.engine, 1..=1).await;
    assert_all_seen_once(&target, 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
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
