//! Collections, batches and whole-store snapshots for the suite.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contracts::EventId;
use jiff::Timestamp;
use kernel::document::{Collection, Column, ColumnType, Index, Key, Kind, Value};
use kernel::event::{Lane, Meta, NewEvent, Position, Recorded, StreamId};
use kernel::store::{
    Batch, CommitError, Committed, Conflict, Delete, Expect, Found, Head, Put, Query, Schema, Store, Stored,
};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Documents with columns of both types, and indexes of one, two and three of them.
pub static THINGS: Collection = Collection {
    name: "things",
    kind: Kind::View,
    columns: &[
        Column {
            name: "owner",
            column_type: ColumnType::Text,
        },
        Column {
            name: "rank",
            column_type: ColumnType::Integer,
        },
        Column {
            name: "label",
            column_type: ColumnType::Text,
        },
    ],
    indexes: &[
        Index {
            name: "by_owner",
            columns: &["owner"],
        },
        Index {
            name: "by_rank",
            columns: &["rank"],
        },
        Index {
            name: "by_label",
            columns: &["label"],
        },
        Index {
            name: "by_owner_rank",
            columns: &["owner", "rank"],
        },
        Index {
            name: "by_owner_rank_label",
            columns: &["owner", "rank", "label"],
        },
    ],
};

/// Documents and nothing else. The name is a reserved word in some databases.
pub static NOTES: Collection = Collection {
    name: "order",
    kind: Kind::Record,
    columns: &[],
    indexes: &[],
};

/// Lanes of the suite's journals.
pub const LANES: u16 = 4;

/// The schema of every store in the suite.
#[must_use]
pub fn schema() -> Schema {
    Schema {
        collections: vec![&THINGS, &NOTES],
        lanes: LANES,
    }
}

/// The time of batches that do not name another.
#[must_use]
pub fn noon() -> Timestamp {
    Timestamp::from_microsecond(1_767_225_600_000_123).expect("a time in 2026")
}

/// A number that no other call gave, nor one in a process that left the store behind.
fn unique() -> u128 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    u128::from(std::process::id()) << 64 | u128::from(LAST.fetch_add(1, Ordering::Relaxed))
}

/// The key of a [`THINGS`] document.
pub fn thing(id: &str) -> Key {
    Key {
        collection: THINGS.name,
        id: id.into(),
    }
}

/// The key of a [`NOTES`] document.
pub fn note(id: &str) -> Key {
    Key {
        collection: NOTES.name,
        id: id.into(),
    }
}

/// The values of a thing's columns.
pub fn columns(owner: impl Into<Value>, rank: impl Into<Value>, label: impl Into<Value>) -> Vec<Value> {
    vec![owner.into(), rank.into(), label.into()]
}

/// A batch in the making: every part is added by the call that names it.
#[derive(Debug)]
pub struct Draft(Batch);

/// A new batch of the writer `w`.
#[must_use]
pub fn batch() -> Draft {
    Draft(Batch {
        id: Uuid::from_u128(unique()),
        writer: "w".into(),
        time: noon(),
        events: Vec::new(),
        puts: Vec::new(),
        deletes: Vec::new(),
        reads: Vec::new(),
    })
}

impl Draft {
    /// Another writer's.
    #[must_use]
    pub fn by(mut self, writer: &str) -> Self {
        self.0.writer = writer.into();
        self
    }

    /// At another time, for the events added after it too.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.0.time = time;
        self
    }

    /// An event with little in it.
    #[must_use]
    pub fn event(self, stream: &str, version: u64) -> Self {
        self.event_with(stream, version, &format!("{{\"of\":{version}}}"))
    }

    /// An event with this data.
    #[must_use]
    pub fn event_with(mut self, stream: &str, version: u64, data: &str) -> Self {
        let stream = StreamId::new(stream);
        self.0.events.push(NewEvent {
            id: EventId::from_uuid(Uuid::from_u128(unique())),
            lane: Lane::of(&stream, LANES),
            stream,
            version,
            event_type: Cow::Borrowed("thing.happened"),
            time: self.0.time,
            data: raw(data),
            meta: Arc::new(meta()),
        });
        self
    }

    /// A thing with empty columns.
    #[must_use]
    pub fn put_thing(self, id: &str, expect: Expect) -> Self {
        self.put(thing(id), "{}", columns(Value::Null, Value::Null, Value::Null), expect)
    }

    /// A thing with these columns.
    #[must_use]
    pub fn put_columns(self, id: &str, columns: Vec<Value>) -> Self {
        self.put(thing(id), "{}", columns, Expect::Any)
    }

    /// A note.
    #[must_use]
    pub fn put_note(self, id: &str, document: &str, expect: Expect) -> Self {
        self.put(note(id), document, Vec::new(), expect)
    }

    /// A document.
    #[must_use]
    pub fn put(mut self, key: Key, document: &str, columns: Vec<Value>, expect: Expect) -> Self {
        self.0.puts.push(Put {
            key,
            document: document.into(),
            columns,
            expect,
        });
        self
    }

    /// A removal.
    #[must_use]
    pub fn delete(mut self, key: Key, expect: Expect) -> Self {
        self.0.deletes.push(Delete { key, expect });
        self
    }

    /// Something that was only read.
    #[must_use]
    pub fn read(mut self, key: Key, seen: Option<u64>) -> Self {
        self.0.reads.push((key, seen));
        self
    }

    /// Any other change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Batch)) -> Self {
        change(&mut self.0);
        self
    }

    /// The batch.
    #[must_use]
    pub fn build(self) -> Arc<Batch> {
        Arc::new(self.0)
    }

    /// Commits it, which must succeed.
    pub async fn commit(self, store: &Arc<dyn Store>) -> Committed {
        store
            .commit(self.build())
            .await
            .expect("nothing speaks against the batch")
    }

    /// Commits it as a writer would while others write too: what the store could not take just now is sent again.
    pub async fn commit_patiently(self, store: &Arc<dyn Store>) -> Result<Committed, Vec<Conflict>> {
        let batch = self.build();
        for _ in 0..100 {
            match store.commit(Arc::clone(&batch)).await {
                Ok(committed) => return Ok(committed),
                Err(CommitError::Conflict(conflicts)) => return Err(conflicts),
                Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) => tokio::task::yield_now().await,
                Err(error @ CommitError::Content(_)) => panic!("{error}"),
            }
        }
        panic!("the store did not take a batch in a hundred attempts");
    }
}

/// JSON exactly as written.
#[must_use]
pub fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("the text is JSON")
}

/// Metadata of an event that nothing caused.
#[must_use]
pub fn meta() -> Meta {
    Meta {
        schema: 1,
        actor: "system".into(),
        correlation: "req-1".into(),
        causation: None,
        trace: None,
    }
}

/// Everything that a store can be asked for, in a form that can be compared.
#[derive(Debug, PartialEq)]
pub struct Everything {
    /// The state of the journal.
    pub head: Head,
    /// Each event as JSON, its data byte for byte.
    pub events: Vec<String>,
    /// All documents of both collections.
    pub documents: Vec<Found>,
}

/// Reads the whole store.
pub async fn everything(store: &Arc<dyn Store>) -> Everything {
    let tail = store
        .tail(Position::START, usize::MAX)
        .await
        .expect("the journal is read");
    let mut documents = store
        .query(&Query::all(&THINGS, usize::MAX))
        .await
        .expect("the things are read");
    documents.extend(
        store
            .query(&Query::all(&NOTES, usize::MAX))
            .await
            .expect("the notes are read"),
    );
    let json = |event: &Recorded| serde_json::to_string(event).expect("an event is JSON");
    Everything {
        head: tail.head,
        events: tail.events.iter().map(json).collect(),
        documents,
    }
}

/// One document.
pub async fn get(store: &Arc<dyn Store>, key: Key) -> Option<Stored> {
    let mut found = store.get(&[key]).await.expect("the document is read");
    assert_eq!(found.len(), 1, "one answer for one key");
    found.pop().flatten()
}

/// The ids of a page, in order.
pub async fn ids(store: &Arc<dyn Store>, query: &Query) -> Vec<String> {
    let page = store.query(query).await.expect("the query is answered");
    page.iter().map(|found| found.id.to_string()).collect()
}
