//! Committed documents in memory, shared by the writer (which fills it) and the readers of the same process.

use std::fmt;
use std::sync::Arc;

use crate::document::Key;
use crate::overlay::Body;

/// A committed document, or the knowledge that there is none.
#[derive(Clone)]
pub(crate) struct Cached {
    /// `None` is absent.
    pub(crate) version: Option<u64>,
    pub(crate) body: Option<Body>,
}

/// Bounded by number of documents. Only the writer inserts, after a commit, so an entry is never older than the store
/// as long as no other process writes there.
#[derive(Clone)]
pub(crate) struct Cache {
    documents: Arc<quick_cache::sync::Cache<Key, Cached>>,
}

impl Cache {
    pub(crate) fn new(documents_max: usize) -> Self {
        Self {
            documents: Arc::new(quick_cache::sync::Cache::new(documents_max)),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Cached> {
        self.documents.get(key)
    }

    pub(crate) fn insert(&self, key: Key, cached: Cached) {
        self.documents.insert(key, cached);
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.documents.remove(key);
    }

    pub(crate) fn clear(&self) {
        self.documents.clear();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("documents", &self.documents.len())
            .finish()
    }
}
