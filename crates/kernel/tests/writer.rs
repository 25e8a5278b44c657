//! The rules of group commit, each seen from a caller's side.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use contracts::{DecodeError, EventData, EventKind, Service};
use futures::future::join_all;
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence, Projected};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::{Claim, Context};
use kernel::document::{Collection, Document, Kind};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::{Position, StreamId};
use kernel::memory::MemoryStore;
use kernel::store::Store;
use kernel::unit::Views;
use kernel::writer::{self, BACKGROUND_PACE, BATCH_COMMANDS_MAX, Priority, QUEUE_CLIENT_MAX};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use testkit::faults::{Fault, FaultyStore};

/// A counter that must not go above ten.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    count: u64,
    version: u64,
}

impl Document for Counter {
    const COLLECTION: &'static Collection = &Collection {
        name: "counters",
        kind: Kind::View,
        columns: &[],
        indexes: &[],
    };
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counted {
    note: String,
}

impl EventData for Counted {
    const TYPES: &'static [EventKind] = &[EventKind {
        name: "counter.counted",
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

impl Projected for Counted {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<Counter>(self, at);
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("full")]
    Full,
    #[error(transparent)]
    Write(#[from] writer::Error),
}

impl Aggregate for Counter {
    type Command = String;
    type Event = Counted;
    type Error = Error;

    fn version(&self) -> u64 {
        self.version
    }

    fn decide(state: Option<&Self>, note: String, _: Timestamp) -> Result<Vec<Counted>, Error> {
        match state {
            Some(counter) if counter.count >= 10 => Err(Error::Full),
            _ => Ok(vec![Counted { note }]),
        }
    }

    fn apply(state: &mut Option<Self>, _: &Counted, at: &Occurrence<'_>) {
        let counter = state.get_or_insert_default();
        counter.count += 1;
        counter.version = at.version;
    }
}

static SEEDS: AtomicU64 = AtomicU64::new(1);

struct Rig {
    engine: Engine,
    store: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(
        schema(&[Counter::COLLECTION]),
        uuid::Uuid::from_u128(1),
    ))
}

async fn rig_on(store: Arc<dyn Store>, shared: bool) -> Rig {
    let clock = Arc::new(ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let store = FaultyStore::new(store);
    // Two rigs must not draw the same batch ids.
    let ids = Arc::new(Ids::from_seed(SEEDS.fetch_add(1, Ordering::Relaxed)));
    let parts = Parts {
        store: Arc::clone(&store) as _,
        replica: shared.then(|| ids.uuid(jiff::Timestamp::UNIX_EPOCH)),
        clock: Arc::clone(&clock) as _,
        ids,
    };
    Rig {
        engine: Engine::start(Service::Orders, parts).await.unwrap(),
        store,
        clock,
    }
}

async fn rig() -> Rig {
    rig_on(memory(), false).await
}

impl Rig {
    async fn count(&self, id: &'static str, note: &str) -> Result<u64, Error> {
        count(self.engine.clone(), id, note.to_owned(), None).await
    }

    async fn value(&self, id: &str) -> u64 {
        self.engine
            .reader()
            .get::<Counter>(id)
            .await
            .unwrap()
            .map_or(0, |counter| counter.count)
    }

    async fn journal(&self) -> Vec<(String, u64)> {
        let tail = self.store.tail(Position::START, 1000).await.unwrap();
        tail.events
            .into_iter()
            .map(|event| (event.stream.to_string(), event.version))
            .collect()
    }
}

async fn count(engine: Engine, id: &'static str, note: String, claim: Option<Claim>) -> Result<u64, Error> {
    let context = Context {
        claim,
        ..Context::system("test")
    };
    let counted = engine.writer().answer(context, move |unit| {
        unit.decide::<Counter>(id, note.clone())?;
        Ok(unit.get::<Counter>(id).map_or(0, |counter| counter.count))
    });
    counted.await
}

/// Counts without an event, whose place in its stream would tell of another writer.
async fn raise(engine: &Engine, id: &'static str) -> Result<u64, Error> {
    let raised = engine
        .writer()
        .execute(Priority::Client, Context::system("test"), move |unit| {
            let mut counter = unit.get::<Counter>(id).as_deref().cloned().unwrap_or_default();
            counter.count += 1;
            unit.put(id, counter.clone());
            Ok(counter.count)
        });
    raised.await
}

fn claim(fingerprint: &str) -> Option<Claim> {
    Some(Claim {
        id: "key".into(),
        principal: "usr".into(),
        fingerprint: fingerprint.into(),
    })
}

#[tokio::test(start_paused = true)]
async fn commands_that_wait_together_share_a_commit_and_see_each_other() {
    let rig = rig().await;
    let before = rig.store.commits().len();
    rig.store.close();
    let first = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    let others = (0..5).map(|_| tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None)));
    let others: Vec<_> = others.collect();
    idle().await;
    rig.store.open();
    assert_eq!(first.await.unwrap().unwrap(), 1);
    let mut seen = Vec::new();
    for other in others {
        seen.push(other.await.unwrap().unwrap());
    }
    assert_eq!(seen, [2, 3, 4, 5, 6]);
    assert_eq!(
        rig.store.commits().len() - before,
        2,
        "one for the first, one for all that waited"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_leaves_no_trace_and_its_batch_mates_are_carried_out() {
    let rig = rig().await;
    for _ in 0..9 {
        rig.count("a", "x").await.unwrap();
    }
    let results = futures::future::join_all([rig.count("a", "x"), rig.count("a", "x"), rig.count("b", "x")]).await;
    assert!(matches!(results[..], [Ok(10), Err(Error::Full), Ok(1)]), "{results:?}");
    assert_eq!(rig.journal().await.len(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_only_its_own_command() {
    let rig = rig().await;
    let panics = rig
        .engine
        .writer()
        .execute(Priority::Client, Context::system("test"), |unit| -> Result<(), Error> {
            unit.decide::<Counter>("a", "half done".into())?;
            panic!("a bug");
        });
    let (panicked, counted) = tokio::join!(panics, rig.count("b", "x"));
    assert!(matches!(panicked, Err(Error::Write(writer::Error::Panicked(text))) if &*text == "a bug"));
    assert_eq!(counted.unwrap(), 1);
    assert_eq!(rig.journal().await, [("b".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_costs_nothing() {
    let rig = rig().await;
    rig.store.close();
    let caller = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    caller.abort();
    rig.store.open();
    assert_eq!(rig.count("a", "x").await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_clients_and_lets_the_background_wait() {
    let rig = rig().await;
    rig.store.close();
    let mut waiting = vec![tokio::spawn(count(rig.engine.clone(), "first", "x".into(), None))];
    idle().await;
    // One group is decided while the first is being committed; behind it the queue fills.
    for commands in [BATCH_COMMANDS_MAX, QUEUE_CLIENT_MAX] {
        let more = (0..commands).map(|_| tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None)));
        waiting.extend(more);
        idle().await;
    }
    let refused = rig.count("a", "x").await;
    assert!(
        matches!(refused, Err(Error::Write(writer::Error::Overloaded))),
        "{refused:?}"
    );
    let engine = rig.engine.clone();
    let background = tokio::spawn(async move {
        let write = engine
            .writer()
            .execute(Priority::Background, Context::system("test"), |_| Ok::<_, Error>(()));
        write.await
    });
    idle().await;
    rig.store.open();
    background.await.unwrap().unwrap();
    for waiting in waiting {
        let _ = waiting.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_background_goes_before_clients() {
    let rig = rig().await;
    rig.store.close();
    let blocker = tokio::spawn(count(rig.engine.clone(), "first", "x".into(), None));
    idle().await;
    // What is decided while that is being committed; the others wait.
    let decided: Vec<_> = (0..BATCH_COMMANDS_MAX)
        .map(|_| tokio::spawn(count(rig.engine.clone(), "decided", "x".into(), None)))
        .collect();
    idle().await;
    let client = tokio::spawn(count(rig.engine.clone(), "client", "x".into(), None));
    idle().await;
    let engine = rig.engine.clone();
    let saga = tokio::spawn(async move {
        let write = engine
            .writer()
            .execute(Priority::Background, Context::system("test"), |unit| {
                unit.decide::<Counter>("saga", "x".into()).map(|_| ())
            });
        write.await
    });
    idle().await;
    rig.store.open();
    blocker.await.unwrap().unwrap();
    client.await.unwrap().unwrap();
    saga.await.unwrap().unwrap();
    futures::future::join_all(decided).await;
    let streams: Vec<String> = rig.journal().await.into_iter().map(|(stream, _)| stream).collect();
    assert_eq!(streams[streams.len() - 2..], ["saga", "client"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_is_decided_while_the_one_before_is_committed_and_answered_after_it() {
    let rig = rig().await;
    rig.store.close();
    let first = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    let (told, decided) = tokio::sync::watch::channel(0);
    let engine = rig.engine.clone();
    let second = tokio::spawn(async move {
        let write = engine
            .writer()
            .execute(Priority::Client, Context::system("test"), move |unit| {
                unit.decide::<Counter>("a", "x".into())?;
                let count = unit.get::<Counter>("a").map_or(0, |counter| counter.count);
                told.send_replace(count);
                Ok::<_, Error>(count)
            });
        write.await
    });
    idle().await;
    assert_eq!(*decided.borrow(), 2, "it was not decided on top of the first");
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(rig.value("a").await, 0, "what is not committed was shown");
    rig.store.open();
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (1, 2));
    assert_eq!(rig.journal().await, [("a".to_owned(), 1), ("a".to_owned(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_on_top_of_a_commit_that_failed_is_decided_again() {
    let rig = rig().await;
    rig.store.close();
    let first = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    let second = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    rig.store.fail_next([Fault::Unavailable]);
    rig.store.open();
    let first = first.await.unwrap();
    assert!(
        matches!(first, Err(Error::Write(writer::Error::Unavailable(_)))),
        "{first:?}"
    );
    assert_eq!(second.await.unwrap().unwrap(), 1);
    assert_eq!(rig.value("a").await, 1);
    assert_eq!(rig.journal().await, [("a".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_on_top_of_a_commit_that_failed_is_no_refusal() {
    let rig = rig().await;
    for _ in 0..9 {
        rig.count("a", "x").await.unwrap();
    }
    rig.store.close();
    let tenth = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    let refused = tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None));
    idle().await;
    rig.store.fail_next([Fault::Unavailable]);
    rig.store.open();
    tenth.await.unwrap().unwrap_err();
    assert_eq!(refused.await.unwrap().unwrap(), 10, "there was room after all");
}

#[tokio::test(start_paused = true)]
async fn a_busy_background_gathers_and_a_client_does_not_wait_for_it() {
    let rig = rig().await;
    let background = |id: &'static str| {
        let engine = rig.engine.clone();
        tokio::spawn(async move {
            let write = engine
                .writer()
                .execute(Priority::Background, Context::system("test"), move |unit| {
                    unit.decide::<Counter>(id, "x".into()).map(|_| ())
                });
            write.await
        })
    };
    // Its own start has written.
    tokio::time::sleep(BACKGROUND_PACE).await;
    let began = tokio::time::Instant::now();
    background("alone").await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "an idle writer waits for nothing");
    let before = rig.store.commits().len();
    let second = background("second");
    idle().await;
    let third = background("third");
    second.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), BACKGROUND_PACE);
    assert_eq!(rig.store.commits().len(), before + 1, "they share a commit");

    let fourth = background("fourth");
    idle().await;
    let asked = tokio::time::Instant::now();
    rig.count("client", "x").await.unwrap();
    fourth.await.unwrap().unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_settled_by_asking_again() {
    for fault in [Fault::UnknownAfter, Fault::UnknownBefore] {
        let rig = rig().await;
        rig.store.fail_next([fault, fault]);
        assert_eq!(rig.count("a", "x").await.unwrap(), 1, "{fault:?}");
        assert_eq!(rig.journal().await, [("a".to_owned(), 1)], "{fault:?}");
        assert_eq!(rig.count("a", "x").await.unwrap(), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_not_called_failed_while_it_is_unknown() {
    let rig = rig().await;
    rig.store
        .fail_next([Fault::UnknownAfter, Fault::Unavailable, Fault::Unavailable]);
    assert_eq!(rig.count("a", "x").await.unwrap(), 1);
    assert_eq!(rig.journal().await, [("a".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_is_said_to_be_so_and_changes_nothing() {
    let rig = rig().await;
    rig.count("a", "x").await.unwrap();
    rig.store.fail_next([Fault::Unavailable]);
    let refused = rig.count("a", "x").await;
    assert!(
        matches!(refused, Err(Error::Write(writer::Error::Unavailable(_)))),
        "{refused:?}"
    );
    assert_eq!(rig.value("a").await, 1);
    assert_eq!(rig.count("a", "x").await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn content_that_the_database_refuses_costs_only_its_own_command() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Note(String);
    impl Document for Note {
        const COLLECTION: &'static Collection = &Collection {
            name: "counters",
            kind: Kind::Record,
            columns: &[],
            indexes: &[],
        };
    }
    let rig = rig().await;
    rig.store.refuse_content("culprit");
    rig.store.close();
    let note = |text: &'static str| {
        let engine = rig.engine.clone();
        tokio::spawn(async move {
            let noted = engine
                .writer()
                .execute(Priority::Client, Context::system("test"), move |unit| {
                    unit.put(text, Note(text.to_owned()));
                    Ok::<_, Error>(())
                });
            noted.await
        })
    };
    let notes: Vec<_> = ["blocker", "a", "b", "culprit", "c", "d"]
        .map(note)
        .into_iter()
        .collect();
    idle().await;
    rig.store.open();
    let mut outcomes = Vec::new();
    for note in notes {
        outcomes.push(note.await.unwrap().is_ok());
    }
    assert_eq!(outcomes, [true, true, true, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_event_above_the_limit_is_refused_before_the_commit() {
    let rig = rig().await;
    let refused = rig.count("a", &"x".repeat(kernel::store::EVENT_BYTES_MAX)).await;
    assert!(
        matches!(refused, Err(Error::Write(writer::Error::EventTooLarge { .. }))),
        "{refused:?}"
    );
    assert_eq!(rig.count("a", "small").await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn time_in_the_journal_never_runs_back() {
    let rig = rig().await;
    rig.count("a", "x").await.unwrap();
    rig.clock.jump(jiff::SignedDuration::from_hours(-5));
    rig.count("a", "x").await.unwrap();
    let times: Vec<Timestamp> = rig
        .store
        .tail(Position::START, 9)
        .await
        .unwrap()
        .events
        .into_iter()
        .map(|event| event.time)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// The other one commits without a pause, and its clock is ahead by more than a commit takes.
#[tokio::test(start_paused = true)]
async fn a_replica_whose_clock_is_behind_gets_its_turn() {
    let store = memory();
    let (behind, ahead) = (rig_on(Arc::clone(&store), true).await, rig_on(store, true).await);
    ahead.clock.jump(jiff::SignedDuration::from_secs(1));
    let (busy, clock, number) = (ahead.engine.clone(), Arc::clone(&ahead.clock), AtomicU64::new(0));
    behind.store.overtake(move || {
        clock.jump(jiff::SignedDuration::from_millis(7));
        let (busy, number) = (busy.clone(), number.fetch_add(1, Ordering::Relaxed));
        async move {
            let counted = busy.writer().answer(Context::system("test"), move |unit| {
                unit.decide::<Counter>(format!("busy-{number}"), "x".into())?;
                Ok::<(), Error>(())
            });
            counted.await.unwrap();
        }
    });
    for count in 1..=3 {
        assert_eq!(behind.count("a", "x").await.unwrap(), count);
    }
}

/// The other one changes the same document for a quarter of a second, whenever this one commits.
#[tokio::test(start_paused = true)]
async fn who_meets_conflicts_over_and_over_pauses_and_goes_on() {
    let store = memory();
    let (patient, busy) = (rig_on(Arc::clone(&store), true).await, rig_on(store, true).await);
    let (other, clock, lost) = (
        busy.engine.clone(),
        Arc::clone(&busy.clock),
        Arc::new(AtomicU64::new(0)),
    );
    let (end, conflicts) = (clock.monotonic() + Duration::from_millis(250), Arc::clone(&lost));
    patient.store.overtake(move || {
        let (other, conflicts) = (other.clone(), Arc::clone(&conflicts));
        let is_busy = clock.monotonic() < end;
        async move {
            if !is_busy {
                return;
            }
            conflicts.fetch_add(1, Ordering::Relaxed);
            raise(&other, "a").await.unwrap();
        }
    });
    let raised = raise(&patient.engine, "a").await.unwrap();
    assert_eq!(raised, lost.load(Ordering::Relaxed) + 1);
}

/// The other one changes one of the documents whenever this one commits, and never loses.
#[tokio::test(start_paused = true)]
async fn who_never_gets_its_turn_costs_nobody_else_theirs() {
    let store = memory();
    let (patient, busy) = (rig_on(Arc::clone(&store), true).await, rig_on(store, true).await);
    let other = busy.engine.clone();
    patient.store.overtake(move || {
        let other = other.clone();
        async move {
            raise(&other, "a").await.unwrap();
        }
    });
    // The first one is committed by itself, and the others together.
    let raised = ["first", "b", "a", "c", "d"].map(|id| raise(&patient.engine, id));
    for (id, outcome) in ["first", "b", "a", "c", "d"].iter().zip(join_all(raised).await) {
        match *id {
            "a" => assert!(
                matches!(outcome, Err(Error::Write(writer::Error::Contended))),
                "{outcome:?}"
            ),
            _ => assert_eq!(outcome.unwrap(), 1, "{id}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn writers_that_share_a_store_never_decide_on_what_is_stale() {
    let store = memory();
    let (left, right) = (rig_on(Arc::clone(&store), true).await, rig_on(store, true).await);
    for turn in 0..5 {
        assert_eq!(left.count("a", "x").await.unwrap(), turn * 2 + 1);
        assert_eq!(right.count("a", "x").await.unwrap(), turn * 2 + 2);
    }
    // A refusal from a stale cache would be wrong as well: a full counter may have been emptied by the other.
    assert!(matches!(left.count("a", "x").await, Err(Error::Full)));
    let emptied = right
        .engine
        .writer()
        .execute(Priority::Client, Context::system("test"), |unit| {
            unit.delete::<Counter>("a");
            Ok::<_, Error>(())
        });
    emptied.await.unwrap();
    let decided_afresh = left
        .engine
        .writer()
        .execute(Priority::Client, Context::system("test"), |unit| {
            match unit.get::<Counter>("a") {
                Some(_) => Err(Error::Full),
                None => Ok(()),
            }
        });
    decided_afresh.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn writers_that_share_a_store_never_overwrite_what_the_other_wrote() {
    let store = memory();
    let (left, right) = (rig_on(Arc::clone(&store), true).await, rig_on(store, true).await);
    for turn in 0..5 {
        assert_eq!(raise(&left.engine, "a").await.unwrap(), turn * 2 + 1);
        assert_eq!(raise(&right.engine, "a").await.unwrap(), turn * 2 + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_key_gets_the_first_answer_and_no_second_effect() {
    let rig = rig().await;
    let repeats = (0..10).map(|_| count(rig.engine.clone(), "a", "x".into(), claim("body")));
    let answers: Vec<u64> = futures::future::join_all(repeats)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers, [1; 10]);
    rig.count("a", "x").await.unwrap();
    assert_eq!(
        count(rig.engine.clone(), "a", "x".into(), claim("body")).await.unwrap(),
        1
    );
    assert_eq!(rig.value("a").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_key_with_another_body_is_refused() {
    let rig = rig().await;
    count(rig.engine.clone(), "a", "x".into(), claim("body")).await.unwrap();
    let reused = count(rig.engine.clone(), "a", "y".into(), claim("another")).await;
    assert!(
        matches!(reused, Err(Error::Write(writer::Error::KeyReused))),
        "{reused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_outlives_a_restart_and_is_forgotten_after_a_day() {
    let store = memory();
    let first = rig_on(Arc::clone(&store), false).await;
    count(first.engine.clone(), "a", "x".into(), claim("body"))
        .await
        .unwrap();
    first.engine.stop().await;
    let second = rig_on(store, false).await;
    assert_eq!(
        count(second.engine.clone(), "a", "x".into(), claim("body"))
            .await
            .unwrap(),
        1
    );
    tokio::time::sleep(kernel::idempotency::ANSWER_KEPT).await;
    assert_eq!(
        count(second.engine.clone(), "a", "x".into(), claim("another"))
            .await
            .unwrap(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_decided_again_under_the_same_key() {
    let rig = rig().await;
    for _ in 0..10 {
        rig.count("a", "x").await.unwrap();
    }
    assert!(matches!(
        count(rig.engine.clone(), "a", "x".into(), claim("body")).await,
        Err(Error::Full)
    ));
    let emptied = rig
        .engine
        .writer()
        .execute(Priority::Client, Context::system("test"), |unit| {
            unit.delete::<Counter>("a");
            Ok::<_, Error>(())
        });
    emptied.await.unwrap();
    rig.engine.reader().history(&StreamId::new("a")).await.unwrap();
    assert!(count(rig.engine.clone(), "b", "x".into(), claim("body")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_decision_runs_again_after_what_it_asked_for_was_read() {
    let store = memory();
    rig_on(Arc::clone(&store), false).await.count("a", "x").await.unwrap();
    let rig = rig_on(store, false).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let seen = rig
        .engine
        .writer()
        .execute(Priority::Client, Context::system("test"), move |unit| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Error>(unit.get::<Counter>("a").is_some())
        });
    assert!(seen.await.unwrap());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_all_ids_is_known_to_be_absent_without_a_read() {
    let rig = rig().await;
    rig.count("m", "x").await.unwrap();
    let runs = async |id: &'static str| {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let decided = rig
            .engine
            .writer()
            .execute(Priority::Client, Context::system("test"), move |unit| {
                counted.fetch_add(1, Ordering::Relaxed);
                unit.decide::<Counter>(id, "x".into()).map(|_| ())
            });
        decided.await.unwrap();
        runs.load(Ordering::Relaxed)
    };
    assert_eq!(runs("n").await, 1, "it is new, and its id is the highest");
    assert_eq!(runs("a").await, 2, "it may be there");
    assert_eq!(runs("n").await, 1, "it is in memory");
    // Somebody who was not told that a commit happened does not take what it made for absent.
    rig.store
        .fail_next([Fault::UnknownAfter].into_iter().chain([Fault::Unavailable; 40]));
    let unknown = rig.count("z", "x").await;
    assert!(
        matches!(unknown, Err(Error::Write(writer::Error::Unavailable(_)))),
        "{unknown:?}"
    );
    let looked = rig
        .engine
        .writer()
        .execute(Priority::Client, Context::system("test"), |unit| {
            Ok::<_, Error>(unit.get::<Counter>("z").is_some())
        });
    assert!(looked.await.unwrap(), "it was made, whatever was said");
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_what_was_accepted_and_refuses_what_comes_after() {
    let rig = rig().await;
    rig.store.close();
    let accepted: Vec<_> = (0..3)
        .map(|_| tokio::spawn(count(rig.engine.clone(), "a", "x".into(), None)))
        .collect();
    idle().await;
    let engine = rig.engine.clone();
    let stopping = tokio::spawn(async move { engine.stop().await });
    idle().await;
    rig.store.open();
    stopping.await.unwrap();
    for accepted in accepted {
        accepted.await.unwrap().unwrap();
    }
    let late = rig.count("a", "x").await;
    assert!(
        matches!(late, Err(Error::Write(writer::Error::ShuttingDown))),
        "{late:?}"
    );
}

/// Waits until nothing can go on by itself.
async fn idle() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}
