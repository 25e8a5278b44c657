//! A batch is one transaction.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jiff::SignedDuration;
use kernel::document::{Key, Value};
use kernel::event::{Lane, Position, StreamId};
use kernel::store::{Batch, CommitError, Conflict, Expect, Put, Query, Store, Stored};
use tokio::task::JoinSet;

use super::StoreFactory;
use super::fixture::{LANES, THINGS, batch, columns, everything, get, noon, note, thing};
use super::model::Random;

pub async fn a_batch_is_there_whole_when_commit_returns(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    batch().put_note("old", "{}", Expect::Absent).commit(&store).await;

    let committed = batch()
        .event("a", 1)
        .event("b", 1)
        .event("a", 2)
        .put_thing("t", Expect::Absent)
        .put_note("n", r#"{"n":1}"#, Expect::Absent)
        .delete(note("old"), Expect::Version(1))
        .commit(&store)
        .await;

    assert_eq!(committed.last, Position(3));
    let found = everything(&store).await;
    assert_eq!(found.head.position, Position(3));
    assert_eq!(found.head.time, noon());
    assert_eq!(found.events.len(), 3);
    let ids: Vec<_> = found.documents.iter().map(|found| &*found.id).collect();
    assert_eq!(ids, ["t", "n"]);
}

pub async fn a_refused_batch_can_be_committed_once_its_condition_holds(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let waiting = batch().event("a", 1).put_note("n", "{}", Expect::Version(1)).build();
    store
        .commit(Arc::clone(&waiting))
        .await
        .expect_err("there is no note yet");

    batch()
        .by("other")
        .put_note("n", "{}", Expect::Absent)
        .commit(&store)
        .await;

    // A refusal must not be remembered as the writer's latest batch.
    let committed = store.commit(waiting).await.expect("the note is there now");
    assert_eq!(committed.last, Position(1));
    assert_eq!(get(&store, note("n")).await.expect("it is there").version, 2);
}

pub async fn the_same_batch_again_answers_alike_and_writes_nothing(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let sent = batch().event("a", 1).put_note("n", "{}", Expect::Absent).build();
    let first = store
        .commit(Arc::clone(&sent))
        .await
        .expect("nothing speaks against it");
    // Others go on meanwhile, and later.
    let later = noon() + SignedDuration::from_secs(1);
    batch()
        .by("other")
        .at(later)
        .event("b", 1)
        .put_note("n", "{}", Expect::Version(1))
        .commit(&store)
        .await;
    let before = everything(&store).await;

    for _ in 0..3 {
        let again = store.commit(Arc::clone(&sent)).await.expect("it was committed");
        assert_eq!(again, first, "the answer is the first one, not the head");
    }
    assert_eq!(everything(&store).await, before);
}

pub async fn each_writer_has_its_own_latest_batch(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let ours = batch().by("one").event("a", 1).build();
    let theirs = batch().by("two").event("b", 1).build();
    let first = store
        .commit(Arc::clone(&ours))
        .await
        .expect("nothing speaks against it");
    let second = store
        .commit(Arc::clone(&theirs))
        .await
        .expect("nothing speaks against it");

    assert_eq!(store.commit(ours).await.expect("it was committed"), first);
    assert_eq!(store.commit(theirs).await.expect("it was committed"), second);
    assert_eq!(everything(&store).await.events.len(), 2);
}

pub async fn a_batch_of_nothing_ends_at_the_head(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    assert_eq!(batch().commit(&store).await.last, Position::START);
    batch().event("a", 1).commit(&store).await;
    let before = everything(&store).await;
    assert_eq!(batch().commit(&store).await.last, Position(1));
    assert_eq!(batch().read(thing("none"), None).commit(&store).await.last, Position(1));
    assert_eq!(everything(&store).await, before);
}

pub async fn a_batch_that_does_not_fit_the_schema_is_refused_for_its_content(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let before = everything(&store).await;
    let unknown = || Key {
        collection: "unknown",
        id: "x".into(),
    };
    let event = |change: fn(&mut Batch)| batch().event("a", 1).with(change);
    let put = |key: Key, columns: Vec<Value>| batch().event("a", 1).put(key, "{}", columns, Expect::Any);
    let misfits = [
        ("a put into an unknown collection", put(unknown(), Vec::new())),
        (
            "a delete from an unknown collection",
            batch().event("a", 1).delete(unknown(), Expect::Any),
        ),
        (
            "a read of an unknown collection",
            batch().event("a", 1).read(unknown(), None),
        ),
        ("too few columns", put(thing("t"), vec![Value::Null])),
        ("too many columns", put(note("n"), vec![Value::Null])),
        ("a number in a text column", put(thing("t"), columns(1, 1, "x"))),
        ("text in a number column", put(thing("t"), columns("x", "x", "x"))),
        (
            "a lane that is not the stream's",
            event(|batch| batch.events[0].lane = Lane((batch.events[0].lane.0 + 1) % LANES)),
        ),
        (
            "a time that is not the batch's",
            event(|batch| batch.events[0].time += SignedDuration::from_secs(1)),
        ),
        ("version 0", event(|batch| batch.events[0].version = 0)),
        (
            "a document put twice",
            put(note("n"), Vec::new()).put_note("n", "{}", Expect::Any),
        ),
        (
            "a document put and deleted",
            put(note("n"), Vec::new()).delete(note("n"), Expect::Any),
        ),
    ];
    for (what, misfit) in misfits {
        let refused = store.commit(misfit.build()).await;
        assert!(matches!(refused, Err(CommitError::Content(_))), "{what}: {refused:?}");
        assert_eq!(everything(&store).await, before, "{what}");
    }
}

pub async fn time_never_runs_back(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    batch().event("a", 1).commit(&store).await;
    let before = everything(&store).await;

    let earlier = noon() - SignedDuration::from_micros(1);
    for late in [
        batch().at(earlier).event("a", 2),
        batch().at(earlier).put_note("n", "{}", Expect::Any),
    ] {
        match store.commit(late.build()).await {
            Err(CommitError::Conflict(conflicts)) => assert_eq!(conflicts, [Conflict::Time(noon())]),
            other => panic!("a batch from the past: {other:?}"),
        }
    }
    assert_eq!(everything(&store).await, before);

    // The same microsecond is not earlier, and documents alone do not move the journal's time.
    batch().event("a", 2).commit(&store).await;
    let later = noon() + SignedDuration::from_micros(1);
    batch().at(later).put_note("n", "{}", Expect::Any).commit(&store).await;
    assert_eq!(everything(&store).await.head.time, noon());
    batch().at(later).event("a", 3).commit(&store).await;
    assert_eq!(everything(&store).await.head.time, later);
}

pub async fn a_dropped_commit_leaves_no_transaction_open(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let mut sent = Vec::new();
    for number in 0..40_u64 {
        let writer = format!("w{number}");
        let stream = format!("s{number}");
        let abandoned = batch()
            .by(&writer)
            .event(&stream, 1)
            .put_note(&stream, "{}", Expect::Absent)
            .build();
        let commit = store.commit(Arc::clone(&abandoned));
        // From "never polled far" to "almost done".
        let _ = tokio::time::timeout(Duration::from_micros(number * 50), commit).await;
        sent.push(abandoned);
    }

    // A transaction left open would hold the head, and this would wait for ever.
    batch().event("after", 1).commit(&store).await;
    for abandoned in sent {
        settle(&store, &abandoned).await;
    }
    let found = everything(&store).await;
    assert_eq!(found.head.position, Position(41), "each batch once");
    assert_eq!(found.documents.len(), 40);
}

/// Each abandoned batch is there whole or not at all, and is settled by sending it again.
async fn settle(store: &Arc<dyn Store>, abandoned: &Arc<Batch>) {
    let Put { key, .. } = &abandoned.puts[0];
    let document = get(store, key.clone()).await.is_some();
    let events = store
        .stream(&abandoned.events[0].stream, 1, 10)
        .await
        .expect("the stream is read")
        .len();
    assert!(
        document == (events == 1) && events <= 1,
        "half of an abandoned batch: {document}, {events}"
    );
    store
        .commit(Arc::clone(abandoned))
        .await
        .expect("it was committed, or is now");
}

/// What it leaves on a connection meets whoever gets that next.
pub async fn a_dropped_read_leaves_no_transaction_open(factory: &dyn StoreFactory) {
    /// More than a pool has connections.
    const READERS: u64 = 16;
    let store = factory.open().await;
    let seed = u64::from(std::process::id());
    let mut random = Random(seed);
    for round in 1..=40_u64 {
        for kind in 0..READERS {
            // From "never polled far" to done: a poll for each answer of the database.
            drop_after(random.below(12), read(Arc::clone(&store), kind)).await;
        }
        let draft = batch().event("s", round).put_note("n", "{}", Expect::Any);
        let last = draft.put_columns("t", columns("ann", 1, "x")).commit(&store).await.last;
        let mut readers = JoinSet::new();
        for kind in 0..READERS {
            readers.spawn(read(Arc::clone(&store), kind));
        }
        for seen in readers.join_all().await {
            assert_eq!(seen, last.0, "a read sees what was there before (seed {seed})");
        }
    }
}

/// Which commit of those above is seen by a read: alone or of several statements, of documents or of the journal.
async fn read(store: Arc<dyn Store>, kind: u64) -> u64 {
    let many = (0..300).map(|number| note(&number.to_string()));
    let version = |found: Option<&Stored>| found.map_or(0, |stored| stored.version);
    match kind % 5 {
        0 => version(get(&store, note("n")).await.as_ref()),
        1 => {
            let keys: Vec<_> = many.chain([thing("t"), note("n")]).collect();
            let found = store.get(&keys).await.expect("the documents are read");
            version(found.last().and_then(Option::as_ref))
        }
        2 => {
            let ranked = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 10);
            let found = store.query(&ranked).await.expect("the query is answered");
            version(found.first().map(|found| &found.stored))
        }
        3 => {
            let stream = store.stream(&StreamId::new("s"), 1, usize::MAX).await;
            stream.expect("the stream is read").len() as u64
        }
        _ => {
            let tail = store.tail(Position::START, 1).await;
            tail.expect("the tail is read").head.position.0
        }
    }
}

/// Drops a future when it was polled so many times, if it is not done by then.
async fn drop_after(polls: usize, future: impl Future<Output = u64>) {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
