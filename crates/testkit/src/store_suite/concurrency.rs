//! Several writers at once, on two handles as two replicas of a service would have them.

use std::sync::Arc;

use kernel::event::Position;
use kernel::store::{Conflict, Expect, Store};
use tokio::task::JoinSet;

use super::StoreFactory;
use super::fixture::{batch, everything, get, note};
use super::journal::assert_whole;
use super::model::Random;

/// Tasks that write at the same time.
const WRITERS: usize = 8;

async fn two_handles(factory: &dyn StoreFactory) -> [Arc<dyn Store>; 2] {
    [factory.open().await, factory.open().await]
}

pub async fn concurrent_committers_share_one_dense_order(factory: &dyn StoreFactory) {
    const ROUNDS: u64 = 25;
    let stores = two_handles(factory).await;
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let store = Arc::clone(&stores[number % 2]);
        writers.spawn(async move {
            let (name, mut random) = (format!("w{number}"), Random(number as u64));
            let mut ends = Vec::new();
            for round in 1..=ROUNDS {
                let mut draft = batch().by(&name).event(&name, round);
                for more in 0..random.below(6) {
                    draft = draft.event(&format!("{name}-{round}-{more}"), 1);
                }
                // Some are refused in the middle of it all, and must leave no gap.
                let refused = batch().by(&name).event(&format!("{name}-{round}-r"), 1);
                let refused = refused
                    .put_note("none", "{}", Expect::Version(1))
                    .commit_patiently(&store)
                    .await;
                assert_eq!(refused, Err(vec![Conflict::Document(note("none"))]));
                let committed = draft
                    .commit_patiently(&store)
                    .await
                    .expect("nobody else writes these streams");
                ends.push((name.clone(), round, committed.last));
            }
            ends
        });
    }

    let ends = writers.join_all().await.concat();
    let tail = stores[0]
        .tail(Position::START, usize::MAX)
        .await
        .expect("the tail is read");
    assert_eq!(tail.head.position.0, tail.events.len() as u64, "a position is missing");
    assert_whole(&tail.head, &tail.events);
    // Each answer names the end of the batch's own events, which lie together.
    for (name, round, last) in ends {
        let prefix = format!("{name}-{round}-");
        let at = |position: u64| &tail.events[usize::try_from(position - 1).expect("a small number")];
        let mut first = last.0;
        while at(first).stream.as_str().starts_with(&prefix) {
            first -= 1;
        }
        assert_eq!((at(first).stream.as_str(), at(first).version), (name.as_str(), round));
    }
}

pub async fn of_many_claims_to_one_key_exactly_one_wins(factory: &dyn StoreFactory) {
    let stores = two_handles(factory).await;
    for round in 0..10 {
        let key = format!("claim{round}");
        let mut claims = JoinSet::new();
        for number in 0..WRITERS {
            let (store, key) = (Arc::clone(&stores[number % 2]), key.clone());
            claims.spawn(async move {
                let draft = batch()
                    .by(&format!("w{number}"))
                    .put_note(&key, &number.to_string(), Expect::Absent);
                draft.commit_patiently(&store).await.map(|_| number)
            });
        }
        let mut winners = Vec::new();
        for outcome in claims.join_all().await {
            match outcome {
                Ok(winner) => winners.push(winner.to_string()),
                Err(conflicts) => assert_eq!(conflicts, [Conflict::Document(note(&key))]),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?} all have the key");
        let stored = get(&stores[1], note(&key)).await.expect("somebody won");
        assert_eq!((stored.version, &*stored.document), (1, &*winners[0]));
    }
}

pub async fn no_update_is_lost(factory: &dyn StoreFactory) {
    const ADDED: u64 = 15;
    let stores = two_handles(factory).await;
    batch().put_note("count", "0", Expect::Absent).commit(&stores[0]).await;
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let store = Arc::clone(&stores[number % 2]);
        writers.spawn(async move {
            let mut added = 0;
            while added < ADDED {
                let seen = get(&store, note("count")).await.expect("the count is there");
                let count: u64 = seen.document.parse().expect("the count is a number");
                let next = (count + 1).to_string();
                let draft = batch()
                    .by(&format!("w{number}"))
                    .put_note("count", &next, Expect::Version(seen.version));
                added += u64::from(draft.commit_patiently(&store).await.is_ok());
            }
        });
    }
    writers.join_all().await;
    let stored = get(&stores[1], note("count")).await.expect("the count is there");
    let total = ADDED * WRITERS as u64;
    assert_eq!((stored.version, &*stored.document), (total + 1, &*total.to_string()));
}

/// Write skew: each batch is fine alone, and both together break a rule that neither sees broken.
pub async fn of_two_batches_that_read_what_the_other_writes_one_is_refused(factory: &dyn StoreFactory) {
    let stores = two_handles(factory).await;
    for round in 0..20 {
        let keys = [format!("left{round}"), format!("right{round}")];
        let mut claims = JoinSet::new();
        for (number, store) in stores.iter().enumerate() {
            let (store, keys) = (Arc::clone(store), keys.clone());
            claims.spawn(async move {
                let draft = batch().by(&format!("w{number}")).read(note(&keys[1 - number]), None);
                draft
                    .put_note(&keys[number], "{}", Expect::Absent)
                    .commit_patiently(&store)
                    .await
                    .is_ok()
            });
        }
        let won = claims.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(everything(&stores[0]).await.documents.len(), 20);
}

pub async fn a_commit_is_seen_by_whoever_reads_after_it(factory: &dyn StoreFactory) {
    let stores = two_handles(factory).await;
    for version in 1..=50 {
        let writer = &stores[usize::from(version % 2 == 0)];
        let last = batch()
            .event("s", version)
            .put_note("n", &version.to_string(), Expect::Any)
            .commit(writer)
            .await
            .last;
        for store in &stores {
            assert_eq!(get(store, note("n")).await.expect("it is there").version, version);
            assert_eq!(
                store
                    .tail(Position::START, 0)
                    .await
                    .expect("the tail is read")
                    .head
                    .position,
                last
            );
        }
    }
}
