//! Stores as released versions made them. For each form that a store has had there is a fixture for each database, below
//! `tests/released/<form>` of its adapter; all of them hold the same, which this module knows.
//!
//! A fixture is what the last version with that form has made and written. It is never changed.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kernel::document::{Collection, Column, ColumnType, Index, Key, Kind, Value};
use kernel::event::{Epoch, Position, Recorded, StreamId};
use kernel::store::{CommitError, Conflict, Expect, Head, Query, Schema, Store, Stored};
use serde_json::json;
use uuid::Uuid;

use crate::store_suite::fixture::{Draft, batch, get, ids};

const fn column(name: &'static str, column_type: ColumnType) -> Column {
    Column { name, column_type }
}

/// Columns of both types; texts that are looked up and that are not.
pub static ACCOUNTS: Collection = Collection {
    name: "accounts",
    kind: Kind::View,
    columns: &[
        column("owner", ColumnType::Text),
        column("rank", ColumnType::Integer),
        column("remark", ColumnType::Text),
    ],
    indexes: &[
        Index {
            name: "by_owner",
            columns: &["owner"],
        },
        Index {
            name: "by_rank",
            columns: &["rank", "owner"],
        },
    ],
};
/// Named by a reserved word.
pub static ORDERS: Collection = Collection {
    name: "order",
    kind: Kind::Record,
    columns: &[],
    indexes: &[],
};

const ADA: &str = "account:ada";
const CAY: &str = "account:cay";
const WRITER: &str = "accounts";
/// The writer's last batch.
const BATCH: Uuid = Uuid::from_u128(0x0193_7fb2_5800_7000_8000_0000_0000_0b03);
/// The time of the last event, 2025-12-01 08:00:02 UTC.
const TIME: i64 = 1_764_576_002_000_000;

/// What the fixtures' stores declare.
#[must_use]
pub fn schema() -> Schema {
    Schema {
        collections: vec![&ACCOUNTS, &ORDERS],
        lanes: 4,
    }
}

/// Panics unless there is a fixture of each form, from 1, in each of these files.
#[track_caller]
pub fn assert_fixtures(directory: &str, forms: usize, files: &[&str]) {
    for form in 1..=forms {
        for file in files {
            let path = Path::new(directory).join(form.to_string()).join(file);
            assert!(
                path.is_file(),
                "a store of form {form} has no fixture: write one to {} (see testkit::released), \
                 and never change it once a version with that form is released",
                path.display()
            );
        }
    }
}

fn events() -> [serde_json::Value; 3] {
    let event = |number: u32, prev: u32, stream, version, lane, event_type, data| {
        json!({
            "position": number,
            "prev": prev,
            "id": format!("evt_{number:026}"),
            "stream": stream,
            "version": version,
            "lane": lane,
            "event_type": event_type,
            "time": format!("2025-12-01T08:00:0{}Z", number - 1),
            "data": data,
            "meta": {"schema": 1, "actor": "system", "correlation": "req-1"},
        })
    };
    [
        event(1, 0, ADA, 1, 3, "account.opened", json!({"name": "Ada"})),
        event(2, 0, CAY, 1, 2, "account.opened", json!({"name": "Cay"})),
        event(3, 1, ADA, 2, 3, "account.ranked", json!({"rank": 7, "by": 1.50})),
    ]
}

/// Panics unless the store holds what the fixtures hold, and goes on from there.
pub async fn assert_goes_on(store: &Arc<dyn Store>) {
    assert_journal(store).await;
    assert_documents(store).await;
    assert_latest_batch_is_known(store).await;
    assert_commits(store).await;
}

async fn assert_journal(store: &Arc<dyn Store>) {
    let tail = store.tail(Position::START, 100).await.expect("the journal is read");
    let head = Head {
        epoch: Epoch(Uuid::from_u128(0x0193_7fb2_5800_7000_8000_0000_0000_0001)),
        position: Position(3),
        time: Timestamp::from_microsecond(TIME).expect("a time in 2025"),
        lanes: [0, 0, 2, 3].map(Position).to_vec(),
    };
    assert_eq!(tail.head, head);
    let json = |event: &Recorded| serde_json::to_value(event).expect("an event is JSON");
    let found: Vec<serde_json::Value> = tail.events.iter().map(json).collect();
    assert_eq!(found, events());
    assert_eq!(
        tail.events[2].data.get(),
        r#"{"rank": 7,  "by": 1.50}"#,
        "byte for byte"
    );
    let stream = store
        .stream(&StreamId::new(ADA), 1, 10)
        .await
        .expect("the stream is read");
    let positions = stream.iter().map(|event| event.position.0);
    assert_eq!(positions.collect::<Vec<_>>(), [1, 3]);
}

async fn assert_documents(store: &Arc<dyn Store>) {
    let stored = |version, document: &str| {
        Some(Stored {
            version,
            document: document.into(),
        })
    };
    let ada = stored(2, r#"{"name": "Ada",  "rank": 7}"#);
    assert_eq!(get(store, account("ada")).await, ada);
    assert_eq!(get(store, account("cay")).await, stored(1, r#"{"name": "Cay"}"#));
    assert_eq!(get(store, account("zoe")).await, stored(1, r#"{"name": "Zoë"}"#));
    let order = Key {
        collection: ORDERS.name,
        id: "o1".into(),
    };
    assert_eq!(get(store, order).await, stored(1, r#"{"sum": 1050}"#));
    let by = |index| Query::by(&ACCOUNTS, index, Vec::new(), 10);
    assert_eq!(ids(store, &by("by_owner")).await, ["ada", "zoe"]);
    assert_eq!(ids(store, &by("by_rank")).await, ["zoe", "ada"]);
}

/// Else a commit whose outcome a process did not learn, before it was migrated, would be made twice.
async fn assert_latest_batch_is_known(store: &Arc<dyn Store>) {
    let again = by_the_writer().event(ADA, 2).with(|batch| batch.id = BATCH);
    assert_eq!(again.commit(store).await.last, Position(3));
    let tail = store.tail(Position(3), 10).await.expect("the journal is read");
    assert!(tail.events.is_empty(), "it was written again");
}

async fn assert_commits(store: &Arc<dyn Store>) {
    let taken = by_the_writer().event(CAY, 1).build();
    match store.commit(taken).await {
        Err(CommitError::Conflict(conflicts)) => assert_eq!(conflicts, [Conflict::Stream(StreamId::new(CAY))]),
        other => panic!("the version is taken: {other:?}"),
    }
    let columns: Vec<Value> = vec!["Ada".into(), 1.into(), Value::Null];
    let next = by_the_writer().event(ADA, 3);
    let next = next.put(account("ada"), "{}", columns, Expect::Version(2));
    assert_eq!(next.commit(store).await.last, Position(4));
    let tail = store.tail(Position(3), 10).await.expect("the journal is read");
    let chain = tail.events.iter().map(|event| (event.position.0, event.prev.0));
    assert_eq!(chain.collect::<Vec<_>>(), [(4, 3)]);
    let by_rank = Query::by(&ACCOUNTS, "by_rank", Vec::new(), 10);
    assert_eq!(ids(store, &by_rank).await, ["ada", "zoe"]);
}

fn by_the_writer() -> Draft {
    batch().by(WRITER)
}

fn account(id: &str) -> Key {
    Key {
        collection: ACCOUNTS.name,
        id: id.into(),
    }
}
