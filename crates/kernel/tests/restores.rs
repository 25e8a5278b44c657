//! Consumers on a broker after a restore: it still has what the restore has discarded.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contracts::{EventId, Service};
use kernel::bus::{Bus, Message};
use kernel::clock::{Ids, ManualClock};
use kernel::document::{Collection, Document, Key, Kind};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::{Epoch, Lane, Meta, NewEvent, Position, Recorded};
use kernel::memory::MemoryStore;
use kernel::memory::bus::MemoryBus;
use kernel::reaction::{Consumers, Failed, Reaction, adopt, is_restored, note_restore};
use kernel::relay::{self, RelayCursor};
use kernel::store::{Batch, Expect, Put, Store};
use kernel::unit::Unit;
use serde::{Deserialize, Serialize};
use testkit::bus_suite::fixture;
use uuid::Uuid;

/// The lane in which everything happens.
const LANE: Lane = Lane(3);
/// The checksum of the backup.
const BACKUP: &str = "0123abcd";

/// The lives and versions of the events of a stream that were seen, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    events: Vec<(u128, u64)>,
}

impl Document for Seen {
    const COLLECTION: &'static Collection = &Collection {
        name: "seen",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

struct Witness;

impl Reaction for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Orders]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let seen = unit.get::<Seen>("all");
        let mut seen = seen.map(|seen| Seen::clone(&seen)).unwrap_or_default();
        seen.events.push((message.epoch.0.as_u128(), message.event.version));
        unit.put("all", seen);
        Ok(())
    }
}

/// A life of the journal of orders, whose events are all in one lane.
struct Life {
    store: Arc<dyn Store>,
    epoch: u128,
}

impl Life {
    async fn begin(epoch: u128) -> Self {
        let store = MemoryStore::new(schema(&[]), Uuid::from_u128(epoch));
        Self {
            store: Arc::new(store),
            epoch,
        }
    }

    /// The first events of another life, restored from a backup.
    async fn restored(epoch: u128, backup: &Self, events: u64) -> Self {
        let restored = Self::begin(epoch).await;
        restored.happen(events).await;
        let continued = Epoch(Uuid::from_u128(backup.epoch));
        note_restore(restored.store.as_ref(), id(), continued, BACKUP)
            .await
            .unwrap();
        restored
    }

    /// So many events more.
    async fn happen(&self, count: u64) {
        let stream = fixture::stream_in(LANE);
        let version = self.events().await.len() as u64;
        for version in version + 1..=version + count {
            let event = NewEvent {
                id: EventId::from_uuid(id()),
                lane: LANE,
                stream: stream.clone(),
                version,
                event_type: "thing.happened".into(),
                time: jiff::Timestamp::UNIX_EPOCH,
                data: serde_json::from_str("{}").unwrap(),
                meta: Arc::new(Meta {
                    schema: 1,
                    actor: "system".into(),
                    correlation: "req-1".into(),
                    causation: None,
                    trace: None,
                }),
            };
            let batch = Batch {
                id: id(),
                writer: "test".into(),
                time: jiff::Timestamp::UNIX_EPOCH,
                events: vec![event],
                puts: Vec::new(),
                deletes: Vec::new(),
                reads: Vec::new(),
            };
            self.store.commit(Arc::new(batch)).await.unwrap();
        }
    }

    /// What is published, as it was backed up.
    async fn take_cursor_of(&self, backup: &Self) {
        let found = backup.store.get(&[Key::of::<RelayCursor>("bus")]).await.unwrap();
        let put = Put {
            key: Key::of::<RelayCursor>("bus"),
            document: found[0].as_ref().unwrap().document.clone(),
            columns: Vec::new(),
            expect: Expect::Any,
        };
        let batch = Batch {
            id: id(),
            writer: "test".into(),
            time: jiff::Timestamp::UNIX_EPOCH,
            events: Vec::new(),
            puts: vec![put],
            deletes: Vec::new(),
            reads: Vec::new(),
        };
        self.store.commit(Arc::new(batch)).await.unwrap();
    }

    async fn events(&self) -> Vec<Recorded> {
        self.store.tail(Position::START, 1000).await.unwrap().events
    }

    /// Publishes everything behind a position, as a relay does.
    async fn publish(&self, bus: &MemoryBus, after: u64) {
        let events = self.events().await.into_iter();
        let events = events.filter(|event| event.position.0 > after);
        let messages = events.map(|event| Message {
            source: Service::Orders,
            epoch: Epoch(Uuid::from_u128(self.epoch)),
            event: Arc::new(event),
        });
        bus.publish(messages.collect()).await.unwrap();
    }
}

fn number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

fn id() -> Uuid {
    Uuid::from_u128(number().into())
}

/// The store of a consumer.
fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(schema(&[Seen::COLLECTION]), id()))
}

async fn engine(service: Service, store: &Arc<dyn Store>) -> Engine {
    let parts = Parts {
        store: Arc::clone(store),
        replica: None,
        clock: Arc::new(ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
        ids: Arc::new(Ids::from_seed(number())),
    };
    Engine::start(service, parts).await.unwrap()
}

/// A consumer that runs for a while: how many lanes it holds in the end.
async fn consume(store: &Arc<dyn Store>, bus: &MemoryBus) -> u64 {
    let engine = engine(Service::Inventory, store).await;
    let bus: Arc<dyn Bus> = Arc::new(bus.clone());
    let consumers = Consumers::start(&engine, &bus, vec![Arc::new(Witness)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let held = consumers.progress().map(|(_, progress)| progress.lanes_held()).sum();
    engine.stop().await;
    held
}

async fn seen(store: &Arc<dyn Store>) -> Vec<(u128, u64)> {
    let key = Key::of::<Seen>("all");
    let found = store.get(&[key]).await.unwrap();
    let seen = found[0]
        .as_ref()
        .map(|it| serde_json::from_str::<Seen>(&it.document).unwrap());
    seen.unwrap_or_default().events
}

async fn adopt_into(store: &Arc<dyn Store>, life: &Life) {
    adopt(store.as_ref(), id(), Service::Orders, life.store.as_ref())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_restore_has_discarded_is_passed_by_and_what_it_has_kept_is_not() {
    let (bus, store, first) = (MemoryBus::default(), store(), Life::begin(1).await);
    first.happen(2).await;
    first.publish(&bus, 0).await;
    assert_eq!(consume(&store, &bus).await, 0);
    // Of these the first is in the backup, and the consumer has seen neither.
    first.happen(3).await;
    first.publish(&bus, 2).await;
    let second = Life::restored(2, &first, 3).await;
    adopt_into(&store, &second).await;
    second.happen(1).await;
    second.publish(&bus, 3).await;
    assert_eq!(consume(&store, &bus).await, 0, "nothing is held");
    let expected = [(1, 1), (1, 2), (1, 3), (2, 4)];
    assert_eq!(seen(&store).await, expected);
    // From the beginning, as `tradewind republish` may have it.
    second.happen(1).await;
    second.publish(&bus, 0).await;
    assert_eq!(consume(&store, &bus).await, 0);
    assert_eq!(seen(&store).await, [expected.as_slice(), &[(2, 5)]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_has_seen_nothing_begins_in_the_life_that_was_restored() {
    let (bus, store, first) = (MemoryBus::default(), store(), Life::begin(1).await);
    first.happen(3).await;
    first.publish(&bus, 0).await;
    let second = Life::restored(2, &first, 1).await;
    adopt_into(&store, &second).await;
    second.happen(2).await;
    second.publish(&bus, 0).await;
    assert_eq!(consume(&store, &bus).await, 0);
    assert_eq!(seen(&store).await, [(1, 1), (2, 2), (2, 3)]);
}

/// Nobody knows of the life that began with the first restore when the same backup is restored once more.
#[tokio::test(start_paused = true)]
async fn a_life_that_is_not_known_holds_its_lane_only_until_that_of_the_consumer_goes_on() {
    for has_seen in [0, 1] {
        let (bus, store, first) = (MemoryBus::default(), store(), Life::begin(1).await);
        first.happen(1).await;
        if has_seen > 0 {
            first.publish(&bus, 0).await;
            assert_eq!(consume(&store, &bus).await, 0);
        }
        let forgotten = Life::restored(2, &first, 1).await;
        forgotten.happen(3).await;
        forgotten.publish(&bus, 0).await;
        let third = Life::restored(3, &first, 1).await;
        adopt_into(&store, &third).await;
        assert_eq!(consume(&store, &bus).await, 1, "what became of it is not known");
        third.happen(1).await;
        third.publish(&bus, 0).await;
        consume(&store, &bus).await;
        let begin = if has_seen > 0 { (1, 1) } else { (3, 1) };
        assert_eq!(seen(&store).await, [begin, (3, 2)]);
        third.happen(4).await;
        third.publish(&bus, 2).await;
        consume(&store, &bus).await;
        assert_eq!(consume(&store, &bus).await, 0, "it is behind the present one");
        assert_eq!(seen(&store).await.len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_a_restore_has_stopped_says_so_and_that_nothing_is_published() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
    let first = Life::begin(1).await;
    first.happen(2).await;
    let before = engine(Service::Orders, &first.store).await;
    relay::start(&before, &bus);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let consumers = Consumers::start(&before, &bus, Vec::new());
    let journal = consumers.journal().await.unwrap();
    assert_eq!((journal.published, journal.stopped), (Some(2), None));
    before.stop().await;

    let second = Life::restored(2, &first, 2).await;
    second.take_cursor_of(&first).await;
    second.happen(3).await;
    let after = engine(Service::Orders, &second.store).await;
    relay::start(&after, &bus);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let consumers = Consumers::start(&after, &bus, Vec::new());
    let journal = consumers.journal().await.unwrap();
    assert_eq!((journal.position, journal.published), (5, Some(0)));
    assert!(journal.stopped.unwrap().contains("tradewind republish"));
    relay::republish(&after, Position(2)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let journal = consumers.journal().await.unwrap();
    assert_eq!((journal.published, journal.stopped), (Some(5), None));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_has_seen_more_than_was_restored_is_held() {
    let (bus, store, first) = (MemoryBus::default(), store(), Life::begin(1).await);
    first.happen(3).await;
    first.publish(&bus, 0).await;
    assert_eq!(consume(&store, &bus).await, 0);
    let second = Life::restored(2, &first, 2).await;
    adopt_into(&store, &second).await;
    second.happen(5).await;
    second.publish(&bus, 0).await;
    assert_eq!(consume(&store, &bus).await, 1);
    assert_eq!(seen(&store).await, [(1, 1), (1, 2), (1, 3)]);
}

#[tokio::test]
async fn a_journal_that_was_restored_is_known_until_something_happens_in_it() {
    let begun = Life::begin(1).await;
    begun.happen(3).await;
    assert!(!is_restored(begun.store.as_ref(), BACKUP).await.unwrap());
    let restored = Life::restored(2, &begun, 3).await;
    let is_of = async |checksum| is_restored(restored.store.as_ref(), checksum).await.unwrap();
    assert_eq!((is_of(BACKUP).await, is_of("another").await), (true, false));
    restored.happen(1).await;
    assert!(!is_of(BACKUP).await);
}
