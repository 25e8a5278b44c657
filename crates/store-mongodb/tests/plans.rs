//! What calls cost the server: a page walks its index from where it begins, and nothing grows with history.

use std::ops::Bound;
use std::sync::Arc;

use bson::{Document, doc};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use kernel::document::Value;
use kernel::event::Position;
use kernel::store::{Query, Store};
use mongodb::{Client, Database};
use store_mongodb::{MongodbOptions, MongodbStore};
use testkit::store_suite::fixture::{THINGS, batch, columns, note, schema, thing};
use uuid::Uuid;

const THINGS_MAX: i64 = 600;
const LIMIT: usize = 10;

struct Watched {
    store: Arc<dyn Store>,
    shell: Database,
}

impl Watched {
    async fn open() -> Self {
        let (url, database) = (servers::Kind::Mongodb.shared(), servers::unique_name());
        let options = MongodbOptions::new(&url, &database, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        let opened = MongodbStore::open(options.expect("the server has a URL")).await;
        let client = Client::with_uri_str(&url).await.expect("the server has a URL");
        Self {
            store: Arc::new(opened.expect("the store opens")),
            shell: client.database(&database),
        }
    }

    /// Has the server note what it does.
    async fn watch(&self) {
        let profile = self.shell.run_command(doc! { "profile": 2 });
        profile.await.expect("the server can be watched");
    }

    /// What it did for the store since, in order.
    async fn seen(&self) -> Vec<Document> {
        let profile = self.shell.run_command(doc! { "profile": 0 });
        profile.await.expect("the server can be watched");
        let notes = self.shell.collection::<Document>("system.profile");
        let of_store = doc! { "appName": format!("tradewind {}", self.shell.name()) };
        let found = notes
            .find(of_store)
            .sort(doc! { "$natural": 1 })
            .await
            .expect("notes are read");
        let seen = found.try_collect().await.expect("notes are read");
        notes.drop().await.expect("notes are thrown away");
        seen
    }
}

/// A third of the things have no owner, and a fifth no rank.
async fn fill(store: &Arc<dyn Store>) {
    let mut draft = batch();
    for number in 0..THINGS_MAX {
        let owner = [Value::Null, "ann".into(), "bob".into()][usize::try_from(number % 3).expect("small")].clone();
        let rank = if number % 5 == 0 {
            Value::Null
        } else {
            (number % 50).into()
        };
        draft = draft.put_columns(&format!("{number:04}"), columns(owner, rank, "hat"));
    }
    draft.commit(store).await;
}

#[tokio::test]
async fn a_page_reads_what_it_gives_and_no_more() {
    let watched = Watched::open().await;
    fill(&watched.store).await;
    let by = |index, equals: &[Value]| Query::by(&THINGS, index, equals.to_vec(), LIMIT);
    let after = |query: Query, sort: Option<Value>, id: &str| Query {
        after: Some((sort, id.into())),
        ..query
    };
    let of_ann = || by("by_owner_rank", &["ann".into()]);
    let queries = [
        Query::all(&THINGS, LIMIT),
        after(Query::all(&THINGS, LIMIT), None, "0300"),
        by("by_owner", &["ann".into()]),
        by("by_rank", &[]),
        after(by("by_rank", &[]), Some(20.into()), "0270"),
        of_ann(),
        after(of_ann(), Some(Value::Null), "0100"),
        after(of_ann(), Some(20.into()), "0270"),
        Query {
            range: (Bound::Excluded(10.into()), Bound::Included(20.into())),
            ..of_ann()
        },
        by("by_owner_rank_label", &["bob".into(), Value::Null, "hat".into()]),
        Query {
            contains: Some(("label", "ha".into())),
            filters: vec![("label", "hat".into())],
            ..of_ann()
        },
    ];
    for query in queries {
        for descending in [false, true] {
            let query = Query {
                descending,
                ..query.clone()
            };
            watched.watch().await;
            let found = watched.store.query(&query).await.expect("the query is answered");
            assert!(!found.is_empty(), "{query:?}");
            for seen in watched.seen().await {
                assert!(!seen.get_bool("hasSortStage").unwrap_or(false), "{query:?}: {seen}");
                let read = seen.get_i32("docsExamined").expect("a find examines documents");
                // One more to know that there are more, of each of the parts of a page after a cursor.
                assert!(
                    usize::try_from(read).expect("a count") <= LIMIT + 2,
                    "{query:?}: {seen}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_commit_takes_few_round_trips_and_no_more_for_long_streams() {
    let watched = Watched::open().await;
    let mut draft = batch();
    for version in 1..=500 {
        draft = draft.event("long", version);
    }
    draft.commit(&watched.store).await;

    watched.watch().await;
    let mut draft = batch().event("long", 501).event("new", 1);
    for number in 0..50 {
        draft = draft.put_columns(&format!("{number}"), columns("ann", number, "hat"));
    }
    draft = draft.delete(thing("none"), kernel::store::Expect::Any);
    draft
        .put_note("n", "{}", kernel::store::Expect::Absent)
        .commit(&watched.store)
        .await;
    let seen = watched.seen().await;
    let mut commands: Vec<String> = seen.iter().map(command).collect();
    // Each of the documents in one command is noted for itself.
    commands.dedup();
    let expected = [
        "findAndModify head",
        "find batches",
        "aggregate head",
        "aggregate journal",
        "update order",
        "update things",
        "insert journal",
        "update head",
        "update batches",
    ];
    // And the commit itself, which is noted elsewhere.
    assert_eq!(commands, expected);
    for seen in &seen {
        assert!(seen.get_i32("keysExamined").unwrap_or(0) <= 60, "{seen}");
    }
}

/// What was asked for, and of which collection.
fn command(seen: &Document) -> String {
    let namespace = seen.get_str("ns").expect("a note names the collection");
    let (_, collection) = namespace.split_once('.').expect("a database, then a collection");
    let known = ["findAndModify", "find", "aggregate", "insert", "update", "delete"];
    let command = seen.get_document("command").ok();
    let named = known
        .iter()
        .find(|name| command.is_some_and(|command| command.contains_key(name)));
    let operation = seen.get_str("op").expect("a note names the operation");
    format!("{} {collection}", named.copied().unwrap_or(operation))
}

/// What is read is what a majority has, as of one time.
#[tokio::test]
async fn every_read_is_a_snapshot() {
    let watched = Watched::open().await;
    batch()
        .event("s", 1)
        .put_columns("a", columns("ann", 1, "hat"))
        .commit(&watched.store)
        .await;
    watched.watch().await;
    let store = &watched.store;
    store.get(&[thing("a"), note("n")]).await.expect("documents are read");
    let page = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], LIMIT);
    store.query(&page).await.expect("the query is answered");
    store.tail(Position::START, 10).await.expect("the tail is read");
    let of_stream = kernel::event::StreamId::new("s");
    store.stream(&of_stream, 1, 10).await.expect("the stream is read");
    let seen = watched.seen().await;
    // One for the documents, two sections of the page, events and head, a stream.
    assert_eq!(seen.len(), 6, "{seen:#?}");
    for seen in seen {
        let command = seen.get_document("command").expect("the command is noted");
        let concern = command
            .get_document("readConcern")
            .expect("a read says what it wants to see");
        assert_eq!(concern.get_str("level").expect("it has a level"), "snapshot", "{seen}");
        let bounds = ["afterClusterTime", "atClusterTime"]
            .iter()
            .filter(|name| concern.contains_key(name));
        assert_eq!(bounds.count(), 1, "{seen}");
    }
}
