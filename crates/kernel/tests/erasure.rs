//! Erasure: whoever is gone is refused by every replica, and what is kept of the person is deleted in the end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contracts::{Role, Service, SessionId, UserId};
use jiff::SignedDuration;
use kernel::auth::{Caller, Jwks, User, Verifier};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::deadline::Expired;
use kernel::engine::{Engine, Parts, schema};
use kernel::erasure::{self, Purge};
use kernel::memory::MemoryStore;
use kernel::store::{Store, StoreError};
use kernel::writer::{self, Priority};
use testkit::faults::FaultyStore;
use uuid::Uuid;

/// Notes whom it was told to purge; cannot while it is told so.
#[derive(Default)]
struct Purged {
    users: Mutex<Vec<UserId>>,
    fails: AtomicBool,
}

#[async_trait]
impl Purge for Purged {
    async fn purge(&self, user: UserId) -> Expired {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::new("told to fail").into());
        }
        self.users.lock().unwrap().push(user);
        Ok(())
    }
}

struct Replica {
    engine: Engine,
    verifier: Arc<Verifier>,
    purged: Arc<Purged>,
}

impl Replica {
    async fn start(store: &Arc<dyn Store>, clock: &Arc<ManualClock>, shared: bool) -> Self {
        let ids = Arc::new(Ids::from_entropy());
        let parts = Parts {
            store: Arc::clone(store),
            replica: shared.then(|| ids.uuid(jiff::Timestamp::UNIX_EPOCH)),
            clock: Arc::clone(clock) as _,
            ids,
        };
        let engine = Engine::start(Service::Orders, parts).await.unwrap();
        let keys = Arc::new(Jwks { keys: Vec::new() });
        let verifier = Arc::new(Verifier::new(keys, Arc::clone(clock) as _));
        let purged = Arc::new(Purged::default());
        erasure::start(&engine, &verifier, Arc::clone(&purged) as _)
            .await
            .unwrap();
        Self {
            engine,
            verifier,
            purged,
        }
    }

    async fn note(&self, user: UserId) {
        let noted = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("test"), move |unit| {
                erasure::note(unit, user);
                Ok::<(), writer::Error>(())
            });
        noted.await.unwrap();
    }

    fn admits(&self, user: UserId) -> bool {
        let caller = Caller::User(User {
            id: user,
            role: Role::Customer,
            session: SessionId::from_uuid(Uuid::from_u128(1)),
        });
        self.verifier.admit(&caller).is_ok()
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(schema(&[]), Uuid::from_u128(1)))
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()))
}

fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

const MOMENT: Duration = Duration::from_secs(5);

/// Whoever is gone while the clock is wrong does not stay until it is there again.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_puts_no_erasure_off() {
    let (store, clock) = (store(), clock());
    let replica = Replica::start(&store, &clock, false).await;
    replica.purged.fails.store(true, Ordering::Relaxed);
    replica.note(user(1)).await;
    clock.sleep(MOMENT).await;
    clock.jump(SignedDuration::from_hours(-2));
    replica.purged.fails.store(false, Ordering::Relaxed);
    clock.sleep(MOMENT).await;
    assert_eq!(*replica.purged.users.lock().unwrap(), [user(1)]);
}

#[tokio::test(start_paused = true)]
async fn every_replica_refuses_whom_one_has_purged() {
    let (store, clock) = (store(), clock());
    let first = Replica::start(&store, &clock, true).await;
    // Not in step: one of them is done before the other looks.
    clock.sleep(Duration::from_millis(500)).await;
    let second = Replica::start(&store, &clock, true).await;
    for number in 1..=3 {
        first.note(user(number)).await;
        clock.sleep(MOMENT).await;
        assert!(!first.admits(user(number)) && !second.admits(user(number)), "{number}");
        assert!(second.admits(user(number + 1)));
    }
    let purged = |replica: &Replica| replica.purged.users.lock().unwrap().len();
    assert_eq!(purged(&first) + purged(&second), 3);
    // One that starts later, as long as a token may live.
    let third = Replica::start(&store, &clock, true).await;
    assert!(!third.admits(user(1)));
    clock.sleep(Duration::from_secs(60 * 60)).await;
    let fourth = Replica::start(&store, &clock, true).await;
    assert!(fourth.admits(user(1)), "no token of theirs is valid any more");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_deleted_now_is_deleted_later_and_keeps_nobody_from_being_refused() {
    let (store, clock) = (store(), clock());
    let replica = Replica::start(&store, &clock, false).await;
    replica.purged.fails.store(true, Ordering::Relaxed);
    for number in 1..=3 {
        replica.note(user(number)).await;
    }
    clock.sleep(MOMENT).await;
    assert!((1..=3).all(|number| !replica.admits(user(number))));
    replica.purged.fails.store(false, Ordering::Relaxed);
    clock.sleep(MOMENT).await;
    assert_eq!(*replica.purged.users.lock().unwrap(), [user(1), user(2), user(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_done_when_the_stores_files_are_scrubbed() {
    let (faulty, clock) = (FaultyStore::new(store()), clock());
    let store: Arc<dyn Store> = Arc::clone(&faulty) as _;
    let replica = Replica::start(&store, &clock, false).await;
    faulty.refuse_scrubs(true);
    for number in 1..=3 {
        replica.note(user(number)).await;
    }
    let purged = || replica.purged.users.lock().unwrap().len();
    clock.sleep(MOMENT).await;
    let before = purged();
    assert!(before > 3, "what was not scrubbed comes up again");
    faulty.refuse_scrubs(false);
    clock.sleep(MOMENT).await;
    let (after, scrubs) = (purged(), faulty.scrubs());
    assert_eq!(after - before, 3);
    assert_eq!(scrubs, 1, "one for all who are gone at once");
    clock.sleep(MOMENT).await;
    assert_eq!((purged(), faulty.scrubs()), (after, scrubs), "done is done");

    // More is deleted of one who went long ago, and of one who never did.
    for number in [2, 9] {
        let noted = replica
            .engine
            .writer()
            .execute(Priority::Background, Context::system("test"), move |unit| {
                erasure::note_deleted(unit, user(number));
                Ok::<(), writer::Error>(())
            });
        noted.await.unwrap();
    }
    clock.sleep(MOMENT).await;
    assert_eq!((purged(), faulty.scrubs()), (after + 1, scrubs + 1));
}
