//! Effects: each intent is carried out, whatever its neighbours and the process do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use jiff::SignedDuration;
use kernel::clock::{Ids, ManualClock};
use kernel::context::Context;
use kernel::document::Document as _;
use kernel::effect::{Attempt, EFFECTS_CONCURRENT_MAX, EFFECTS_QUEUED_MAX, Effect, EffectRecord, Intent, Postponed};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::StreamId;
use kernel::memory::MemoryStore;
use kernel::store::{Query, Store as _};
use kernel::writer::{self, Priority};
use testkit::faults::{Fault, FaultyStore};
use tokio::time::{Instant, timeout};

const KIND: &str = "call";
/// What is settled after any crash is settled within this.
const SETTLED: Duration = Duration::from_secs(60);

/// What the outside does when it is called.
type Outside = Box<dyn Fn(&Attempt) -> Answer + Send + Sync>;

enum Answer {
    After(Duration),
    Postponed(Duration),
    Panic,
}

struct Call {
    engine: Engine,
    outside: Outside,
    calls: Arc<Calls>,
}

/// Which calls were made, as often as they were.
#[derive(Default)]
struct Calls {
    made: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Calls {
    /// How many calls there were, for how many intents.
    fn counts(&self) -> (usize, usize) {
        let made = self.made.lock().unwrap();
        (made.len(), made.iter().collect::<HashSet<_>>().len())
    }
}

#[async_trait]
impl Effect for Call {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed> {
        // As every effect does: what to call for is read first.
        let subject = StreamId::new(&*attempt.intent.subject);
        self.engine.reader().store().stream(&subject, 1, 1).await.unwrap();
        let under_way = self.calls.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.calls.most_at_once.fetch_max(under_way, Ordering::Relaxed);
        let answer = (self.outside)(attempt);
        if let Answer::After(time) = answer {
            tokio::time::sleep(time).await;
        }
        self.calls.under_way.fetch_sub(1, Ordering::Relaxed);
        self.calls.made.lock().unwrap().push(attempt.intent.subject.to_string());
        match answer {
            Answer::After(_) => {}
            Answer::Postponed(after) => {
                return Err(Postponed {
                    after,
                    reason: "told to".to_owned(),
                });
            }
            Answer::Panic => panic!("a bug in an effect"),
        }
        let intent = attempt.intent.clone();
        let finished = self
            .engine
            .writer()
            .execute(Priority::Background, attempt.context.clone(), move |unit| {
                unit.finish(&intent);
                Ok::<(), writer::Error>(())
            });
        Ok(finished.await?)
    }
}

fn open_intents() -> Query {
    Query::by(EffectRecord::COLLECTION, "by_due", Vec::new(), 1)
}

struct Rig {
    engine: Engine,
    store: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
    calls: Arc<Calls>,
}

impl Rig {
    async fn new(outside: impl Fn(&Attempt) -> Answer + Send + Sync + 'static) -> Self {
        let clock = ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let store = MemoryStore::new(schema(&[]), uuid::Uuid::from_u128(1));
        Self::on(&FaultyStore::new(Arc::new(store)), &Arc::new(clock), outside).await
    }

    /// A process on a store that may have been another one's before.
    async fn on(
        store: &Arc<FaultyStore>,
        clock: &Arc<ManualClock>,
        outside: impl Fn(&Attempt) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let parts = Parts {
            store: Arc::clone(store) as _,
            replica: None,
            clock: Arc::clone(clock) as _,
            ids: Arc::new(Ids::from_entropy()),
        };
        let engine = Engine::start(Service::Payments, parts).await.unwrap();
        let calls = Arc::new(Calls::default());
        engine.perform(vec![Arc::new(Call {
            engine: engine.clone(),
            outside: Box::new(outside),
            calls: Arc::clone(&calls),
        })]);
        Self {
            engine,
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            calls,
        }
    }

    async fn intend(&self, numbers: std::ops::Range<usize>) {
        let intended = self
            .engine
            .writer()
            .execute(Priority::Client, Context::system("test"), move |unit| {
                for number in numbers.clone() {
                    unit.intend(KIND, format!("{number:05}"));
                }
                Ok::<(), writer::Error>(())
            });
        intended.await.unwrap();
    }

    /// Waits until no intent is open.
    async fn settled(&self) {
        let settle = async {
            while !self.store.query(&open_intents()).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(SETTLED, settle).await.expect("every effect ends");
    }
}

fn at_once(_: &Attempt) -> Answer {
    Answer::After(Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn each_intent_is_carried_out_once_and_only_so_many_together() {
    let rig = Rig::new(|_| Answer::After(Duration::from_millis(10))).await;
    rig.intend(0..500).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (500, 500));
    assert_eq!(rig.calls.most_at_once.load(Ordering::Relaxed), EFFECTS_CONCURRENT_MAX);
}

/// Those that wait for a connection must go on while the runner itself waits for one.
#[tokio::test(start_paused = true)]
async fn effects_that_wait_for_the_store_do_not_keep_each_other_from_it() {
    let rig = Rig::new(at_once).await;
    rig.store.limit_readers(2, Duration::from_millis(1));
    rig.intend(0..5000).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (5000, 5000));
}

#[tokio::test(start_paused = true)]
async fn those_for_which_there_is_no_room_in_memory_are_found_in_the_store() {
    let rig = Rig::new(at_once).await;
    rig.intend(0..EFFECTS_QUEUED_MAX + 500).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (EFFECTS_QUEUED_MAX + 500, EFFECTS_QUEUED_MAX + 500));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_is_not_made_twice() {
    let rig = Rig::new(|_| Answer::After(SETTLED - Duration::from_secs(5))).await;
    rig.intend(0..1).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_for_its_turn_beyond_its_lease_is_not_made_twice() {
    let rig = Rig::new(|_| Answer::After(Duration::from_secs(1))).await;
    rig.intend(0..2000).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (2000, 2000));
}

#[tokio::test(start_paused = true)]
async fn what_was_postponed_is_called_again_when_it_said_and_with_the_next_number() {
    let rig = Rig::new(|attempt| match attempt.number {
        1 | 2 => Answer::Postponed(Duration::from_secs(20)),
        _ => Answer::After(Duration::ZERO),
    })
    .await;
    let began = Instant::now();
    rig.intend(0..1).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (3, 1));
    let took = began.elapsed().as_secs();
    assert!((40..45).contains(&took), "{took} s");
}

/// What was put off until a time that has moved away is not waited for.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_puts_nothing_off() {
    let rig = Rig::new(|attempt| match attempt.number {
        1 => Answer::Postponed(Duration::from_secs(20)),
        _ => Answer::After(Duration::ZERO),
    })
    .await;
    rig.intend(0..1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.clock.jump(SignedDuration::from_hours(-2));
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (2, 1));
}

/// Neither those under way nor those that wait for their turn.
#[tokio::test(start_paused = true)]
async fn no_call_is_made_twice_when_the_clock_is_set() {
    for hours in [-2, 2] {
        let rig = Rig::new(|_| Answer::After(Duration::from_secs(10))).await;
        let several = 2 * EFFECTS_CONCURRENT_MAX;
        rig.intend(0..several).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.clock.jump(SignedDuration::from_hours(hours));
        rig.intend(several..several + 1).await;
        rig.settled().await;
        assert_eq!(rig.calls.counts(), (several + 1, several + 1), "{hours} h");
    }
}

/// Commits fail for a while; what they should have taken over is not asked for over and over meanwhile, and is not left
/// to its time either, though that may be far.
#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_written_is_left_in_peace_and_nothing_is_forgotten() {
    for several in [1, 10, 2 * EFFECTS_CONCURRENT_MAX] {
        let first = Rig::new(|_| Answer::Postponed(Duration::from_secs(3600))).await;
        first.intend(0..several).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.engine.stop().await;
        first.store.fail_next([Fault::Unavailable; 10]);
        let began = Instant::now();
        let second = Rig::on(&first.store, &first.clock, at_once).await;
        second.settled().await;
        assert_eq!(second.calls.counts(), (several, several));
        assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

/// Whenever it turns out that something could not be taken over: a look at what is due may be under way.
#[tokio::test(start_paused = true)]
async fn a_commit_that_takes_long_to_fail_leaves_nothing_to_its_time() {
    for millis in (900..2000).step_by(50) {
        let first = Rig::new(|_| Answer::Postponed(Duration::from_secs(3600))).await;
        first.intend(0..10).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.engine.stop().await;
        first.store.close();
        first.store.fail_next([Fault::Unavailable]);
        first.store.limit_readers(8, Duration::from_millis(100));
        let second = Rig::on(&first.store, &first.clock, at_once).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        second.store.open();
        second.settled().await;
        assert_eq!(second.calls.counts(), (10, 10), "after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_effect_costs_its_own_attempt_alone() {
    let rig = Rig::new(|attempt| match (&*attempt.intent.subject, attempt.number) {
        ("00003", 1) => Answer::Panic,
        _ => Answer::After(Duration::ZERO),
    })
    .await;
    rig.intend(0..10).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (11, 10));
}

#[tokio::test(start_paused = true)]
async fn what_a_process_left_open_is_taken_over_by_the_next_one_at_once() {
    let first = Rig::new(|_| Answer::After(Duration::MAX)).await;
    first.intend(0..3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.engine.stop().await;
    let began = Instant::now();
    let second = Rig::on(&first.store, &first.clock, at_once).await;
    second.settled().await;
    assert_eq!(second.calls.counts(), (3, 3));
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// Not when it said: whoever starts a process again may have mended what it was put off for, and the clock too.
#[tokio::test(start_paused = true)]
async fn what_a_process_put_off_is_called_again_by_the_next_one_at_once() {
    let first = Rig::new(|_| Answer::Postponed(Duration::from_secs(30))).await;
    // More than one look at the store finds.
    let several = 3 * EFFECTS_CONCURRENT_MAX;
    first.intend(0..several).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.engine.stop().await;
    first.clock.jump(SignedDuration::from_secs(-20));
    let began = Instant::now();
    let second = Rig::on(&first.store, &first.clock, at_once).await;
    second.settled().await;
    assert_eq!(second.calls.counts(), (several, several));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_was_named_again_is_still_one() {
    let rig = Rig::new(|_| Answer::After(Duration::from_secs(3))).await;
    rig.intend(0..1).await;
    rig.intend(0..1).await;
    rig.settled().await;
    assert_eq!(rig.calls.counts(), (1, 1));
    let intent = Intent {
        kind: KIND.into(),
        subject: "00000".into(),
    };
    assert_eq!(
        rig.engine
            .reader()
            .get::<EffectRecord>(intent.id())
            .await
            .unwrap()
            .map(|_| ()),
        None
    );
}
