//! A store against a model of it: whatever is committed in whatever order, over restarts, both hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use kernel::document::{Key, Value};
use kernel::event::{Lane, Position, StreamId};
use kernel::store::{Batch, CommitError, Committed, Conflict, Expect, Found, Query, Store, Stored};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use super::StoreFactory;
use super::fixture::{Draft, LANES, NOTES, THINGS, batch, noon, note, thing};
use super::model::{Random, Thing, answer};
use super::queries::walk;

/// Stores that are made, each for one run of some steps.
const RUNS: u32 = 8;
/// Steps of a run.
const STEPS_MAX: usize = 24;

/// A step of a run, in words that mean something in every state: what they mean of one is worked out there.
#[derive(Clone, Debug)]
enum Step {
    Commit(Plan),
    /// The writer's latest batch is sent again, as after a connection that broke.
    Repeat {
        writer: usize,
    },
    /// All is closed, and opened again.
    Reopen,
}

#[derive(Clone, Debug)]
struct Plan {
    writer: usize,
    /// After the journal's last event.
    seconds: i64,
    /// To which stream, and how far from its next version.
    events: Vec<(usize, i64)>,
    /// What is done with a document, and under which condition.
    documents: Vec<(Address, Deed, Condition)>,
}

/// A collection and an id.
type Address = (bool, usize);

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Its columns are drawn from this seed.
    Put(u64),
    Delete,
    Read,
}

/// What is asked of the version that there is.
#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    Absent,
    /// It is so many more.
    Off(i64),
}

const WRITERS: [&str; 2] = ["w", "x"];
const STREAMS: [&str; 3] = ["s", "ord_1", "sku:é"];
const IDS: [&str; 3] = ["1", "10", "é"];

fn key((is_thing, id): Address) -> Key {
    if is_thing { thing(IDS[id]) } else { note(IDS[id]) }
}

/// What a store is, in the plainest terms.
#[derive(Clone, Debug, Default)]
struct Model {
    documents: BTreeMap<Key, (u64, Arc<str>, Vec<Value>)>,
    /// Stream, version, data and time of each event.
    journal: Vec<(StreamId, u64, String, Timestamp)>,
    /// Each writer's latest batch, and where it ended.
    latest: BTreeMap<usize, (Arc<Batch>, Committed)>,
}

impl Model {
    fn version(&self, key: &Key) -> Option<u64> {
        self.documents.get(key).map(|(version, _, _)| *version)
    }

    fn last_version(&self, stream: &StreamId) -> u64 {
        self.journal.iter().filter(|event| event.0 == *stream).count() as u64
    }

    fn time(&self) -> Option<Timestamp> {
        self.journal.last().map(|event| event.3)
    }

    fn last(&self) -> Position {
        Position(self.journal.len() as u64)
    }

    /// The plan as a batch.
    fn batch(&self, plan: &Plan) -> Arc<Batch> {
        let time = self.time().unwrap_or_else(noon) + SignedDuration::from_secs(plan.seconds);
        let mut draft = batch().by(WRITERS[plan.writer]).at(time);
        let mut next = BTreeMap::new();
        for (stream, off) in &plan.events {
            let stream = StreamId::new(STREAMS[*stream]);
            let version = next.entry(stream.clone()).or_insert_with(|| self.last_version(&stream));
            *version += 1;
            let version = version.saturating_add_signed(*off).max(1);
            draft = draft.event_with(stream.as_str(), version, &format!("{{ \"é\":[{version},1.0]}}"));
        }
        for (address, deed, condition) in &plan.documents {
            draft = self.deed(draft, key(*address), *deed, *condition);
        }
        draft.build()
    }

    fn deed(&self, draft: Draft, key: Key, deed: Deed, condition: Condition) -> Draft {
        let version = self.version(&key);
        let off = |by| version.unwrap_or(0).saturating_add_signed(by).max(1);
        let expect = match condition {
            Condition::None => Expect::Any,
            Condition::Absent => Expect::Absent,
            Condition::Off(by) => Expect::Version(off(by)),
        };
        match deed {
            Deed::Put(seed) if key.collection == THINGS.name => {
                let columns = Random(seed).columns();
                draft.put(key, &format!("{{\"seed\" : {seed}}}"), columns, expect)
            }
            Deed::Put(seed) => draft.put(key, &format!("[{seed}]"), Vec::new(), expect),
            Deed::Delete => draft.delete(key, expect),
            Deed::Read => draft.read(
                key,
                match condition {
                    Condition::None => version,
                    Condition::Absent => None,
                    Condition::Off(by) => Some(off(by)),
                },
            ),
        }
    }

    /// What speaks against a batch.
    fn conflicts(&self, batch: &Batch) -> Vec<Conflict> {
        let holds = |key: &Key, expect| match expect {
            Expect::Any => true,
            Expect::Absent => self.version(key).is_none(),
            Expect::Version(version) => self.version(key) == Some(version),
        };
        let reads = batch
            .reads
            .iter()
            .map(|(key, seen)| (key, seen.map_or(Expect::Absent, Expect::Version)));
        let puts = batch.puts.iter().map(|put| (&put.key, put.expect));
        let deletes = batch.deletes.iter().map(|delete| (&delete.key, delete.expect));
        let documents = reads
            .chain(puts)
            .chain(deletes)
            .filter(|(key, expect)| !holds(key, *expect));
        let documents: BTreeSet<&Key> = documents.map(|(key, _)| key).collect();
        let streams: BTreeSet<&StreamId> = batch.events.iter().map(|event| &event.stream).collect();
        let streams = streams.into_iter().filter(|stream| {
            let versions = batch
                .events
                .iter()
                .filter(|event| event.stream == **stream)
                .map(|event| event.version);
            !versions
                .eq((self.last_version(stream) + 1..)
                    .take(batch.events.iter().filter(|it| it.stream == **stream).count()))
        });
        let documents = documents.into_iter().cloned().map(Conflict::Document);
        documents.chain(streams.cloned().map(Conflict::Stream)).collect()
    }

    fn is_in_the_past(&self, batch: &Batch) -> bool {
        self.time().is_some_and(|time| batch.time < time)
    }

    fn commit(&mut self, batch: &Arc<Batch>) -> Committed {
        for event in &batch.events {
            let data = event.data.get().to_owned();
            self.journal
                .push((event.stream.clone(), event.version, data, event.time));
        }
        for put in &batch.puts {
            let version = self.version(&put.key).unwrap_or(0) + 1;
            let document = (version, Arc::clone(&put.document), put.columns.clone());
            self.documents.insert(put.key.clone(), document);
        }
        for delete in &batch.deletes {
            self.documents.remove(&delete.key);
        }
        let committed = Committed { last: self.last() };
        let writer = WRITERS.iter().position(|name| *name == &*batch.writer);
        let writer = writer.expect("a writer of the model");
        self.latest.insert(writer, (Arc::clone(batch), committed));
        committed
    }
}

/// Only the shape of the steps is drawn: what they mean in a state is worked out when they are taken.
impl ReferenceStateMachine for Model {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        let off = || prop_oneof![12 => Just(0), 1 => Just(-1), 1 => Just(1)];
        let seconds = prop_oneof![6 => Just(0), 3 => Just(1), 1 => Just(-1)];
        let condition =
            prop_oneof![4 => Just(Condition::None), 1 => Just(Condition::Absent), 4 => off().prop_map(Condition::Off)];
        let deed = prop_oneof![5 => any::<u64>().prop_map(Deed::Put), 2 => Just(Deed::Delete), 1 => Just(Deed::Read)];
        let address = (any::<bool>(), 0..IDS.len());
        // A document is written at most once in a batch.
        let documents = prop::collection::btree_map(address, (deed, condition), 0..4);
        let events = prop::collection::vec((0..STREAMS.len(), off()), 0..4);
        let plan = (0..WRITERS.len(), seconds, events, documents).prop_map(|(writer, seconds, events, documents)| {
            let documents = documents
                .into_iter()
                .map(|(address, (deed, condition))| (address, deed, condition));
            Step::Commit(Plan {
                writer,
                seconds,
                events,
                documents: documents.collect(),
            })
        });
        let repeat = (0..WRITERS.len()).prop_map(|writer| Step::Repeat { writer });
        prop_oneof![10 => plan, 2 => repeat, 1 => Just(Step::Reopen)].boxed()
    }

    fn apply((): (), _: &Step) {}
}

pub async fn whatever_is_committed_a_store_holds_what_its_model_holds(new: impl AsyncFn() -> Box<dyn StoreFactory>) {
    let runtime = tokio::runtime::Handle::current();
    let config = Config {
        cases: RUNS,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let steps = Model::sequential_strategy(1..STEPS_MAX);
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&steps, |((), steps, seen)| {
            runtime.block_on(async {
                let factory = new().await;
                let mut store = factory.open().await;
                let mut model = Model::default();
                for step in &steps {
                    if let Some(seen) = &seen {
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                    store = take(&*factory, store, &mut model, step).await;
                    compare(&store, &model).await;
                }
            });
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Takes a step with both, whose answers must be the same.
async fn take(factory: &dyn StoreFactory, store: Arc<dyn Store>, model: &mut Model, step: &Step) -> Arc<dyn Store> {
    match step {
        Step::Reopen => {
            drop(store);
            return factory.open().await;
        }
        Step::Repeat { writer } => {
            if let Some((batch, first)) = model.latest.get(writer) {
                let again = store.commit(Arc::clone(batch)).await;
                assert_eq!(again.expect("it was committed before"), *first, "sent again");
            }
        }
        Step::Commit(plan) => {
            let batch = model.batch(plan);
            let conflicts = model.conflicts(&batch);
            match store.commit(Arc::clone(&batch)).await {
                Ok(committed) => {
                    assert!(!model.is_in_the_past(&batch), "time has run back");
                    assert_eq!(conflicts, [], "nothing spoke against it");
                    assert_eq!(committed, model.commit(&batch));
                }
                Err(CommitError::Conflict(named)) => assert_named(model, &batch, &conflicts, &named),
                Err(other) => panic!("{other}"),
            }
        }
    }
    store
}

/// A batch from the past is refused for that, whether or not the other conflicts are named too; else all are, each once.
fn assert_named(model: &Model, batch: &Batch, conflicts: &[Conflict], named: &[Conflict]) {
    let mut named = named.to_vec();
    let past = model.time().filter(|_| model.is_in_the_past(batch)).map(Conflict::Time);
    if let Some(past) = past {
        assert!(named.contains(&past), "{named:?} lacks {past:?}");
        named.retain(|conflict| *conflict != past);
        assert!(
            named.iter().all(|conflict| conflicts.contains(conflict)),
            "{named:?} is more than {conflicts:?}"
        );
        return;
    }
    let sorted = |conflicts: &[Conflict]| {
        let mut words: Vec<_> = conflicts.iter().map(|conflict| format!("{conflict:?}")).collect();
        words.sort();
        words
    };
    assert_eq!(sorted(&named), sorted(conflicts), "conflicts");
    assert!(!named.is_empty(), "refused for nothing");
}

async fn compare(store: &Arc<dyn Store>, model: &Model) {
    compare_documents(store, model).await;
    compare_journal(store, model).await;
}

async fn compare_documents(store: &Arc<dyn Store>, model: &Model) {
    let addresses = [true, false]
        .into_iter()
        .flat_map(|is_thing| (0..IDS.len()).map(move |id| key((is_thing, id))));
    let keys: Vec<Key> = addresses.rev().collect();
    let stored = |key: &Key| {
        let (version, document, _) = model.documents.get(key)?;
        let (version, document) = (*version, Arc::clone(document));
        Some(Stored { version, document })
    };
    let got = store.get(&keys).await.expect("the documents are read");
    assert_eq!(got, keys.iter().map(stored).collect::<Vec<_>>());

    for collection in [&THINGS, &NOTES] {
        let found = store.query(&Query::all(collection, usize::MAX)).await;
        let expected = model.documents.keys().filter(|key| key.collection == collection.name);
        let expected: Vec<Found> = expected
            .map(|key| Found {
                id: Arc::clone(&key.id),
                sort: None,
                stored: stored(key).expect("its key is in the model"),
            })
            .collect();
        assert_eq!(found.expect("the documents are found"), expected);
    }

    let things = model.documents.iter().filter(|(key, _)| key.collection == THINGS.name);
    let things: Vec<Thing> = things.map(|(key, it)| (Arc::clone(&key.id), it.2.clone())).collect();
    let mut random = Random(model.last().0 ^ things.len() as u64);
    for _ in 0..5 {
        let query = random.query();
        assert_eq!(
            walk(store, &query, query.limit).await,
            answer(&things, &query),
            "{query:?}"
        );
    }
}

async fn compare_journal(store: &Arc<dyn Store>, model: &Model) {
    let length = model.journal.len();
    let mut lanes = vec![Position::START; usize::from(LANES)];
    let mut expected = Vec::new();
    for (position, (stream, version, data, time)) in (1..).map(Position).zip(&model.journal) {
        let lane = Lane::of(stream, LANES);
        let prev = std::mem::replace(&mut lanes[lane.index()], position);
        expected.push((position, prev, lane, stream.clone(), *version, data.clone(), *time));
    }
    let shown = |events: Vec<kernel::event::Recorded>| -> Vec<_> {
        let events = events.into_iter();
        events
            .map(|it| {
                (
                    it.position,
                    it.prev,
                    it.lane,
                    it.stream,
                    it.version,
                    it.data.get().to_owned(),
                    it.time,
                )
            })
            .collect()
    };
    for (after, limit) in [(0, usize::MAX), (length / 2, 2), (length, 1), (length + 3, 1), (0, 0)] {
        let tail = store
            .tail(Position(after as u64), limit)
            .await
            .expect("the tail is read");
        assert_eq!(tail.head.position, model.last());
        assert_eq!(tail.head.lanes, lanes);
        assert_eq!(tail.head.time, model.time().unwrap_or(Timestamp::UNIX_EPOCH));
        let expected: Vec<_> = expected.iter().skip(after).take(limit).cloned().collect();
        assert_eq!(shown(tail.events), expected, "after {after}, at most {limit}");
    }
    for stream in STREAMS.map(StreamId::new) {
        let expected: Vec<_> = expected
            .iter()
            .filter(|event| event.3 == stream)
            .skip(1)
            .take(2)
            .cloned()
            .collect();
        let events = store.stream(&stream, 2, 2).await.expect("the stream is read");
        assert_eq!(shown(events), expected, "{stream} from its second on");
    }
}
