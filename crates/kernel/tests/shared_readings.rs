//! What the groups of a process read of a lane together.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::keeper::Tenancy;
use kernel::bus::log::{Cursor, Cursors, Entries, Entry, Life, Log, Subscriptions};
use kernel::bus::{BusError, Subscription};
use kernel::clock::{Ids, ManualClock};
use kernel::event::{Lane, Position};
use kernel::wire;
use testkit::bus_suite::fixture::{Journal, group, stream_in};
use tokio::sync::watch;
use tokio::time::timeout;

const LANE: Lane = Lane(0);
/// More than what must come may take, for it is the paused clock's time.
const COMES_MAX: Duration = Duration::from_secs(60);

/// A log of one lane that is written to meanwhile, and counts.
#[derive(Debug, Default)]
struct Written {
    entries: Mutex<Vec<Entry>>,
    length: watch::Sender<usize>,
    connection: watch::Sender<u64>,
    /// How often reading fails before it goes well.
    failing: AtomicUsize,
    /// How often it was begun to read, and how many entries were sent.
    begun: AtomicUsize,
    sent: AtomicUsize,
}

/// Of which each group has one.
#[derive(Clone, Debug, Default)]
struct WrittenLog(Arc<Written>);

impl WrittenLog {
    fn write(&self, journal: &mut Journal, count: usize, data: &str) {
        let mut entries = self.entries();
        for _ in 0..count {
            let bytes = wire::encode(&journal.event(stream_in(LANE), data)).into();
            // Places are not counted on to follow on each other.
            let place = 10 * (entries.len() as u128 + 1);
            entries.push(Entry { place, bytes });
        }
        self.0.length.send_replace(entries.len());
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.entries.lock().expect("no test has panicked")
    }

    fn counted(&self) -> [usize; 2] {
        [&self.0.begun, &self.0.sent].map(|count| count.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Log for WrittenLog {
    async fn life(&self) -> Result<Life, BusError> {
        Ok(Life(1))
    }

    async fn read(&self, _: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        let place = after.place;
        let next = self.entries().partition_point(|entry| entry.place <= place);
        let log = self.clone();
        Ok(Box::new(WrittenEntries {
            log,
            next,
            waits: false,
        }))
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.0.connection.subscribe()
    }

    fn is_reached(&self) -> bool {
        true
    }

    async fn kept(&self, _: Lane) -> Result<Option<Cursor>, BusError> {
        Ok(None)
    }

    async fn keep(&self, cursors: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError> {
        Ok(cursors.to_vec())
    }
}

struct WrittenEntries {
    log: WrittenLog,
    next: usize,
    /// Whether a call has not ended: one that was dropped never does.
    waits: bool,
}

#[async_trait]
impl Entries for WrittenEntries {
    async fn next(&mut self) -> Result<Entry, BusError> {
        assert!(!std::mem::replace(&mut self.waits, true), "a call was dropped");
        let written = &self.log.0;
        let mut length = written.length.subscribe();
        length
            .wait_for(|length| *length > self.next)
            .await
            .map_err(BusError::new)?;
        self.waits = false;
        let fails = |left: usize| left.checked_sub(1);
        if written
            .failing
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails)
            .is_ok()
        {
            return Err(BusError::new("the broker has stumbled"));
        }
        Ok(self.send())
    }

    fn at_hand(&mut self) -> Option<Entry> {
        let is_there = self.next < self.log.entries().len() && self.log.0.failing.load(Ordering::Relaxed) == 0;
        is_there.then(|| self.send())
    }
}

impl WrittenEntries {
    fn send(&mut self) -> Entry {
        self.log.0.sent.fetch_add(1, Ordering::Relaxed);
        self.next += 1;
        self.log.entries()[self.next - 1].clone()
    }
}

/// The groups of a process on this log.
struct Fixture {
    log: WrittenLog,
    journal: Journal,
    subscriptions: Subscriptions,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::starting_at(
            "2026-01-01T00:00:00Z".parse().expect("a time"),
        ));
        Self {
            log: WrittenLog::default(),
            journal: Journal::new(),
            subscriptions: Subscriptions::new(clock, Arc::new(Ids::from_seed(1)), None),
        }
    }

    fn write(&mut self, count: usize) {
        self.log.write(&mut self.journal, count, "{}");
    }

    fn subscribe(&self, consumer: &'static str) -> Box<dyn Subscription> {
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        let tenancy = Arc::new(Tenancy::default());
        tenancy.grant(BTreeSet::from([LANE]), Duration::MAX);
        let cursors = Arc::new(Cursors::new(Arc::clone(&log), group(consumer)));
        self.subscriptions
            .start(&group(consumer), log, cursors, tenancy, |stop| async move {
                stop.cancelled().await;
            })
    }
}

/// Receives these positions, and nothing else.
async fn receives(subscription: &mut dyn Subscription, positions: impl IntoIterator<Item = usize>) {
    let mut expected = positions
        .into_iter()
        .map(|position| Position(position as u64))
        .peekable();
    while expected.peek().is_some() {
        let messages = timeout(COMES_MAX, subscription.receive(256)).await;
        for message in messages.expect("what was written comes").expect("the log is there") {
            assert_eq!(Some(message.event.position), expected.next());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_several_groups_read_is_sent_once() {
    let mut fixture = Fixture::new();
    let [mut one, mut other] = ["one", "other"].map(|name| fixture.subscribe(name));
    fixture.write(100);
    receives(&mut *one, 1..=100).await;
    receives(&mut *other, 1..=100).await;
    // One that comes later finds what is remembered.
    let mut third = fixture.subscribe("third");
    receives(&mut *third, 1..=100).await;
    fixture.write(100);
    for subscription in [&mut one, &mut other, &mut third] {
        receives(&mut **subscription, 101..=200).await;
    }
    let [_, sent] = fixture.log.counted();
    assert_eq!(sent, 200);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_slow_holds_nobody_up_and_misses_nothing() {
    const COUNT: usize = 1000;
    let mut fixture = Fixture::new();
    let [mut slow, mut quick] = ["slow", "quick"].map(|name| fixture.subscribe(name));
    receives_none(&mut *slow).await;
    // Far more than is read ahead for the one, and remembered for both.
    let data = format!("\"{}\"", "x".repeat(10 * 1024));
    fixture.log.write(&mut fixture.journal, COUNT, &data);
    receives(&mut *quick, 1..=COUNT).await;
    receives(&mut *slow, 1..=COUNT).await;
    let [begun, _] = fixture.log.counted();
    // Once it has caught up, they read together again.
    fixture.write(100);
    let [_, before] = fixture.log.counted();
    receives(&mut *quick, COUNT + 1..=COUNT + 100).await;
    receives(&mut *slow, COUNT + 1..=COUNT + 100).await;
    assert_eq!(fixture.log.counted(), [begun, before + 100]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_goes_back_or_leaves_disturbs_nobody() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    // The one that comes first waits for what is next, and both others for it.
    let [mut one, mut other, mut third] = ["one", "other", "third"].map(|name| fixture.subscribe(name));
    for subscription in [&mut one, &mut other, &mut third] {
        receives(&mut **subscription, 1..=10).await;
        receives_none(&mut **subscription).await;
    }
    one.rewind(LANE, Position(0)).await.unwrap();
    receives(&mut *one, 1..=10).await;
    drop(third);
    fixture.write(10);
    receives(&mut *other, 11..=20).await;
    receives(&mut *one, 11..=20).await;
    drop(other);
    fixture.write(10);
    receives(&mut *one, 21..=30).await;
    let [_, sent] = fixture.log.counted();
    assert_eq!(sent, 30);
}

#[tokio::test(start_paused = true)]
async fn groups_that_are_apart_read_apart_until_the_one_is_as_far_as_the_other() {
    let mut fixture = Fixture::new();
    let mut one = fixture.subscribe("one");
    let data = format!("\"{}\"", "x".repeat(10 * 1024));
    fixture.log.write(&mut fixture.journal, 300, &data);
    receives(&mut *one, 1..=300).await;
    // What it begins with is not remembered any more.
    let mut other = fixture.subscribe("other");
    receives(&mut *other, 1..=300).await;
    let [_, apart] = fixture.log.counted();
    assert!((500..600).contains(&apart), "{apart} were sent");
    fixture.write(100);
    receives(&mut *other, 301..=400).await;
    receives(&mut *one, 301..=400).await;
    assert_eq!(fixture.log.counted(), [2, apart + 100]);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_over_another_connection_is_read_anew_by_all() {
    let mut fixture = Fixture::new();
    let [mut one, mut other] = ["one", "other"].map(|name| fixture.subscribe(name));
    fixture.write(10);
    receives(&mut *one, 1..=10).await;
    receives(&mut *other, 1..=10).await;
    let [begun, sent] = fixture.log.counted();
    fixture.log.0.connection.send_modify(|connection| *connection += 1);
    fixture.write(10);
    receives(&mut *one, 11..=20).await;
    receives(&mut *other, 11..=20).await;
    let [begun_anew, sent_again] = fixture.log.counted();
    assert!(begun_anew > begun, "what was begun over the old connection was used on");
    assert_eq!(sent_again, sent + 10);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_read_anew_even_while_a_slow_group_has_not_noticed() {
    let mut fixture = Fixture::new();
    let [mut one, mut other, mut slow] = ["one", "other", "slow"].map(|name| fixture.subscribe(name));
    receives_none(&mut *slow).await;
    // More than wait to be received.
    fixture.write(300);
    receives(&mut *one, 1..=300).await;
    receives(&mut *other, 1..=300).await;
    fixture.log.0.failing.store(1, Ordering::Relaxed);
    fixture.write(10);
    receives(&mut *one, 301..=310).await;
    receives(&mut *other, 301..=310).await;
    receives(&mut *slow, 1..=310).await;
}

/// Waits in vain.
async fn receives_none(subscription: &mut dyn Subscription) {
    let received = timeout(Duration::from_millis(10), subscription.receive(256)).await;
    assert!(received.is_err(), "{received:?}");
}
