//! Replicas of payments on one store have one ledger, or do not start.

use std::fs;

use contracts::Service;
use kernel::engine::Engine;
use payments::COLLECTIONS;
use payments::simulated::{Simulated, StartError};
use tempfile::TempDir;
use testkit::harness::Harness;

use crate::shop::Shop;

async fn engine() -> Engine {
    Harness::new(Service::Payments, COLLECTIONS).await.engine()
}

fn is_elsewhere(opened: &Result<Simulated, StartError>) -> bool {
    matches!(opened, Err(StartError::Elsewhere { .. }))
}

#[tokio::test]
async fn a_replica_with_a_ledger_of_its_own_is_refused() {
    let (engine, directory) = (engine().await, TempDir::new().unwrap());
    let [one, another] = ["one", "another"].map(|name| directory.path().join(name));
    for _ in 0..2 {
        Simulated::open_for(&engine, &one).await.unwrap();
    }
    for _ in 0..2 {
        let refused = Simulated::open_for(&engine, &another).await.unwrap_err();
        let said = refused.to_string();
        for part in [
            one.to_str().unwrap(),
            another.to_str().unwrap(),
            "TRADEWIND_SIMULATED_LEDGER",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!another.exists());
    }
    // Carried to another place it is the same, and to go on without it somebody has to say so.
    fs::rename(&one, &another).unwrap();
    Simulated::open_for(&engine, &another).await.unwrap();
    assert!(is_elsewhere(&Simulated::open_for(&engine, &one).await));
    fs::write(&one, "").unwrap();
    Simulated::open_for(&engine, &one).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_with_a_history_that_came_without_its_ledger_is_refused() {
    let directory = TempDir::new().unwrap();
    let [left, here] = ["left", "here"].map(|name| directory.path().join(name));
    let shop = Shop::with(Simulated::open(&left).unwrap()).await;
    shop.pay(shop.confirmed().await).await.unwrap();
    let engine = shop.harness.engine();
    let refused = Simulated::open_for(&engine, &here).await.unwrap_err().to_string();
    assert!(refused.contains("take payment-ledger.jsonl along"), "{refused}");
    assert!(!here.exists());
    fs::rename(&left, &here).unwrap();
    Simulated::open_for(&engine, &here).await.unwrap();
}

#[tokio::test]
async fn a_ledger_from_before_is_noted() {
    let (engine, directory) = (engine().await, TempDir::new().unwrap());
    let [one, another] = ["one", "another"].map(|name| directory.path().join(name));
    drop(Simulated::open(&one).unwrap());
    Simulated::open_for(&engine, &one).await.unwrap();
    assert!(is_elsewhere(&Simulated::open_for(&engine, &another).await));
}

#[tokio::test]
async fn of_two_ledgers_that_are_begun_at_once_one_is_refused() {
    let (engine, directory) = (engine().await, TempDir::new().unwrap());
    let [one, another] = ["one", "another"].map(|name| directory.path().join(name));
    let both = || async {
        tokio::join!(
            Simulated::open_for(&engine, &one),
            Simulated::open_for(&engine, &another)
        )
    };
    for _ in 0..2 {
        let (one, another) = both().await;
        one.unwrap();
        assert!(is_elsewhere(&another));
    }
}

#[tokio::test]
async fn replicas_that_start_at_once_begin_one_ledger() {
    let (engine, directory) = (engine().await, TempDir::new().unwrap());
    let path = directory.path().join("ledger");
    let (one, another) = tokio::join!(Simulated::open_for(&engine, &path), Simulated::open_for(&engine, &path));
    one.unwrap();
    another.unwrap();
    assert!(path.exists());
}
