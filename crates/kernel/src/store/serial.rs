//! How a batch is committed where every commit takes the head row first, and so is alone with the service's data until it
//! ends: what the batch expects is looked at once, in few reads, and then everything is written without conditions.
//!
//! One algorithm for every database that is reached over a network, where each statement costs a round trip. An adapter
//! implements [`Transaction`] and nothing else of it.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use uuid::Uuid;

use crate::document::{Key, Value};
use crate::event::{Position, Recorded, StreamId};
use crate::store::carry::{Carried, Load};
use crate::store::{Batch, CommitError, Committed, Conflict, Expect, Head, Put};

/// The writer's name of what is loaded.
const LOADER: &str = "load";

/// A transaction of one database, begun and not yet committed. Each call is one round trip, or few.
#[async_trait]
pub trait Transaction: Send {
    /// Takes the head row until the transaction ends, waiting for whoever has it; gives what it says, and the writer's
    /// latest batch.
    async fn take_head(&mut self, writer: &str) -> Result<(Head, Option<Latest>), CommitError>;

    /// The versions of those of the documents and streams that are there.
    async fn versions(&mut self, of: &Subjects<'_>) -> Result<Versions, CommitError>;

    /// Adds events to the journal.
    async fn append(&mut self, events: &[Recorded]) -> Result<(), CommitError>;

    /// Writes documents of one collection, whatever was there.
    async fn put(&mut self, collection: &'static str, rows: &[Row<'_>]) -> Result<(), CommitError>;

    /// Removes documents of one collection that are there.
    async fn delete(&mut self, collection: &'static str, ids: &[&str]) -> Result<(), CommitError>;

    /// Adds events to the journal, and leaves the head as it is now, its epoch too, and the writer's batch.
    async fn leave(
        &mut self,
        events: &[Recorded],
        head: &Head,
        writer: &str,
        latest: Latest,
    ) -> Result<(), CommitError>;
}

/// A writer's latest batch, and where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The batch.
    pub batch: Uuid,
    /// The head after it.
    pub last: Position,
}

/// Ids by collection.
pub type Keys<'a> = BTreeMap<&'static str, Vec<&'a str>>;

/// What a batch is about: something expects a version of each.
#[derive(Debug, Default)]
pub struct Subjects<'a> {
    /// Every document that it names.
    pub documents: Keys<'a>,
    /// Every stream that it adds to, once.
    pub streams: Vec<&'a StreamId>,
}

/// The versions of what is there.
#[derive(Debug, Default)]
pub struct Versions {
    /// Of documents.
    pub documents: HashMap<Key, u64>,
    /// Of streams: that of the last event.
    pub streams: HashMap<StreamId, u64>,
}

/// A document to write, with the version that it gets.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its id.
    pub id: &'a str,
    /// From 1.
    pub version: u64,
    /// JSON.
    pub document: &'a str,
    /// Values of the collection's columns, in order.
    pub columns: &'a [Value],
}

/// What became of a batch.
#[derive(Debug)]
pub enum Written {
    /// The transaction is to be committed.
    Now(Committed),
    /// The same batch was committed before: nothing was written.
    Before(Committed),
}

/// Writes a batch that fits the schema into a transaction. After an error the transaction is to be rolled back.
pub async fn write(transaction: &mut dyn Transaction, batch: &Batch) -> Result<Written, CommitError> {
    let (mut head, latest) = transaction.take_head(&batch.writer).await?;
    if let Some(latest) = latest.filter(|latest| latest.batch == batch.id) {
        return Ok(Written::Before(Committed { last: latest.last }));
    }
    if batch.time < head.time {
        return Err(CommitError::Conflict(vec![Conflict::Time(head.time)]));
    }
    let Versions {
        documents: versions,
        streams,
    } = versions(transaction, batch).await?;
    let mut conflicts = document_conflicts(batch, &versions);
    conflicts.extend(stream_conflicts(batch, streams));
    if !conflicts.is_empty() {
        return Err(CommitError::Conflict(conflicts));
    }
    for (collection, rows) in rows(&batch.puts, &versions) {
        transaction.put(collection, &rows).await?;
    }
    for (collection, ids) in deleted(batch, &versions) {
        transaction.delete(collection, &ids).await?;
    }
    let events = recorded(batch, &mut head);
    let last = head.position;
    let latest = Latest { batch: batch.id, last };
    transaction.leave(&events, &head, &batch.writer, latest).await?;
    Ok(Written::Now(Committed { last }))
}

/// Writes the rows of a batch that follows `after` into a transaction, and nothing else.
pub async fn insert(transaction: &mut dyn Transaction, batch: &Batch, after: Position) -> Result<(), CommitError> {
    for (collection, rows) in rows(&batch.puts, &HashMap::new()) {
        transaction.put(collection, &rows).await?;
    }
    let positions = (1..).map(|number| after.plus(number));
    let events = batch.events.iter().zip(positions);
    let events: Vec<Recorded> = events
        .map(|(event, position)| event.recorded(position, Position::START))
        .collect();
    transaction.append(&events).await
}

/// Writes a part of another store into a transaction, which is then to be committed.
pub async fn load(transaction: &mut dyn Transaction, load: &Load) -> Result<(), CommitError> {
    transaction.take_head(LOADER).await?;
    if let Some((collection, documents)) = &load.documents {
        let rows: Vec<Row<'_>> = documents.iter().map(Row::from).collect();
        transaction.put(collection.name, &rows).await?;
    }
    let latest = Latest {
        batch: Uuid::nil(),
        last: load.head.position,
    };
    transaction.leave(&load.events, &load.head, LOADER, latest).await
}

impl<'a> From<&'a Carried> for Row<'a> {
    fn from(carried: &'a Carried) -> Self {
        Self {
            id: &carried.id,
            version: carried.version,
            document: &carried.document,
            columns: &carried.columns,
        }
    }
}

/// Of all that the batch is about.
async fn versions(transaction: &mut dyn Transaction, batch: &Batch) -> Result<Versions, CommitError> {
    let mut subjects = Subjects::default();
    let puts = batch.puts.iter().map(|put| &put.key);
    let deletes = batch.deletes.iter().map(|delete| &delete.key);
    let reads = batch.reads.iter().map(|(key, _)| key);
    for key in puts.chain(deletes).chain(reads) {
        subjects.documents.entry(key.collection).or_default().push(&key.id);
    }
    subjects.streams = batch.events.iter().map(|event| &event.stream).collect();
    subjects.streams.sort_unstable();
    subjects.streams.dedup();
    if subjects.documents.is_empty() && subjects.streams.is_empty() {
        return Ok(Versions::default());
    }
    transaction.versions(&subjects).await
}

/// Each document that is not as expected, once.
fn document_conflicts(batch: &Batch, versions: &HashMap<Key, u64>) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let expect = |expect: Expect| match expect {
        Expect::Any => None,
        Expect::Absent => Some(None),
        Expect::Version(version) => Some(Some(version)),
    };
    let reads = batch.reads.iter().map(|(key, seen)| (key, Some(*seen)));
    let puts = batch.puts.iter().map(|put| (&put.key, expect(put.expect)));
    let deletes = batch.deletes.iter().map(|delete| (&delete.key, expect(delete.expect)));
    for (key, expected) in reads.chain(puts).chain(deletes) {
        let conflict = Conflict::Document(key.clone());
        let holds = expected.is_none_or(|expected| versions.get(key).copied() == expected);
        if !holds && !conflicts.contains(&conflict) {
            conflicts.push(conflict);
        }
    }
    conflicts
}

/// Each stream of which an event is not the next one, once.
fn stream_conflicts(batch: &Batch, mut last: HashMap<StreamId, u64>) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for event in &batch.events {
        let before = last.insert(event.stream.clone(), event.version).unwrap_or(0);
        let conflict = Conflict::Stream(event.stream.clone());
        if event.version != before + 1 && !conflicts.contains(&conflict) {
            conflicts.push(conflict);
        }
    }
    conflicts
}

/// By collection, each with its next version.
fn rows<'a>(puts: &'a [Put], versions: &HashMap<Key, u64>) -> BTreeMap<&'static str, Vec<Row<'a>>> {
    let mut rows: BTreeMap<&'static str, Vec<Row<'a>>> = BTreeMap::new();
    for put in puts {
        rows.entry(put.key.collection).or_default().push(Row {
            id: &put.key.id,
            version: versions.get(&put.key).map_or(1, |version| version + 1),
            document: &put.document,
            columns: &put.columns,
        });
    }
    rows
}

/// By collection, those that are there.
fn deleted<'a>(batch: &'a Batch, versions: &HashMap<Key, u64>) -> Keys<'a> {
    let mut ids = Keys::new();
    let there = batch.deletes.iter().filter(|delete| versions.contains_key(&delete.key));
    for delete in there {
        ids.entry(delete.key.collection).or_default().push(&delete.key.id);
    }
    ids
}

/// The batch's events as they are in the journal, whose head moves behind them.
fn recorded(batch: &Batch, head: &mut Head) -> Vec<Recorded> {
    let events = batch.events.iter().map(|event| {
        let position = head.position.plus(1);
        let prev = std::mem::replace(&mut head.lanes[event.lane.index()], position);
        head.position = position;
        head.time = event.time;
        event.recorded(position, prev)
    });
    events.collect()
}
