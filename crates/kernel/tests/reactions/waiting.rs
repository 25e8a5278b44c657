//! What has to wait holds its lane for as long as it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contracts::Service;
use kernel::bus::Bus as _;
use kernel::event::{LANES_DEFAULT, Lane, StreamId};
use kernel::http::Paging;
use testkit::faults::{Fault, FaultyStore};

use crate::fixture::{
    Source, Witness, assert_all_seen_once, engine, happen, happen_much, seen, store, until_seen, witness,
};

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
