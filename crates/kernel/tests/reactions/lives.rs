//! A source that does not go as far as its consumers.

use std::sync::Arc;
use std::time::Duration;

use contracts::Service;
use kernel::event::{LANES_DEFAULT, Lane, StreamId};

use crate::fixture::{
    Witness, assert_all_seen_once, embedded, engine, happen, happen_much, seen, store, until_seen, witness,
};

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
