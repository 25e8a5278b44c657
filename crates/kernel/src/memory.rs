//! The store in memory, for tests and the simulation. It survives a "restart" by being shared in an [`Arc`].

pub mod bus;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::document::Key;
use crate::event::{Epoch, NewEvent, Position, Recorded, StreamId};
use crate::memory::table::Table;
use crate::store::{
    Batch, CommitError, Committed, Conflict, Expect, Found, Head, Query, Schema, Store, StoreError, Stored,
    TAIL_BYTES_MAX, Tail,
};

/// A whole store behind one lock. Nothing in it depends on time, chance or addresses, so a run repeats under its seed.
pub struct MemoryStore {
    schema: Schema,
    state: Mutex<State>,
}

struct State {
    head: Head,
    journal: Vec<Recorded>,
    /// The positions of each stream's events, in the order of their versions.
    streams: BTreeMap<StreamId, Vec<Position>>,
    tables: BTreeMap<&'static str, Table>,
    /// Each writer's latest batch, and how it was answered.
    batches: BTreeMap<Arc<str>, (Uuid, Committed)>,
}

impl MemoryStore {
    /// An empty store. Panics if the schema is not one that every database can hold: it is fixed in code.
    #[must_use]
    pub fn new(schema: Schema, epoch: Uuid) -> Self {
        if let Err(reason) = schema.check() {
            panic!("the schema is wrong: {reason}");
        }
        let head = Head {
            epoch: Epoch(epoch),
            position: Position::START,
            lanes: vec![Position::START; usize::from(schema.lanes)],
            time: Timestamp::UNIX_EPOCH,
        };
        let tables = schema
            .collections
            .iter()
            .map(|&collection| (collection.name, Table::new(collection)))
            .collect();
        let state = State {
            head,
            journal: Vec::new(),
            streams: BTreeMap::new(),
            tables,
            batches: BTreeMap::new(),
        };
        Self {
            schema,
            state: Mutex::new(state),
        }
    }

    /// Every change is checked before the first is applied, so a panic elsewhere cannot leave half a batch behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("head", &self.state().head)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        batch.check(&self.schema)?;
        self.state().commit(&batch)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        let state = self.state();
        keys.iter()
            .map(|key| Ok(state.table(key.collection)?.get(&key.id).cloned()))
            .collect()
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        query.check()?;
        Ok(self.state().table(query.collection.name)?.query(query))
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let state = self.state();
        let skipped = usize::try_from(from_version.saturating_sub(1)).unwrap_or(usize::MAX);
        let positions = state.streams.get(id).map_or(&[][..], Vec::as_slice);
        Ok(positions
            .iter()
            .skip(skipped)
            .take(limit)
            .map(|&position| state.event(position).clone())
            .collect())
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        let state = self.state();
        let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
        let events = state.journal.iter().skip(skipped).take(limit);
        Ok(Tail {
            head: state.head.clone(),
            events: until_full(events, TAIL_BYTES_MAX, |event| event.data.get().len())
                .cloned()
                .collect(),
        })
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The items up to and with the one that brings the sum of their sizes to `bytes_max`.
fn until_full<T>(
    items: impl Iterator<Item = T>,
    bytes_max: usize,
    bytes: impl Fn(&T) -> usize,
) -> impl Iterator<Item = T> {
    let mut sum = 0usize;
    items.take_while(move |item| {
        let open = sum < bytes_max || sum == 0;
        sum = sum.saturating_add(bytes(item));
        open
    })
}

impl State {
    fn table(&self, collection: &str) -> Result<&Table, StoreError> {
        let missing = || StoreError::new(format_args!("the schema has no collection {collection}"));
        self.tables.get(collection).ok_or_else(missing)
    }

    /// The event at a position that the journal has given out.
    fn event(&self, position: Position) -> &Recorded {
        let place = usize::try_from(position.0 - 1).expect("a journal in memory has fewer events than addresses");
        &self.journal[place]
    }

    fn commit(&mut self, batch: &Batch) -> Result<Committed, CommitError> {
        if let Some((id, committed)) = self.batches.get(&batch.writer)
            && *id == batch.id
        {
            return Ok(*committed);
        }
        if batch.time < self.head.time {
            return Err(CommitError::Conflict(vec![Conflict::Time(self.head.time)]));
        }
        let conflicts = self.conflicts(batch);
        if !conflicts.is_empty() {
            return Err(CommitError::Conflict(conflicts));
        }

        for event in &batch.events {
            self.append(event);
        }
        for put in &batch.puts {
            self.written(&put.key).put(put);
        }
        for delete in &batch.deletes {
            self.written(&delete.key).delete(&delete.key.id);
        }
        let committed = Committed {
            last: self.head.position,
        };
        self.batches.insert(Arc::clone(&batch.writer), (batch.id, committed));
        Ok(committed)
    }

    fn conflicts(&self, batch: &Batch) -> Vec<Conflict> {
        let reads = batch
            .reads
            .iter()
            .map(|(key, seen)| (key, seen.map_or(Expect::Absent, Expect::Version)));
        let puts = batch.puts.iter().map(|put| (&put.key, put.expect));
        let deletes = batch.deletes.iter().map(|delete| (&delete.key, delete.expect));
        let mut conflicts = Vec::new();
        for (key, expect) in reads.chain(puts).chain(deletes) {
            let version = self.tables[key.collection].get(&key.id).map(|stored| stored.version);
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => version.is_none(),
                Expect::Version(expected) => version == Some(expected),
            };
            if !holds {
                name(&mut conflicts, Conflict::Document(key.clone()));
            }
        }

        let mut next = BTreeMap::new();
        for event in &batch.events {
            let known = || self.streams.get(&event.stream).map_or(0, Vec::len) as u64;
            let last = next.entry(&event.stream).or_insert_with(known);
            if event.version == *last + 1 {
                *last += 1;
            } else {
                name(&mut conflicts, Conflict::Stream(event.stream.clone()));
            }
        }
        conflicts
    }

    fn append(&mut self, event: &NewEvent) {
        let position = self.head.position.plus(1);
        let prev = std::mem::replace(&mut self.head.lanes[event.lane.index()], position);
        self.head.position = position;
        self.head.time = event.time;
        self.streams.entry(event.stream.clone()).or_default().push(position);
        self.journal.push(event.recorded(position, prev));
    }

    fn written(&mut self, key: &Key) -> &mut Table {
        self.tables
            .get_mut(key.collection)
            .expect("the batch was checked against the schema")
    }
}

/// Names each thing once, however many parts of the batch fell over it.
fn name(conflicts: &mut Vec<Conflict>, conflict: Conflict) {
    if !conflicts.contains(&conflict) {
        conflicts.push(conflict);
    }
}
