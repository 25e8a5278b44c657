//! Reading documents and events as their types.

use std::sync::Arc;

use contracts::DecodeError;
use jiff::Timestamp;

use crate::cache::{Cache, Cached};
use crate::document::{Document, Key};
use crate::event::{Recorded, StreamId};
use crate::overlay::Body;
use crate::store::{Found, Query, Store, StoreError};

/// Events read at once when a stream is folded.
const STREAM_PAGE: usize = 500;

/// Typed reads of one service's store. Sees every commit that was answered before.
#[derive(Clone, Debug)]
pub struct Reader {
    store: Arc<dyn Store>,
    cache: Cache,
    shared: bool,
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn Store>, cache: Cache, shared: bool) -> Self {
        Self { store, cache, shared }
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// One document. From memory if the store is this process's own.
    pub async fn get<D: Document>(&self, id: impl std::fmt::Display) -> Result<Option<Arc<D>>, StoreError> {
        let mut found = self.get_many([id]).await?;
        Ok(found.pop().flatten())
    }

    /// Several documents, in the order of their ids.
    pub async fn get_many<D: Document>(
        &self,
        ids: impl IntoIterator<Item = impl std::fmt::Display>,
    ) -> Result<Vec<Option<Arc<D>>>, StoreError> {
        let keys: Vec<Key> = ids.into_iter().map(|id| Key::of::<D>(id.to_string())).collect();
        let mut documents = Vec::with_capacity(keys.len());
        let mut absent = Vec::new();
        for key in &keys {
            let cached = self.cached(key);
            if cached.is_none() {
                absent.push((documents.len(), key.clone()));
            }
            let body = cached.and_then(|cached| cached.body);
            documents.push(body.map(|body| typed::<D>(&body)).transpose()?);
        }
        if !absent.is_empty() {
            let (indexes, keys): (Vec<usize>, Vec<Key>) = absent.into_iter().unzip();
            for (index, stored) in indexes.into_iter().zip(self.store.get(&keys).await?) {
                documents[index] = stored.map(|stored| typed(&Body::Raw(stored.document))).transpose()?;
            }
        }
        Ok(documents)
    }

    /// A page of documents, with their ids.
    pub async fn query<D: Document>(&self, query: &Query) -> Result<Vec<(Arc<str>, Arc<D>)>, StoreError> {
        let found = self.store.query(query).await?;
        found
            .into_iter()
            .map(|found| Ok((Arc::clone(&found.id), self.document(&found)?)))
            .collect()
    }

    /// A page of documents as found, for cursors.
    pub async fn find(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        self.store.query(query).await
    }

    /// A found document as its type: the one in memory, if that is the same version.
    pub fn document<D: Document>(&self, found: &Found) -> Result<Arc<D>, StoreError> {
        let body = self
            .cached(&Key::of::<D>(Arc::clone(&found.id)))
            .filter(|cached| cached.version == Some(found.stored.version))
            .and_then(|cached| cached.body);
        typed(&body.unwrap_or_else(|| Body::Raw(Arc::clone(&found.stored.document))))
    }

    /// What is in memory, which is never older than the store unless others write there.
    fn cached(&self, key: &Key) -> Option<Cached> {
        if self.shared { None } else { self.cache.get(key) }
    }

    /// A page of ids.
    pub async fn ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(self
            .store
            .query(query)
            .await?
            .into_iter()
            .map(|found| found.id)
            .collect())
    }

    /// All events of a stream, in order.
    pub async fn history(&self, stream: &StreamId) -> Result<Vec<Recorded>, StoreError> {
        let mut events = Vec::new();
        loop {
            let next = events.last().map_or(1, |event: &Recorded| event.version + 1);
            let page = self.store.stream(stream, next, STREAM_PAGE).await?;
            let full = page.len() == STREAM_PAGE;
            events.extend(page);
            if !full {
                return Ok(events);
            }
        }
    }

    /// An aggregate as it was: its stream folded up to a version, a time, or both.
    pub async fn as_it_was<A: crate::aggregate::Aggregate>(
        &self,
        stream: &StreamId,
        version: Option<u64>,
        at: Option<Timestamp>,
    ) -> Result<Option<A>, Folded> {
        let mut state = None;
        for event in self.history(stream).await? {
            if version.is_some_and(|version| event.version > version) || at.is_some_and(|at| event.time > at) {
                break;
            }
            let data: A::Event = contracts::EventData::decode(&event.event_type, event.meta.schema, event.data.get())?;
            let at = crate::aggregate::Occurrence {
                stream,
                version: event.version,
                time: event.time,
            };
            A::apply(&mut state, &data, &at);
        }
        Ok(state)
    }
}

/// Why a stream could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum Folded {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

fn typed<D: Document>(body: &Body) -> Result<Arc<D>, StoreError> {
    body.decode()
        .map_err(|error| StoreError::new(format!("a document of {} does not decode: {error}", D::COLLECTION.name)))
}
