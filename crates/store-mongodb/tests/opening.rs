//! Which servers and databases are opened, what is added to them, and what is refused with its remedy.

use std::sync::Arc;

use bson::{Document, doc};
use jiff::Timestamp;
use kernel::document::{Collection, Column, ColumnType, Index, Key, Kind, Value};
use kernel::event::Position;
use kernel::store::Opened as _;
use kernel::store::opening::Refusal;
use kernel::store::{Batch, CommitError, Expect, Put, Query, Schema, Store};
use mongodb::{Client, Database};
use servers::BareMongod;
use store_mongodb::{MongodbOptions, MongodbStore, OpenError};
use tempfile::TempDir;
use testkit::store_suite::fixture::{batch, ids};
use uuid::Uuid;

const OWNER: Column = Column {
    name: "owner",
    column_type: ColumnType::Text,
};
const RANK: Column = Column {
    name: "rank",
    column_type: ColumnType::Integer,
};
const PLAIN: Collection = Collection {
    name: "things",
    kind: Kind::View,
    columns: &[],
    indexes: &[],
};
static THINGS: Collection = PLAIN;
static WITH_OWNER: Collection = Collection {
    columns: &[OWNER],
    indexes: &[Index {
        name: "by_what",
        columns: &["owner"],
    }],
    ..PLAIN
};
static WITH_RANK: Collection = Collection {
    columns: &[OWNER, RANK],
    indexes: &[Index {
        name: "by_what",
        columns: &["rank", "owner"],
    }],
    ..PLAIN
};
static RECORD: Collection = Collection {
    kind: Kind::Record,
    columns: &[OWNER],
    ..PLAIN
};

/// A database of its own on the shared server.
struct Place {
    url: String,
    database: String,
}

impl Place {
    fn new() -> Self {
        Self {
            url: servers::Kind::Mongodb.shared(),
            database: servers::unique_name(),
        }
    }

    fn options(&self, collection: &'static Collection) -> MongodbOptions {
        options(&self.url, &self.database, collection).expect("the server has a URL")
    }

    async fn open(&self, collection: &'static Collection) -> Arc<dyn Store> {
        let opened = MongodbStore::open(self.options(collection)).await;
        Arc::new(opened.expect("the store opens"))
    }

    async fn refusal(&self, options: MongodbOptions) -> OpenError {
        let opened = MongodbStore::open(options).await;
        opened.expect_err("the store is refused")
    }

    async fn shell(&self) -> Database {
        let client = Client::with_uri_str(&self.url).await.expect("the server has a URL");
        client.database(&self.database)
    }
}

fn options(url: &str, database: &str, collection: &'static Collection) -> Result<MongodbOptions, OpenError> {
    let schema = Schema {
        collections: vec![collection],
        lanes: 4,
    };
    MongodbOptions::new(url, database, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH)
}

async fn refused(url: &str) -> String {
    let options = options(url, "test", &THINGS).expect("the URL is one");
    let opened = MongodbStore::open(options).await;
    opened.expect_err("the server is refused").to_string()
}

fn put(id: &str, columns: Vec<Value>) -> Arc<Batch> {
    let key = Key {
        collection: THINGS.name,
        id: id.into(),
    };
    let put = Put {
        key,
        document: "{}".into(),
        columns,
        expect: Expect::Any,
    };
    batch().with(|batch| batch.puts.push(put)).build()
}

async fn commit(store: &Arc<dyn Store>, batch: Arc<Batch>) {
    store.commit(batch).await.expect("nothing speaks against it");
}

async fn all(store: &Arc<dyn Store>) -> Vec<String> {
    ids(store, &Query::all(&WITH_OWNER, 100)).await
}

#[tokio::test]
async fn a_server_that_is_no_replica_set_is_refused_with_its_remedy() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = BareMongod::start(directory.path(), &[]).expect("a server starts");
    let address = server.address();
    for url in [
        format!("mongodb://{address}"),
        format!("mongodb://{address}/?replicaSet=rs0"),
    ] {
        let refusal = refused(&url).await;
        assert!(refusal.contains("--replSet") && refusal.contains(&address), "{refusal}");
    }
}

#[tokio::test]
async fn a_replica_set_that_was_never_initiated_is_refused_with_its_remedy() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = BareMongod::start(directory.path(), &["--replSet", "rs0"]).expect("a server starts");
    let refusal = refused(&format!("mongodb://{}/?replicaSet=rs0", server.address())).await;
    assert!(refusal.contains("rs.initiate()"), "{refusal}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named() {
    let refusal = refused("mongodb://127.0.0.1:1/?replicaSet=rs0").await;
    assert!(refusal.contains("no MongoDB answers at 127.0.0.1:1"), "{refusal}");
}

#[tokio::test]
async fn another_name_for_the_replica_set_is_refused_with_the_right_one() {
    let url = servers::Kind::Mongodb.shared().replace("=rs0", "=other");
    let refusal = refused(&url).await;
    assert!(refusal.contains("replica set rs0"), "{refusal}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_never_repeated() {
    let url = servers::Kind::Mongodb.shared().replace("//", "//ann:s3cr%40t@");
    let refusal = refused(&url).await;
    assert!(refusal.contains("does not let this user in"), "{refusal}");
    assert!(!refusal.contains("s3cr"), "{refusal}");
    let options = options(&url, "test", &THINGS).expect("the URL is one");
    assert!(!format!("{options:?}").contains("s3cr"));
}

#[test]
fn a_wrong_url_is_refused_without_its_password() {
    let refusal = options("mongodb://ann:s3c/r@t@host", "test", &THINGS).expect_err("the URL is wrong");
    assert!(refusal.to_string().contains("%2F"), "{refusal}");
    for secret in ["s3c", "r@t"] {
        assert!(!format!("{refusal} {refusal:?}").contains(secret), "{refusal}");
    }
    let refusal = options("postgres://host", "test", &THINGS).expect_err("the URL is wrong");
    assert!(refusal.to_string().contains("mongodb://"), "{refusal}");
}

#[test]
fn an_option_that_there_is_not_is_named_without_its_value() {
    for (url, named) in [
        ("mongodb://ann:s3cret@host/?tlsCAFiles=s3cret", "tlsCAFiles"),
        (
            "mongodb://ann:s3cret@host:27017/shop?replicaSet=rs0&authSources=s3cret",
            "authSources",
        ),
        ("mongodb+srv://ann:s3cret@host.example/?tls=true&x=s3cret", "x"),
        ("mongodb://host/?x=s3cret", "x"),
    ] {
        let refusal = options(url, "test", &THINGS).expect_err("there is no such option");
        assert!(refusal.to_string().contains(&format!(" {named} ")), "{refusal}");
        assert!(!format!("{refusal} {refusal:?}").contains("s3c"), "{refusal}");
    }
    // Values that cannot be understood, and what may be a part of a password.
    for url in [
        "mongodb://host/?replicaSet",
        "mongodb://host/?tls=s3cret",
        "mongodb://host/?s3cret",
        "mongodb://ann:?s3cret=x@host/",
        "mongodb://ann:a@?s3cret=x@host/",
        "mongodb://ann:x?s3cret=x/@y&s3cret=z",
    ] {
        let refusal = options(url, "test", &THINGS).expect_err("the URL is wrong");
        assert!(!format!("{refusal} {refusal:?}").contains("s3c"), "{url}: {refusal}");
    }
}

#[tokio::test]
async fn the_epoch_is_given_when_the_store_is_made_and_stays() {
    let place = Place::new();
    let first = place.open(&THINGS).await;
    let first = first.tail(Position::START, 0).await.expect("the head is read").head;
    let mut again = place.options(&THINGS);
    again.new_epoch = Uuid::from_u128(2);
    let store = MongodbStore::open(again).await.expect("the store opens");
    let head = store.tail(Position::START, 0).await.expect("the head is read").head;
    assert_eq!(head, first);
    assert_eq!(first.epoch.0, Uuid::from_u128(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_make_one_store() {
    let place = Place::new();
    let replicas = (1..=6).map(|number| {
        let mut options = place.options(&WITH_RANK);
        options.new_epoch = Uuid::from_u128(number);
        tokio::spawn(MongodbStore::open(options))
    });
    let mut heads = Vec::new();
    for replica in replicas.collect::<Vec<_>>() {
        let store = replica.await.expect("it ends well").expect("the store opens");
        heads.push(store.tail(Position::START, 0).await.expect("the head is read").head);
    }
    assert!(heads.iter().all(|head| *head == heads[0]), "{heads:?}");
}

#[tokio::test]
async fn another_number_of_lanes_is_refused() {
    let place = Place::new();
    place.open(&THINGS).await;
    let mut options = place.options(&THINGS);
    options.schema.lanes = 8;
    let refusal = place.refusal(options).await;
    let lanes = Refusal::Lanes { stored: 4, declared: 8 };
    assert_eq!(refusal.to_string(), lanes.to_string());
    place.open(&THINGS).await;
}

#[tokio::test]
async fn a_store_of_a_newer_form_is_refused() {
    let place = Place::new();
    place.open(&THINGS).await;
    let heads = place.shell().await.collection::<Document>("head");
    let newer = heads.update_one(doc! {}, doc! { "$set": { "form": 99_i64 } });
    newer.await.expect("the shell does as it is told");
    let refusal = place.refusal(place.options(&WITH_OWNER)).await;
    assert!(
        matches!(refusal, OpenError::Refused(Refusal::Newer { found: 99, .. })),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_schema_that_no_database_can_hold_is_refused() {
    static TAKEN: Collection = Collection {
        name: "journal",
        ..PLAIN
    };
    let place = Place::new();
    let refusal = place.refusal(place.options(&TAKEN)).await;
    assert!(matches!(refusal, OpenError::Schema(_)), "{refusal}");
}

#[tokio::test]
async fn what_a_newer_version_declares_is_added_to_an_empty_collection() {
    let place = Place::new();
    place.open(&THINGS).await;
    place.open(&WITH_OWNER).await;
    // The index changes with it: it is made again under the same name.
    let store = place.open(&WITH_RANK).await;
    commit(&store, put("a", vec!["ann".into(), 2.into()])).await;
    commit(&store, put("b", vec!["bob".into(), 1.into()])).await;
    let by_rank = Query::by(&WITH_RANK, "by_what", Vec::new(), 10);
    assert_eq!(ids(&store, &by_rank).await, ["b", "a"]);
}

#[tokio::test]
async fn an_index_over_columns_that_are_there_is_added_to_a_full_collection() {
    let place = Place::new();
    let store = place.open(&RECORD).await;
    commit(&store, put("a", vec!["zoe".into()])).await;
    commit(&store, put("b", vec!["ann".into()])).await;
    let store = place.open(&WITH_OWNER).await;
    let by_owner = Query::by(&WITH_OWNER, "by_what", Vec::new(), 10);
    assert_eq!(ids(&store, &by_owner).await, ["b", "a"]);
}

#[tokio::test]
async fn a_new_column_on_documents_that_lack_it_is_refused_with_its_remedy() {
    let place = Place::new();
    let store = place.open(&THINGS).await;
    commit(&store, put("a", Vec::new())).await;
    for (declared, remedy) in [(&WITH_OWNER, "tradewind rebuild"), (&RECORD, "migrate")] {
        let refusal = place.refusal(place.options(declared)).await;
        assert!(
            matches!(refusal, OpenError::Refused(Refusal::Columns { .. })),
            "{refusal}"
        );
        assert!(refusal.to_string().contains(remedy), "{refusal}");
    }
}

#[tokio::test]
async fn a_column_that_this_version_does_not_know_is_refused() {
    let place = Place::new();
    place.open(&WITH_OWNER).await;
    let refusal = place.refusal(place.options(&THINGS)).await;
    assert!(refusal.to_string().contains("owner"), "{refusal}");
}

#[tokio::test]
async fn a_rebuild_empties_a_collection_and_must_be_finished() {
    let place = Place::new();
    let store = place.open(&THINGS).await;
    commit(&store, put("a", Vec::new())).await;

    let rebuild = || {
        let mut options = place.options(&WITH_OWNER);
        options.rebuild = vec![WITH_OWNER.name];
        options
    };
    let store: Arc<dyn Store> = Arc::new(MongodbStore::open(rebuild()).await.expect("the store opens"));
    assert!(all(&store).await.is_empty());
    commit(&store, put("a", vec!["ann".into()])).await;

    // Cut short: what is there may be a part of it.
    let refusal = place.refusal(place.options(&WITH_OWNER)).await;
    assert!(
        matches!(refusal, OpenError::Refused(Refusal::Unfinished(_))),
        "{refusal}"
    );

    let store = Arc::new(MongodbStore::open(rebuild()).await.expect("the store opens"));
    let filled: Arc<dyn Store> = Arc::clone(&store) as _;
    commit(&filled, put("b", vec!["bob".into()])).await;
    store.finish_rebuild().await.expect("the store is there");
    let store = place.open(&WITH_OWNER).await;
    assert_eq!(all(&store).await, ["b"]);
}

#[tokio::test]
async fn what_is_too_large_for_the_database_is_refused_for_its_content() {
    let place = Place::new();
    let store = place.open(&RECORD).await;
    let large: Value = "x".repeat(16 << 20).into();
    let refused = store.commit(put("a", vec![large])).await;
    assert!(matches!(refused, Err(CommitError::Content(_))), "{refused:?}");
    // And what is not goes on, in more than one command.
    let value: Value = "x".repeat(6 << 20).into();
    let several = batch().with(|batch| {
        for id in ["a", "b", "c"] {
            batch.puts.push(Put {
                key: Key {
                    collection: THINGS.name,
                    id: id.into(),
                },
                document: "{}".into(),
                columns: vec![value.clone()],
                expect: Expect::Absent,
            });
        }
    });
    commit(&store, several.build()).await;
    assert_eq!(all(&store).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_store_that_was_closed_refuses_what_comes_after() {
    let place = Place::new();
    let store = MongodbStore::open(place.options(&THINGS))
        .await
        .expect("the store opens");
    store
        .commit(put("a", Vec::new()))
        .await
        .expect("nothing speaks against it");
    store.close().await;
    let refused = store.commit(put("b", Vec::new())).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    store.tail(Position::START, 0).await.expect_err("the store is closed");
}

#[tokio::test]
async fn a_person_can_read_the_collections() {
    let place = Place::new();
    let store = place.open(&WITH_OWNER).await;
    commit(&store, batch().event_with("sku:HAT", 1, r#"{"quantity":2}"#).build()).await;
    commit(&store, put("a", vec!["ann".into()])).await;

    let shell = place.shell().await;
    let one = async |name: &str| {
        let found = shell.collection::<Document>(name).find_one(doc! {}).await;
        found.expect("the collection is read").expect("it has a document")
    };
    let event = one("journal").await;
    let shown = ["stream", "type", "data"].map(|field| event.get_str(field).expect("it is text"));
    assert_eq!(shown, ["sku:HAT", "thing.happened", r#"{"quantity":2}"#]);
    assert_eq!(one("head").await.get_i64("position").expect("it is a number"), 1);
    assert_eq!(one("batches").await.get_str("_id").expect("it is text"), "w");
    let thing = doc! { "_id": "a", "version": 1_i64, "owner": "ann", "doc": "{}" };
    assert_eq!(one("things").await, thing);

    // What would break an index silently is refused, whoever writes it.
    let wrong = doc! { "_id": "b", "version": 1_i64, "owner": 7, "doc": "{}" };
    let inserted = shell.collection::<Document>("things").insert_one(wrong).await;
    inserted.expect_err("an owner is text");
}
