//! Committed documents in memory, shared by the writer (which fills it) and the readers of the same process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use quick_cache::Weighter;

use crate::document::Key;
use crate::overlay::Body;

/// What a service's documents in memory may weigh: their size as JSON, and [`ENTRY_BYTES`] for each. 4 MiB.
pub(crate) const CACHE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What an entry weighs beside its document: the key, the body's two allocations and the cache's own book-keeping.
const ENTRY_BYTES: u64 = 256;
/// For sizing its tables: what a document weighs, roughly.
const TYPICAL_BYTES: u64 = 1024;

/// A committed document, or the knowledge that there is none.
#[derive(Clone)]
pub(crate) struct Cached {
    /// `None` is absent.
    pub(crate) version: Option<u64>,
    pub(crate) body: Option<Body>,
    /// Size of the body as JSON.
    pub(crate) bytes: usize,
}

/// Bounded by weight; a document that would take the room of many others is not kept at all. Only the writer inserts,
/// after a commit, so an entry is never older than the store as long as no other process writes there.
#[derive(Clone)]
pub(crate) struct Cache {
    documents: Arc<quick_cache::sync::Cache<Key, Cached, ByBytes>>,
    highest: Arc<RwLock<Highest>>,
}

/// The highest id of a collection, or that it is empty. Ids are made in order, so that a document which is asked for
/// because it is new lies beyond, and needs no read to be known as absent.
type Highest = HashMap<&'static str, Option<Arc<str>>>;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Cached> for ByBytes {
    fn weight(&self, _: &Key, cached: &Cached) -> u64 {
        ENTRY_BYTES + cached.bytes as u64
    }
}

impl Cache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let documents = usize::try_from(bytes_max / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self {
            documents: Arc::new(quick_cache::sync::Cache::with_weighter(documents, bytes_max, ByBytes)),
            highest: Arc::default(),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Cached> {
        self.documents.get(key)
    }

    pub(crate) fn insert(&self, key: Key, cached: Cached) {
        if cached.version.is_some() && self.lies_beyond(&key) == Some(true) {
            let mut highest = self.highest.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(id) = highest.get_mut(key.collection) {
                *id = Some(Arc::clone(&key.id));
            }
        }
        self.documents.insert(key, cached);
    }

    /// Whether the document's id is higher than all in its collection; `None` if those are not known.
    pub(crate) fn lies_beyond(&self, key: &Key) -> Option<bool> {
        let highest = self.highest.read().unwrap_or_else(PoisonError::into_inner);
        let highest = highest.get(key.collection)?;
        Some(highest.as_ref().is_none_or(|highest| key.id > *highest))
    }

    /// Notes the highest id of a collection, as the store has it.
    pub(crate) fn learn_highest(&self, collection: &'static str, id: Option<Arc<str>>) {
        let mut highest = self.highest.write().unwrap_or_else(PoisonError::into_inner);
        highest.insert(collection, id);
    }

    /// Knows nothing more of the document, nor of what lies beyond it.
    pub(crate) fn forget(&self, key: &Key) {
        let mut highest = self.highest.write().unwrap_or_else(PoisonError::into_inner);
        highest.remove(key.collection);
        self.documents.remove(key);
    }

    pub(crate) fn clear(&self) {
        self.highest.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.documents.clear();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("documents", &self.documents.len())
            .field("bytes", &self.documents.weight())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: u64 = 1024 * 1024;

    fn key(number: usize) -> Key {
        Key {
            collection: "orders",
            id: format!("ord_{number}").into(),
        }
    }

    fn cached(version: u64, bytes: usize) -> Cached {
        Cached {
            version: Some(version),
            body: Some(Body::Raw("x".repeat(bytes).into())),
            bytes,
        }
    }

    #[test]
    fn few_large_documents_weigh_as_much_as_many_small_ones() {
        for bytes in [10, 1_000, 20_000] {
            let cache = Cache::new(BYTES_MAX);
            for number in 0..20_000_000 / (bytes + 256) {
                cache.insert(key(number), cached(1, bytes));
            }
            let weight = cache.documents.weight();
            assert!(
                (BYTES_MAX / 2..=BYTES_MAX).contains(&weight),
                "{weight} of {bytes} each"
            );
        }
    }

    #[test]
    fn a_document_that_grew_too_large_is_forgotten_and_not_shown_as_it_was() {
        let cache = Cache::new(BYTES_MAX);
        cache.insert(key(1), cached(1, 1_000));
        cache.insert(key(1), cached(2, 1_000_000));
        assert!(cache.get(&key(1)).is_none());
    }
}
