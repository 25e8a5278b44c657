//! The port to a database: a journal of events plus documents, committed together.

pub mod carry;
mod check;
pub mod opening;
mod section;
pub mod serial;

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::document::{Collection, Key, Value};
use crate::event::{Epoch, NewEvent, Position, Recorded, StreamId};
use crate::store::carry::{Load, Snapshot};
pub use crate::store::section::Section;

/// An event's data and meta together are refused above this size, below every broker's limit.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// What an event's envelope adds at most: ids, times, the request, and a subject of 200 characters.
pub const ENVELOPE_BYTES_MAX: usize = 8 * 1024;
/// A tail ends with the event that brings the data of its events to so much, whatever its limit.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A journal and documents in one database, for one service.
///
/// What every adapter owes, and the contract suite in `testkit` checks:
///
/// - **Atomic.** A batch is there whole or not at all, and durable when `commit` returns, over kill -9 and power loss
///   as far as the database promises that.
/// - **Dense positions in commit order.** The head row is taken first in the transaction and advanced by the number of
///   events; a rollback gives the numbers back. Whoever reads position *n* can already read every position below it.
///   No serial columns, transaction ids or times as positions.
/// - **`prev` chains.** The head row keeps the last position of each lane, so each event knows its predecessor there.
/// - **Conflicts are named.** Unique (stream, version); the expected version of each put and delete; the version of
///   everything in `reads`. On any conflict nothing was written.
/// - **Time does not run back.** A batch older than the journal's last event is a [`Conflict::Time`].
/// - **Idempotent by batch id.** Committing the writer's latest batch again answers as the first time did and writes
///   nothing. So an unknown outcome is settled by committing again.
/// - **Byte for byte.** Documents, event data and ids come back as they went in; ids and text columns compare as bytes.
/// - **Cancellation.** A dropped future, of a commit or of a read, never leaves a transaction open.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Writes the batch as one transaction.
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError>;

    /// The documents under `keys`, in their order. Sees every commit that returned before the call.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError>;

    /// A page of documents by a declared index.
    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError>;

    /// The events of one stream from `from_version` on, in order; at most `limit`.
    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError>;

    /// The events after `after`, in order; at most `limit`, and none after the one with which their data has
    /// [`TAIL_BYTES_MAX`] bytes. `limit` 0 asks for the head alone.
    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError>;

    /// Rids the store's own files, its write-ahead log included, of what was deleted or overwritten before the call.
    /// A database server's files are its operator's; its adapter has nothing to do.
    async fn scrub(&self) -> Result<(), StoreError>;
}

/// What whoever opened a store does with it besides.
#[async_trait]
pub trait Opened: Store {
    /// Declares the collections that it was opened to have filled again whole.
    async fn finish_rebuild(&self) -> Result<(), StoreError>;

    /// The store as it is now, to be read as a whole.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Writes what was read from another store, as it was there, in one transaction. Nobody else may use the store.
    async fn load(&self, load: Load) -> Result<(), CommitError>;

    /// Inserts the rows of batches over one connection, a transaction for each, and does nothing else that a commit does: no
    /// head is taken and nothing is checked, so that the journal is none afterwards. This is what commits are measured by.
    /// Events get the positions after `after`, which nothing may have yet.
    async fn insert(&self, batches: Vec<Arc<Batch>>, after: Position) -> Result<(), CommitError>;

    /// Finishes the commits that were sent, and lets go of the database. Later calls are refused.
    async fn close(&self);
}

/// What a store keeps for one service: fixed in code, created by migrations.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Every collection of the service, the kernel's own included.
    pub collections: Vec<&'static Collection>,
    /// Lanes of the deployment; a store made with another number is refused at start.
    pub lanes: u16,
}

/// One transaction: events, documents, and what was only read.
#[derive(Debug)]
pub struct Batch {
    /// Settles a commit whose outcome is unknown.
    pub id: Uuid,
    /// Whose batch it is: one name per live writer.
    pub writer: Arc<str>,
    /// The time of the decisions; every event in the batch has it.
    pub time: Timestamp,
    /// New events, in order.
    pub events: Vec<NewEvent>,
    /// Documents to write. A key occurs at most once among puts and deletes.
    pub puts: Vec<Put>,
    /// Documents to remove.
    pub deletes: Vec<Delete>,
    /// Documents that decisions read and did not write, with the version seen (`None` is absent).
    pub reads: Vec<(Key, Option<u64>)>,
}

/// What must hold of a document when the batch commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// It must not exist.
    Absent,
    /// It must have this version.
    Version(u64),
}

/// A document to write. Its version becomes 1, or one more than before.
#[derive(Debug)]
pub struct Put {
    /// Where.
    pub key: Key,
    /// JSON.
    pub document: Arc<str>,
    /// Values of the collection's columns, in order.
    pub columns: Vec<Value>,
    /// The condition.
    pub expect: Expect,
}

/// A document to remove; removing an absent one under [`Expect::Any`] is no error.
#[derive(Debug)]
pub struct Delete {
    /// Which.
    pub key: Key,
    /// The condition.
    pub expect: Expect,
}

/// A document as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// From 1, one more with each put.
    pub version: u64,
    /// JSON, byte for byte as put.
    pub document: Arc<str>,
}

/// A document found by a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: Arc<str>,
    /// The value of the column that the page is ordered by, for the cursor; `None` if that is the id.
    pub sort: Option<Value>,
    /// The document.
    pub stored: Stored,
}

/// The state of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The journal's life.
    pub epoch: Epoch,
    /// Its last position.
    pub position: Position,
    /// The last position of each lane.
    pub lanes: Vec<Position>,
    /// The time of its last event.
    pub time: Timestamp,
}

/// A piece of the journal.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The journal's state, at or after the events given.
    pub head: Head,
    /// Events in order.
    pub events: Vec<Recorded>,
}

/// Where a batch ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position of the batch's last event, or the head if it had none.
    pub last: Position,
}

/// A look-up by a declared index: `equals` for its first columns, then `range` over the next one (or the id, when all
/// columns are given), then id.
#[derive(Clone, Debug)]
pub struct Query {
    /// Where to look.
    pub collection: &'static Collection,
    /// A declared index, or `None` to walk by id.
    pub index: Option<&'static str>,
    /// Values for the index's first columns; null equals null. With fewer than all but one of the columns, the database
    /// sorts what it finds, which costs more the more it finds.
    pub equals: Vec<Value>,
    /// Bounds for the next column, or for the id. Null lies within no bound; without bounds it sorts first.
    pub range: (Bound<Value>, Bound<Value>),
    /// Further conditions on any declared column; null equals null.
    pub filters: Vec<(&'static str, Value)>,
    /// Text that a declared text column must contain (the column holds it in lower case; so must this).
    pub contains: Option<(&'static str, Arc<str>)>,
    /// From the highest down.
    pub descending: bool,
    /// Only what comes after this one, as [`Found::sort`] and [`Found::id`] gave it.
    pub after: Option<(Option<Value>, Arc<str>)>,
    /// At most so many.
    pub limit: usize,
    /// None after the one with which the documents have so many bytes.
    pub bytes_max: usize,
}

impl Query {
    /// Every document of a collection, by id.
    #[must_use]
    pub fn all(collection: &'static Collection, limit: usize) -> Self {
        Self {
            collection,
            index: None,
            equals: Vec::new(),
            range: (Bound::Unbounded, Bound::Unbounded),
            filters: Vec::new(),
            contains: None,
            descending: false,
            after: None,
            limit,
            bytes_max: usize::MAX,
        }
    }

    /// By a declared index, with values for its first columns.
    #[must_use]
    pub fn by(collection: &'static Collection, index: &'static str, equals: Vec<Value>, limit: usize) -> Self {
        Self {
            index: Some(index),
            equals,
            ..Self::all(collection, limit)
        }
    }

    /// The column that the range and the order are over; `None` is the id.
    #[must_use]
    pub fn sort_column(&self) -> Option<&'static str> {
        let index = self.collection.index(self.index?);
        index.columns.get(self.equals.len()).copied()
    }
}

/// What was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The document has another version, or exists, or does not.
    Document(Key),
    /// The stream already has that version, or lacks the one before it.
    Stream(StreamId),
    /// The journal's last event is later than the batch.
    Time(Timestamp),
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something changed meanwhile: read again and decide again.
    #[error("the batch conflicts with {0:?}")]
    Conflict(Vec<Conflict>),
    /// The database will not take a value: the batch can never be committed.
    #[error("the database refuses the content: {0}")]
    Content(String),
    /// Certainly not committed; try again later.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    /// Committed or not: commit the same batch again to know.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
}

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the store is not available: {reason}")]
pub struct StoreError {
    /// For the log; never shown to a client.
    pub reason: String,
}

impl StoreError {
    /// From whatever the driver said.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}
