//! Which files are opened, what is added to them, and what is refused with its remedy.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kernel::document::{Collection, Column, ColumnType, Index, Kind, Value};
use kernel::store::opening::Refusal;
use kernel::store::{Batch, Opened as _, Put, Query, Schema, Store};
use rusqlite::Connection;
use store_sql::{OpenError, SqliteOptions, SqliteStore};
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

const fn named(name: &'static str) -> Column {
    Column { name, ..OWNER }
}

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
static REPLICA: Collection = Collection {
    kind: Kind::Replica {
        consumer: "orders.catalog",
    },
    ..WITH_OWNER_TEMPLATE
};
static RECORD: Collection = Collection {
    kind: Kind::Record,
    ..WITH_OWNER_TEMPLATE
};
const WITH_OWNER_TEMPLATE: Collection = Collection {
    columns: &[OWNER],
    ..PLAIN
};

struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory for the test"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store.db")
    }

    fn options(&self, collection: &'static Collection) -> SqliteOptions {
        let schema = Schema {
            collections: vec![collection],
            lanes: 4,
        };
        SqliteOptions::new(self.path(), schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH)
    }

    fn open(&self, collection: &'static Collection) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.options(collection)).expect("the store opens"))
    }

    fn refusal(&self, options: SqliteOptions) -> OpenError {
        let before = self.contents();
        let refusal = SqliteStore::open(options).expect_err("the store is refused");
        assert_eq!(self.contents(), before, "a refused file was changed");
        refusal
    }

    fn contents(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the file is there")
    }

    fn shell(&self, sql: &str) {
        Connection::open(self.path())
            .and_then(|shell| shell.execute_batch(sql))
            .expect("the shell does as it is told");
    }
}

fn put(id: &str, columns: Vec<Value>) -> Arc<Batch> {
    let key = kernel::document::Key {
        collection: THINGS.name,
        id: id.into(),
    };
    let put = Put {
        key,
        document: "{}".into(),
        columns,
        expect: kernel::store::Expect::Any,
    };
    batch().with(|batch| batch.puts.push(put)).build()
}

#[tokio::test]
async fn the_epoch_is_given_when_the_store_is_made_and_stays() {
    let file = File::new();
    let first = file
        .open(&THINGS)
        .tail(Default::default(), 0)
        .await
        .expect("the head is read")
        .head;
    let again = SqliteOptions {
        new_epoch: Uuid::from_u128(2),
        ..file.options(&THINGS)
    };
    let store = SqliteStore::open(again).expect("the store opens");
    assert_eq!(
        store.tail(Default::default(), 0).await.expect("the head is read").head,
        first
    );
    assert_eq!(first.epoch.0, Uuid::from_u128(1));
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let file = File::new();
    fs::write(
        file.path(),
        "hello, I am a shopping list, and no database at all, whatever my name says".repeat(20),
    )
    .expect("the disk has room");
    assert!(matches!(file.refusal(file.options(&THINGS)), OpenError::NotOurs { .. }));

    let file = File::new();
    file.shell("CREATE TABLE journal (entry TEXT)");
    assert!(matches!(file.refusal(file.options(&THINGS)), OpenError::NotOurs { .. }));

    let file = File::new();
    file.shell("PRAGMA application_id = 7");
    assert!(matches!(file.refusal(file.options(&THINGS)), OpenError::NotOurs { .. }));
}

#[test]
fn another_number_of_lanes_is_refused() {
    let file = File::new();
    drop(file.open(&THINGS));
    let mut options = file.options(&THINGS);
    options.schema.lanes = 8;
    let refusal = file.refusal(options);
    assert!(
        matches!(refusal, OpenError::Refused(Refusal::Lanes { stored: 4, declared: 8 })),
        "{refusal}"
    );
    drop(file.open(&THINGS));
}

#[test]
fn a_store_of_a_newer_form_is_refused() {
    let file = File::new();
    drop(file.open(&THINGS));
    file.shell("INSERT INTO migrations VALUES (99, 'something new', 'later')");
    let refusal = file.refusal(file.options(&THINGS));
    assert!(
        matches!(refusal, OpenError::Refused(Refusal::Newer { found: 99, .. })),
        "{refusal}"
    );
}

#[test]
fn a_schema_that_no_database_can_hold_is_refused() {
    static TAKEN: Collection = Collection {
        name: "journal",
        ..PLAIN
    };
    static UPPER: Collection = Collection {
        name: "Things",
        ..PLAIN
    };
    static UNKNOWN: Collection = Collection {
        indexes: &[Index {
            name: "by_owner",
            columns: &["owner"],
        }],
        ..PLAIN
    };
    static HIDDEN: Collection = Collection {
        columns: &[Column {
            name: "doc",
            column_type: ColumnType::Text,
        }],
        ..PLAIN
    };
    // Three texts and the id are more than MySQL keeps in an index.
    static LONG: Collection = Collection {
        columns: &[named("a"), named("b"), named("c")],
        indexes: &[Index {
            name: "by_all",
            columns: &["a", "b", "c"],
        }],
        ..PLAIN
    };
    let file = File::new();
    for wrong in [&TAKEN, &UPPER, &UNKNOWN, &HIDDEN, &LONG] {
        let refusal = SqliteStore::open(file.options(wrong)).expect_err("the schema is wrong");
        assert!(matches!(refusal, OpenError::Schema(_)), "{refusal}");
        assert!(!file.path().exists());
    }
}

#[tokio::test]
async fn what_a_newer_version_declares_is_added_to_an_empty_collection() {
    let file = File::new();
    drop(file.open(&THINGS));
    drop(file.open(&WITH_OWNER));
    // The index changes with it: it is made again under the same name.
    let store = file.open(&WITH_RANK);
    store
        .commit(put("a", vec!["ann".into(), 2.into()]))
        .await
        .expect("nothing speaks against it");
    store
        .commit(put("b", vec!["bob".into(), 1.into()]))
        .await
        .expect("nothing speaks against it");
    assert_eq!(
        ids(&store, &Query::by(&WITH_RANK, "by_what", Vec::new(), 10)).await,
        ["b", "a"]
    );
}

#[tokio::test]
async fn an_index_over_columns_that_are_there_is_added_to_a_full_collection() {
    static INDEXED: Collection = Collection {
        indexes: &[Index {
            name: "by_owner",
            columns: &["owner"],
        }],
        ..WITH_OWNER_TEMPLATE
    };
    let file = File::new();
    let store = file.open(&RECORD);
    store
        .commit(put("a", vec!["zoe".into()]))
        .await
        .expect("nothing speaks against it");
    store
        .commit(put("b", vec!["ann".into()]))
        .await
        .expect("nothing speaks against it");
    drop(store);
    let store = file.open(&INDEXED);
    assert_eq!(
        ids(&store, &Query::by(&INDEXED, "by_owner", Vec::new(), 10)).await,
        ["b", "a"]
    );
}

#[tokio::test]
async fn a_new_column_on_documents_that_lack_it_is_refused_with_its_remedy() {
    let file = File::new();
    let store = file.open(&THINGS);
    store
        .commit(put("a", Vec::new()))
        .await
        .expect("nothing speaks against it");
    drop(store);
    for (declared, remedy) in [
        (&WITH_OWNER, "tradewind rebuild"),
        (&REPLICA, "orders.catalog"),
        (&RECORD, "migrate"),
    ] {
        let refusal = file.refusal(file.options(declared));
        assert!(
            matches!(refusal, OpenError::Refused(Refusal::Columns { .. })),
            "{refusal}"
        );
        assert!(refusal.to_string().contains(remedy), "{refusal}");
    }
}

#[tokio::test]
async fn a_column_that_this_version_does_not_know_is_refused() {
    let file = File::new();
    drop(file.open(&WITH_OWNER));
    let refusal = file.refusal(file.options(&THINGS));
    assert!(refusal.to_string().contains("owner"), "{refusal}");
}

#[tokio::test]
async fn a_rebuild_empties_a_collection_and_must_be_finished() {
    let file = File::new();
    let store = file.open(&THINGS);
    store
        .commit(put("a", Vec::new()))
        .await
        .expect("nothing speaks against it");
    drop(store);

    let rebuild = || SqliteOptions {
        rebuild: vec![WITH_OWNER.name],
        ..file.options(&WITH_OWNER)
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(rebuild()).expect("the store opens"));
    assert!(all(&store).await.is_empty());
    store
        .commit(put("a", vec!["ann".into()]))
        .await
        .expect("nothing speaks against it");
    drop(store);

    // Cut short: what is there may be a part of it.
    let refusal = file.refusal(file.options(&WITH_OWNER));
    assert!(
        matches!(refusal, OpenError::Refused(Refusal::Unfinished(_))),
        "{refusal}"
    );

    let store = SqliteStore::open(rebuild()).expect("the store opens");
    store
        .commit(put("b", vec!["bob".into()]))
        .await
        .expect("nothing speaks against it");
    store.finish_rebuild().await.expect("the store is there");
    drop(store);
    let store = file.open(&WITH_OWNER);
    assert_eq!(all(&store).await, ["b"]);
}

async fn all(store: &Arc<dyn Store>) -> Vec<String> {
    ids(store, &Query::all(&WITH_OWNER, 100)).await
}

#[tokio::test]
async fn a_person_can_read_the_tables() {
    let file = File::new();
    let store = file.open(&WITH_OWNER);
    let draft = batch().event_with("sku:HAT", 1, r#"{"quantity":2}"#).build();
    store.commit(draft).await.expect("nothing speaks against it");
    store
        .commit(put("a", vec!["ann".into()]))
        .await
        .expect("nothing speaks against it");
    drop(store);

    let shell = Connection::open(file.path()).expect("the file opens");
    let one = |sql: &str| -> String { shell.query_row(sql, [], |row| row.get(0)).expect(sql) };
    assert_eq!(
        one("SELECT stream || ' ' || version || ' ' || type || ' ' || data FROM journal"),
        "sku:HAT 1 thing.happened {\"quantity\":2}"
    );
    assert!(one("SELECT id FROM journal").starts_with("evt_"));
    assert_eq!(one("SELECT meta ->> 'actor' FROM journal"), "system");
    assert_eq!(
        one("SELECT datetime(time / 1000000, 'unixepoch') FROM journal"),
        "2026-01-01 00:00:00"
    );
    assert_eq!(
        one("SELECT position || ' ' || lanes FROM head").split(' ').next(),
        Some("1")
    );
    assert_eq!(
        one("SELECT id || ' ' || owner || ' ' || version || ' ' || doc FROM things"),
        "a ann 1 {}"
    );
    assert_eq!(
        one("SELECT version || ' ' || applied_at FROM migrations"),
        "1 1970-01-01T00:00:00Z"
    );
    assert_eq!(one("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn a_file_that_is_one_process_alone_is_opened_by_no_other() {
    let file = File::new();
    let alone = || SqliteOptions {
        alone: true,
        ..file.options(&THINGS)
    };
    let store = SqliteStore::open(alone()).expect("the store opens");
    let refusal = file.refusal(alone());
    assert!(matches!(refusal, OpenError::InUse(_)), "{refusal}");
    assert!(store_sql::check_unused(&file.path()).is_err());
    store.close().await;
    let again = SqliteStore::open(alone()).expect("it was let go of");
    drop(again);
    assert!(store_sql::check_unused(&file.path()).is_ok());
}
