//! What cannot be handled holds its own stream and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contracts::{DeadLetterId, Service};
use kernel::context::{Claim, Context};
use kernel::http::Paging;
use kernel::reaction::LetterError;
use testkit::faults::FaultyStore;

use crate::fixture::{
    STREAMS, Source, Witness, accounts, assert_all_seen_once, engine, happen, happen_much, seen, store, until_seen,
    witness,
};

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
