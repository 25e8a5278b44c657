//! What was committed is there after a restart.

use std::sync::Arc;

use jiff::SignedDuration;
use kernel::document::Value;
use kernel::event::Position;
use kernel::store::{CommitError, Conflict, Expect, Query};

use super::StoreFactory;
use super::fixture::{THINGS, batch, columns, everything, ids, noon, note, thing};
use super::journal::assert_whole;

pub async fn everything_is_there_after_a_restart(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let document = "{\"z\": 1.0, \"a\":\"🦀 é\"}";
    batch()
        .event("s", 1)
        .event("t", 1)
        .put_note("n", document, Expect::Absent)
        .commit(&store)
        .await;
    let later = noon() + SignedDuration::from_secs(1);
    let draft = batch()
        .at(later)
        .event("s", 2)
        .put(thing("a"), document, columns("ann", 2, "l"), Expect::Absent);
    let draft = draft.put(thing("b"), document, columns("ann", Value::Null, "l"), Expect::Absent);
    draft.put_note("gone", "{}", Expect::Any).commit(&store).await;
    batch().at(later).delete(note("gone"), Expect::Any).commit(&store).await;
    let before = everything(&store).await;
    drop(store);

    let store = factory.open().await;
    assert_eq!(everything(&store).await, before);
    let of_ann = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 100);
    assert_eq!(ids(&store, &of_ann).await, ["b", "a"]);

    // And it goes on where it was.
    batch()
        .at(later)
        .event("s", 3)
        .event("t", 2)
        .put_note("n", "{}", Expect::Version(1))
        .commit(&store)
        .await;
    let tail = store.tail(Position::START, 100).await.expect("the tail is read");
    assert_eq!(tail.events.len(), 5);
    assert_eq!(tail.head.epoch, before.head.epoch);
    assert_whole(&tail.head, &tail.events);
    match store.commit(batch().event("s", 4).build()).await {
        Err(CommitError::Conflict(conflicts)) => assert_eq!(conflicts, [Conflict::Time(later)]),
        other => panic!("a batch from the past: {other:?}"),
    }
}

pub async fn a_restarted_writer_settles_its_latest_batch(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let sent = batch().event("s", 1).put_note("n", "{}", Expect::Absent).build();
    let first = store
        .commit(Arc::clone(&sent))
        .await
        .expect("nothing speaks against it");
    let before = everything(&store).await;
    drop(store);

    let store = factory.open().await;
    assert_eq!(store.commit(sent).await.expect("it was committed"), first);
    assert_eq!(everything(&store).await, before);
}
