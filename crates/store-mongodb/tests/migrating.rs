//! From what is there to what is declared: plans, and stores of each form that a released version had.

use std::path::Path;
use std::sync::Arc;

use bson::{Document, doc};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use kernel::document::{Collection, Column, ColumnType, Index, Kind, Value};
use kernel::store::{Expect, Opened as _, Schema, Store};
use mongodb::{Client, Database};
use store_mongodb::{MongodbOptions, MongodbStore, OpenError};
use testkit::released;
use testkit::store_suite::fixture::{batch, thing};
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
static OWNED: Collection = Collection {
    columns: &[OWNER],
    indexes: &[Index {
        name: "by_what",
        columns: &["owner"],
    }],
    ..PLAIN
};
static RANKED: Collection = Collection {
    indexes: &[Index {
        name: "by_what",
        columns: &["rank", "owner"],
    }],
    ..WITH_RANK
};
static OTHERS: Collection = Collection {
    name: "others",
    ..PLAIN
};
static RANKED_OTHERWISE: Collection = Collection {
    indexes: &[Index {
        name: "by_what",
        columns: &["owner", "rank"],
    }],
    ..WITH_RANK
};
static WITH_OWNER: Collection = Collection {
    columns: &[OWNER],
    ..PLAIN
};
const WITH_RANK: Collection = Collection {
    columns: &[OWNER, RANK],
    ..PLAIN
};
/// Below it a directory for each form.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released");

/// A database of its own on the shared server.
struct Place(String);

impl Place {
    fn new() -> Self {
        Self(servers::unique_name())
    }

    fn options(&self, schema: Schema) -> MongodbOptions {
        let url = servers::Kind::Mongodb.shared();
        let options = MongodbOptions::new(&url, &self.0, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        options.expect("the server has a URL")
    }

    async fn open(&self, schema: Schema) -> MongodbStore {
        let opened = MongodbStore::open(self.options(schema)).await;
        opened.expect("the store opens")
    }

    async fn plan(&self, schema: Schema) -> Vec<String> {
        let planned = MongodbStore::plan(&self.options(schema)).await;
        planned.expect("nothing is in its way")
    }

    async fn shell(&self) -> Database {
        let client = Client::with_uri_str(servers::Kind::Mongodb.shared()).await;
        client.expect("the server has a URL").database(&self.0)
    }

    /// Gives the commands of a fixture, which are in MongoDB's extended JSON.
    async fn run(&self, fixture: &Path) {
        let text = std::fs::read_to_string(fixture).unwrap_or_else(|error| panic!("{}: {error}", fixture.display()));
        let commands: Vec<Document> = serde_json::from_str(&text).expect("they are commands");
        let shell = self.shell().await;
        for command in commands {
            let answer = shell.run_command(command).await.expect("the server does as it is told");
            assert!(!answer.contains_key("writeErrors"), "{answer}");
        }
    }

    /// All that the server says about its collections, and the form; nothing where there is none.
    async fn described(&self) -> Vec<String> {
        let shell = self.shell().await;
        let collections = shell.list_collections().await.expect("they are listed");
        let collections: Vec<_> = collections.try_collect().await.expect("they are listed");
        let mut described = Vec::new();
        for collection in collections {
            described.push(format!("{} {:?}", collection.name, collection.options));
            let indexes = shell.collection::<Document>(&collection.name).list_indexes().await;
            let indexes: Vec<_> = indexes.expect("they are listed").try_collect().await.expect("they are");
            described.extend(indexes.iter().map(|index| format!("{} {index:?}", collection.name)));
        }
        let head = shell.collection::<Document>("head").find_one(doc! {}).await;
        let head = head.expect("the collection is read");
        described.extend(head.iter().map(|head| format!("form {:?}", head.get("form"))));
        described.sort();
        described
    }
}

fn schema(collection: &'static Collection) -> Schema {
    Schema {
        collections: vec![collection],
        lanes: 4,
    }
}

/// What each command is about: `create things`.
fn shape(plan: &[String]) -> Vec<String> {
    let about = plan.iter().map(|command| {
        let (_, command) = command.split_once(".runCommand({ \"").expect("it is a command");
        command.split('"').step_by(2).take(2).collect::<Vec<_>>().join(" ")
    });
    about.map(|about| about.replace(" : ", " ")).collect()
}

async fn put(store: &Arc<dyn Store>, columns: Vec<Value>) {
    batch().put(thing("a"), "{}", columns, Expect::Any).commit(store).await;
}

#[tokio::test]
async fn a_plan_makes_nothing_and_names_the_database() {
    let place = Place::new();
    let plan = place.plan(schema(&OWNED)).await;
    assert_eq!(place.described().await, [""; 0], "the plan made something");
    let made = [
        "findAndModify head",
        "create journal",
        "create batches",
        "createIndexes journal",
        "create things",
        "createIndexes things",
    ];
    assert_eq!(shape(&plan), made);
    let database = format!("db.getSiblingDB(\"{}\").runCommand(", place.0);
    assert!(plan.iter().all(|command| command.starts_with(&database)), "{plan:?}");
    place.open(schema(&OWNED)).await;
    assert_eq!(place.plan(schema(&OWNED)).await, [""; 0]);
}

#[tokio::test]
async fn a_plan_has_only_what_is_missing_or_differs() {
    let place = Place::new();
    place.open(schema(&THINGS)).await;
    let added = place.plan(schema(&OWNED)).await;
    assert_eq!(shape(&added), ["collMod things", "createIndexes things"]);
    place.open(schema(&OWNED)).await;
    let changed = place.plan(schema(&RANKED)).await;
    let made_again = ["collMod things", "dropIndexes things", "createIndexes things"];
    assert_eq!(shape(&changed), made_again);
    let mut rebuild = place.options(schema(&OWNED));
    rebuild.rebuild = vec![OWNED.name];
    let emptied = MongodbStore::plan(&rebuild).await.expect("nothing is in its way");
    let made_again = [
        "findAndModify head",
        "drop things",
        "create things",
        "createIndexes things",
    ];
    assert_eq!(shape(&emptied), made_again);
    // What was cut short is gone on with.
    let shell = place.shell().await;
    shell
        .collection::<Document>("batches")
        .drop()
        .await
        .expect("it is there");
    let journal = shell.collection::<Document>("journal");
    journal.drop_index("by_stream").await.expect("it is there");
    let rest = place.plan(schema(&OWNED)).await;
    assert_eq!(shape(&rest), ["create batches", "createIndexes journal"]);
    place.open(schema(&OWNED)).await;
    assert_eq!(place.plan(schema(&OWNED)).await, [""; 0]);
}

#[tokio::test]
async fn a_plan_is_read_while_the_store_is_open() {
    let place = Place::new();
    let store: Arc<dyn Store> = Arc::new(place.open(schema(&OWNED)).await);
    put(&store, vec!["ann".into()]).await;
    assert_eq!(place.plan(schema(&OWNED)).await, [""; 0]);
    put(&store, vec!["bob".into()]).await;
}

#[tokio::test]
async fn what_opening_refuses_a_plan_refuses_in_the_same_words() {
    let newer = doc! { "$set": { "form": 99_i64 } };
    let unfinished = doc! { "$set": { "rebuilding": ["things"] } };
    let as_it_is = doc! { "$set": { "form": 1_i64 } };
    let other_lanes = Schema {
        lanes: 8,
        ..schema(&OWNED)
    };
    let mut missing = schema(&OWNED);
    missing.collections.push(&OTHERS);
    for (change, wanted, part) in [
        (newer, schema(&OWNED), "form 99"),
        (unfinished, schema(&OWNED), "rebuild was not finished"),
        (as_it_is.clone(), other_lanes, "4 lanes"),
        (as_it_is.clone(), schema(&RANKED), "new column rank"),
        (as_it_is.clone(), schema(&THINGS), "does not know its column owner"),
        (as_it_is, missing, "others is missing, though the journal has events"),
    ] {
        let place = Place::new();
        let store: Arc<dyn Store> = Arc::new(place.open(schema(&OWNED)).await);
        put(&store, vec!["ann".into()]).await;
        batch().event("thing:a", 1).commit(&store).await;
        let heads = place.shell().await.collection::<Document>("head");
        heads
            .update_one(doc! {}, change)
            .await
            .expect("the shell does as it is told");
        let options = place.options(wanted);
        let planned: OpenError = MongodbStore::plan(&options).await.expect_err("the plan is refused");
        let opened = MongodbStore::open(options).await.expect_err("the store is refused");
        assert_eq!(planned.to_string(), opened.to_string());
        assert!(
            planned.to_string().contains(part),
            "it does not say {part:?}: {planned}"
        );
    }
}

#[tokio::test]
async fn a_store_of_each_released_form_is_opened_and_goes_on() {
    let new = Place::new();
    new.open(released::schema()).await;
    let expected = new.described().await;
    let directories = std::fs::read_dir(FIXTURES).expect("there are fixtures");
    let forms: Vec<_> = directories.map(|form| form.expect("it is read").path()).collect();
    assert!(!forms.is_empty());
    for form in forms {
        let place = Place::new();
        place.run(&form.join("mongodb.json")).await;
        let store = Arc::new(place.open(released::schema()).await);
        let alone: Arc<dyn Store> = Arc::clone(&store) as _;
        released::assert_goes_on(&alone).await;
        store.close().await;
        assert_eq!(place.described().await, expected, "of {}", form.display());
        assert_eq!(place.plan(released::schema()).await, [""; 0]);
    }
}

/// As while a newer version takes over from an older one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_declare_an_index_differently_and_start_at_once_all_open() {
    for _ in 0..8 {
        let place = Place::new();
        place.open(schema(&RANKED)).await;
        let replicas = (0..6).map(|number| {
            let declared = if number % 2 == 0 { &RANKED } else { &RANKED_OTHERWISE };
            tokio::spawn(MongodbStore::open(place.options(schema(declared))))
        });
        for replica in replicas.collect::<Vec<_>>() {
            replica.await.expect("it ends well").expect("the store opens");
        }
    }
}

/// Each of them finds the same index, which is none of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_make_an_index_again_at_once_all_open() {
    for _ in 0..8 {
        let place = Place::new();
        place.open(schema(&RANKED)).await;
        let replicas = (0..6).map(|_| tokio::spawn(MongodbStore::open(place.options(schema(&RANKED_OTHERWISE)))));
        for replica in replicas.collect::<Vec<_>>() {
            replica.await.expect("it ends well").expect("the store opens");
        }
        assert_eq!(place.plan(schema(&RANKED_OTHERWISE)).await, [""; 0]);
    }
}

/// What an older version makes is not what the newer one has found missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_that_starts_with_an_older_one_has_what_it_declares() {
    for _ in 0..8 {
        let place = Place::new();
        let older = (0..3).map(|_| tokio::spawn(MongodbStore::open(place.options(schema(&THINGS)))));
        let older = older.collect::<Vec<_>>();
        place.open(schema(&WITH_OWNER)).await;
        for older in older {
            // Refused where it came later.
            let _ = older.await.expect("it ends well");
        }
        assert_eq!(place.plan(schema(&WITH_OWNER)).await, [""; 0]);
    }
}
