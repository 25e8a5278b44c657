//! A service's way to its store.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::document::Key;
use kernel::event::{Position, Recorded, StreamId};
use kernel::memory::MemoryStore;
use kernel::store::{Batch, CommitError, Committed, Found, Query, Store, StoreError, Stored, Tail};

use crate::fault::Fault;
use crate::line::Line;
use crate::poison::Poison;

/// A store that outlives the service, at the end of a bad line.
#[derive(Debug)]
pub(crate) struct RemoteStore {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) poison: Poison,
    pub(crate) line: Line,
}

impl RemoteStore {
    async fn read<T>(&self, read: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        self.line.step().await;
        if self.line.strikes(Fault::ReadFails) {
            return Err(StoreError::new("the line is down"));
        }
        let read = read.await?;
        self.line.alive().await;
        Ok(read)
    }
}

#[async_trait]
impl Store for RemoteStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        let line = &self.line;
        line.step().await;
        line.may_die(Fault::CrashBeforeCommit).await;
        if line.strikes(Fault::CommitFails) {
            return Err(StoreError::new("the line is down").into());
        }
        if line.strikes(Fault::CommitLost) {
            return Err(CommitError::Unknown("no answer came".to_owned()));
        }
        let batch = self.poison.put_right(line.service, batch);
        let committed = self.store.commit(Arc::clone(&batch)).await;
        line.note(|| shown(&batch, &committed));
        let committed = committed?;
        self.poison.count(&batch);
        line.may_die(Fault::CrashAfterCommit).await;
        if line.strikes(Fault::CommitUnknown) {
            return Err(CommitError::Unknown("no answer came".to_owned()));
        }
        line.step().await;
        Ok(committed)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.read(self.store.get(keys)).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        self.read(self.store.query(query)).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.read(self.store.stream(id, from_version, limit)).await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        self.read(self.store.tail(after, limit)).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.read(self.store.scrub()).await
    }
}

fn shown(batch: &Batch, committed: &Result<Committed, CommitError>) -> String {
    let events: Vec<String> = batch
        .events
        .iter()
        .map(|event| format!("{} {}@{}", event.event_type, event.stream, event.version))
        .collect();
    let puts: Vec<String> = batch
        .puts
        .iter()
        .map(|put| format!("{}/{}", put.key.collection, put.key.id))
        .collect();
    match committed {
        Ok(committed) => format!("committed up to {}: {events:?} {puts:?}", committed.last),
        Err(error) => format!("not committed: {error}"),
    }
}
