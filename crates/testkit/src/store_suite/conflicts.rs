//! A conflict is named, and nothing of its batch is written.

use std::sync::Arc;

use kernel::event::StreamId;
use kernel::store::{CommitError, Conflict, Expect, Store};

use super::StoreFactory;
use super::fixture::{Draft, batch, everything, note, thing};

/// A store with a stream of two events, the note `there` at version 2 and the thing `there` at version 1.
async fn populated(factory: &dyn StoreFactory) -> Arc<dyn Store> {
    let store = factory.open().await;
    batch()
        .event("s", 1)
        .put_note("there", "{}", Expect::Absent)
        .commit(&store)
        .await;
    let second = batch().event("s", 2).put_note("there", "{}", Expect::Version(1));
    second.put_thing("there", Expect::Absent).commit(&store).await;
    store
}

/// Parts of each kind around the conflict: something is written before it and after it, whatever the order.
fn beside(conflicting: Draft) -> Draft {
    let around = conflicting
        .event("s", 3)
        .event("new", 1)
        .put_note("new", "{}", Expect::Absent);
    around
        .put_thing("new", Expect::Any)
        .delete(thing("there"), Expect::Version(1))
}

async fn assert_refused(store: &Arc<dyn Store>, draft: Draft, expected: &[Conflict]) {
    let before = everything(store).await;
    let sent = draft.build();
    // Twice: the refusal is not remembered as done either.
    for _ in 0..2 {
        match store.commit(Arc::clone(&sent)).await {
            Err(CommitError::Conflict(found)) => assert_eq!(sorted(&found), sorted(expected)),
            other => panic!("expected {expected:?}, found {other:?}"),
        }
        assert_eq!(
            everything(store).await,
            before,
            "something of a refused batch was written"
        );
    }
}

fn sorted(conflicts: &[Conflict]) -> Vec<String> {
    let mut names: Vec<_> = conflicts.iter().map(|conflict| format!("{conflict:?}")).collect();
    names.sort();
    names
}

pub async fn an_unexpected_version_refuses_a_put_and_its_whole_batch(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    for version in [1, 3, u64::MAX] {
        let draft = beside(batch().put_note("there", "{}", Expect::Version(version)));
        assert_refused(&store, draft, &[Conflict::Document(note("there"))]).await;
    }
    let draft = beside(batch().put_note("none", "{}", Expect::Version(1)));
    assert_refused(&store, draft, &[Conflict::Document(note("none"))]).await;
}

pub async fn an_unexpected_version_refuses_a_delete_and_its_whole_batch(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    for version in [1, 3, u64::MAX] {
        let draft = beside(batch().delete(note("there"), Expect::Version(version)));
        assert_refused(&store, draft, &[Conflict::Document(note("there"))]).await;
    }
    let draft = beside(batch().delete(note("none"), Expect::Version(1)));
    assert_refused(&store, draft, &[Conflict::Document(note("none"))]).await;
}

pub async fn what_must_be_absent_and_is_not_refuses_the_whole_batch(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    let conflict = [Conflict::Document(note("there"))];
    assert_refused(
        &store,
        beside(batch().put_note("there", "{}", Expect::Absent)),
        &conflict,
    )
    .await;
    assert_refused(&store, beside(batch().delete(note("there"), Expect::Absent)), &conflict).await;
}

pub async fn what_was_read_and_has_changed_refuses_the_whole_batch(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    for seen in [None, Some(1), Some(3)] {
        let draft = beside(batch().read(note("there"), seen));
        assert_refused(&store, draft, &[Conflict::Document(note("there"))]).await;
    }
    let draft = beside(batch().read(note("none"), Some(1)));
    assert_refused(&store, draft, &[Conflict::Document(note("none"))]).await;
    // Alone too: that is how a refusal is checked before it is given.
    assert_refused(
        &store,
        batch().read(note("there"), Some(1)),
        &[Conflict::Document(note("there"))],
    )
    .await;
}

pub async fn a_version_that_a_stream_already_has_refuses_the_whole_batch(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    for version in [1, 2] {
        let draft = batch()
            .event("new", 1)
            .event("s", version)
            .put_note("new", "{}", Expect::Absent);
        assert_refused(&store, draft, &[Conflict::Stream(StreamId::new("s"))]).await;
    }
    let twice = batch()
        .event("new", 1)
        .event("new", 1)
        .put_note("new", "{}", Expect::Absent);
    assert_refused(&store, twice, &[Conflict::Stream(StreamId::new("new"))]).await;
}

pub async fn a_gap_in_a_stream_refuses_the_whole_batch(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    let draft = batch()
        .event("new", 1)
        .event("s", 4)
        .put_note("new", "{}", Expect::Absent);
    assert_refused(&store, draft, &[Conflict::Stream(StreamId::new("s"))]).await;
    let draft = batch().event("new", 2).put_note("new", "{}", Expect::Absent);
    assert_refused(&store, draft, &[Conflict::Stream(StreamId::new("new"))]).await;
}

pub async fn every_conflict_is_named_once(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    let draft = batch()
        .read(note("there"), Some(1))
        .read(thing("there"), None)
        .put_note("there", "{}", Expect::Version(1))
        .put_note("none", "{}", Expect::Version(7))
        .delete(thing("none"), Expect::Version(1))
        .event("s", 1)
        .event("s", 2)
        .event("new", 1);
    let expected = [
        Conflict::Document(note("there")),
        Conflict::Document(thing("there")),
        Conflict::Document(note("none")),
        Conflict::Document(thing("none")),
        Conflict::Stream(StreamId::new("s")),
    ];
    assert_refused(&store, draft, &expected).await;
}

pub async fn conditions_that_hold_are_no_conflict(factory: &dyn StoreFactory) {
    let store = populated(factory).await;
    batch()
        .read(note("there"), Some(2))
        .read(note("none"), None)
        // What is read and then written is read as it was before.
        .put_note("there", "{}", Expect::Version(2))
        .put_note("new", "{}", Expect::Absent)
        .put_note("any", "{}", Expect::Any)
        .delete(thing("there"), Expect::Version(1))
        .delete(thing("none"), Expect::Absent)
        .delete(thing("neither"), Expect::Any)
        .event("s", 3)
        .event("s", 4)
        .event("new", 1)
        .commit(&store)
        .await;
    batch()
        .delete(note("any"), Expect::Any)
        .put_note("there", "{}", Expect::Any)
        .commit(&store)
        .await;

    let found = everything(&store).await;
    assert_eq!(found.head.position.0, 5);
    let versions: Vec<_> = found
        .documents
        .iter()
        .map(|found| (&*found.id, found.stored.version))
        .collect();
    assert_eq!(versions, [("new", 1), ("there", 4)]);
}
