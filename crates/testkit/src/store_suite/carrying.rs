//! A whole store is read as it was at one moment, and is the same where it is carried to.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::event::Position;
use kernel::store::carry::{Carried, Load, PIECE_BYTES_MAX, PIECE_DOCUMENTS_MAX, Snapshot};
use kernel::store::{Expect, Opened, Store, Tail};

use super::StoreFactory;
use super::fixture::{NOTES, THINGS, batch, columns, everything, note, schema, thing};
use super::journal::assert_whole;

/// Opens stores whole, for whoever opens them.
#[async_trait]
pub trait OpenedFactory: Send + Sync {
    /// A handle as one process would have it.
    async fn open(&self) -> Arc<dyn Opened>;
}

#[async_trait]
impl<T: OpenedFactory> StoreFactory for T {
    async fn open(&self) -> Arc<dyn Store> {
        OpenedFactory::open(self).await
    }
}

/// Everything, piece by piece.
async fn read(snapshot: &mut dyn Snapshot) -> Load {
    let (mut events, mut after) = (Vec::new(), Position::START);
    loop {
        let piece = snapshot.events(after).await.expect("the journal is read");
        let Some(last) = piece.last() else { break };
        after = last.position;
        events.extend(piece);
    }
    Load {
        head: snapshot.head().clone(),
        events,
        documents: None,
    }
}

async fn documents(snapshot: &mut dyn Snapshot, collection: &'static kernel::document::Collection) -> Vec<Carried> {
    let (mut documents, mut after) = (Vec::new(), None::<Arc<str>>);
    loop {
        let piece = snapshot.documents(collection, after.as_deref()).await;
        let piece = piece.expect("the collection is read");
        let Some(last) = piece.last() else { return documents };
        let before: usize = piece[..piece.len() - 1].iter().map(|it| it.document.len()).sum();
        assert!(
            piece.len() <= PIECE_DOCUMENTS_MAX && before < PIECE_BYTES_MAX,
            "a piece is bounded"
        );
        after = Some(Arc::clone(&last.id));
        documents.extend(piece);
    }
}

/// Texts that databases like to change: order of keys, spaces, case, signs beyond the first plane.
const STRANGE: [(&str, &str); 5] = [
    ("a", "{\"z\": 1.0, \"a\":\"🦀 é\"}"),
    ("A", "{}"),
    ("a ", "{ }"),
    ("🦀", "[1e3, -0.0]"),
    ("\u{ffee}", "\"\\u0041\""),
];

async fn furnish(store: &Arc<dyn Store>) {
    let mut draft = batch().event("s", 1).event("t", 1);
    for (number, (id, document)) in STRANGE.into_iter().enumerate() {
        draft = draft.put_note(id, document, Expect::Absent);
        let rank = i64::try_from(number).expect("it is small");
        draft = draft.put(thing(id), document, columns("ann", rank, "l"), Expect::Absent);
    }
    draft.commit(store).await;
    let draft = batch()
        .event("s", 2)
        .put_note("a", "{\"again\":true}", Expect::Version(1));
    draft.delete(thing("A"), Expect::Any).commit(store).await;
}

pub async fn a_snapshot_stays_as_it_was_whatever_is_committed(factory: &dyn OpenedFactory) {
    let opened = factory.open().await;
    let store: Arc<dyn Store> = Arc::clone(&opened) as _;
    furnish(&store).await;
    let mut snapshot = opened.snapshot().await.expect("there is a snapshot");
    let draft = batch().event("s", 3).put_note("a", "{}", Expect::Any);
    draft.delete(note("A"), Expect::Any).commit(&store).await;

    let Load { head, events, .. } = read(snapshot.as_mut()).await;
    assert_eq!((head.position.0, events.len()), (3, 3));
    assert_whole(&head, &events);
    let notes = documents(snapshot.as_mut(), &NOTES).await;
    let found: Vec<_> = notes.iter().map(|it| (&*it.id, it.version, &*it.document)).collect();
    let mut expected: Vec<_> = STRANGE.into_iter().map(|(id, document)| (id, 1, document)).collect();
    expected[0] = ("a", 2, "{\"again\":true}");
    expected.sort_unstable();
    assert_eq!(found, expected, "by id, as bytes");
}

pub async fn what_is_carried_into_an_empty_store_is_the_same_there(new: impl AsyncFn() -> Box<dyn OpenedFactory>) {
    let (from, to) = (new().await, new().await);
    let source = from.open().await;
    furnish(&(Arc::clone(&source) as _)).await;
    let mut snapshot = source.snapshot().await.expect("there is a snapshot");
    let load = read(snapshot.as_mut()).await;

    let target = to.open().await;
    target.load(load.clone()).await.expect("the journal is taken");
    for collection in schema().collections {
        let documents = documents(snapshot.as_mut(), collection).await;
        // Twice: whoever was cut short begins a piece again.
        for _ in 0..2 {
            let load = Load {
                head: load.head.clone(),
                events: Vec::new(),
                documents: Some((collection, documents.clone())),
            };
            target.load(load).await.expect("the documents are taken");
        }
    }
    let (source, target): (Arc<dyn Store>, Arc<dyn Store>) = (source, target);
    assert_eq!(everything(&target).await, everything(&source).await);

    // And both go on alike, with versions and conditions as they were.
    for store in [&source, &target] {
        let draft = batch().put_note("a", "{}", Expect::Version(2));
        draft
            .put(thing("a"), "{}", columns("bob", 1, "l"), Expect::Version(1))
            .commit(store)
            .await;
    }
    assert_eq!(everything(&target).await, everything(&source).await);
}

pub async fn a_store_is_carried_in_pieces(factory: &dyn OpenedFactory) {
    let opened = factory.open().await;
    let store: Arc<dyn Store> = Arc::clone(&opened) as _;
    let many = PIECE_DOCUMENTS_MAX + 7;
    let mut draft = batch();
    for number in 0..many {
        draft = draft.put(
            thing(&format!("t{number:05}")),
            "{}",
            columns("ann", 1, "l"),
            Expect::Absent,
        );
    }
    draft.commit(&store).await;
    let large = format!("\"{}\"", "x".repeat(PIECE_BYTES_MAX / 4));
    for number in 0..6 {
        batch()
            .put_note(&format!("n{number}"), &large, Expect::Absent)
            .commit(&store)
            .await;
    }
    let mut snapshot = opened.snapshot().await.expect("there is a snapshot");
    assert_eq!(documents(snapshot.as_mut(), &THINGS).await.len(), many);
    assert_eq!(documents(snapshot.as_mut(), &NOTES).await.len(), 6);
}

/// What commits are measured by writes the rows that they write.
pub async fn rows_are_inserted_and_nothing_else(factory: &dyn OpenedFactory) {
    let opened = factory.open().await;
    let store: Arc<dyn Store> = Arc::clone(&opened) as _;
    let before = store.tail(Position::START, 0).await.expect("there is a head").head;
    let batches = ["s", "t"].map(|stream| {
        let draft = batch().event(stream, 1).event(stream, 2);
        draft.put_note(stream, "{}", Expect::Absent).build()
    });
    let inserted = opened.insert(batches.into(), Position(40)).await;
    inserted.expect("nothing is there yet");
    let Tail { head, events } = store.tail(Position::START, 10).await.expect("the journal is read");
    let places: Vec<_> = events
        .iter()
        .map(|event| (event.position.0, event.stream.as_str()))
        .collect();
    assert_eq!(places, [(41, "s"), (42, "s"), (43, "t"), (44, "t")]);
    assert_eq!(head, before, "whoever inserts rows does not move the head");
    let notes = store.get(&[note("s"), note("t")]).await.expect("the notes are read");
    assert!(
        notes.iter().all(|it| it.as_ref().is_some_and(|it| it.version == 1)),
        "{notes:?}"
    );
}
