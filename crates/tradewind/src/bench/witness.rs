//! Somebody who sees what a measured store commits.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::document::Key;
use kernel::event::{Position, Recorded, StreamId};
use kernel::store::{Batch, CommitError, Committed, Found, Query, Store, StoreError, Stored, Tail};

/// An order was accepted.
pub const PLACED: &str = "order.placed";
/// Its stock is reserved.
pub const CONFIRMED: &str = "order.confirmed";
/// There is no stock for it.
pub const REJECTED: &str = "order.rejected";

/// Sees each batch once its commit has returned.
pub trait Witness: fmt::Debug + Send + Sync {
    /// It was committed a moment ago.
    fn saw(&self, batch: Arc<Batch>);
}

/// A store that somebody watches.
#[derive(Debug)]
pub struct Witnessed {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who watches.
    pub witness: Arc<dyn Witness>,
}

#[async_trait]
impl Store for Witnessed {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        let committed = self.store.commit(Arc::clone(&batch)).await?;
        self.witness.saw(batch);
        Ok(committed)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.store.get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        self.store.query(query).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store.stream(id, from_version, limit).await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        self.store.tail(after, limit).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.store.scrub().await
    }
}
