//! Carrying a whole store elsewhere: to another database, into a backup, and back.

use std::sync::Arc;

use async_trait::async_trait;

use crate::document::{Collection, Value};
use crate::event::{Position, Recorded};
use crate::store::{Head, StoreError};

/// A piece that is read or written at once has so many documents at most.
pub const PIECE_DOCUMENTS_MAX: usize = 500;
/// And ends with the document that brings them to so many bytes.
pub const PIECE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events of a piece.
pub const PIECE_EVENTS_MAX: usize = 1000;

/// A store as it was at one moment, however long reading it takes and whatever is committed meanwhile.
#[async_trait]
pub trait Snapshot: Send {
    /// The journal's state.
    fn head(&self) -> &Head;

    /// The events after `after`, in order: at most [`PIECE_EVENTS_MAX`], and none after the one that fills a tail.
    async fn events(&mut self, after: Position) -> Result<Vec<Recorded>, StoreError>;

    /// The documents of a collection by id, after this one: at most [`PIECE_DOCUMENTS_MAX`], and none after the one that
    /// brings them to [`PIECE_BYTES_MAX`].
    async fn documents(
        &mut self,
        collection: &'static Collection,
        after: Option<&str>,
    ) -> Result<Vec<Carried>, StoreError>;
}

/// A document with all that is stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its id.
    pub id: Arc<str>,
    /// Its version.
    pub version: u64,
    /// JSON, byte for byte.
    pub document: Arc<str>,
    /// Values of the collection's columns, in order.
    pub columns: Vec<Value>,
}

/// A part of one store, on its way into another that nobody uses yet.
#[derive(Clone, Debug)]
pub struct Load {
    /// The journal's state once this is there.
    pub head: Head,
    /// Events, in order, as they were recorded.
    pub events: Vec<Recorded>,
    /// Documents of one collection, if any. Those that are there already are overwritten.
    pub documents: Option<(&'static Collection, Vec<Carried>)>,
}
