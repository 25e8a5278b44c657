//! Documents: JSON under (collection, id) with a version and declared index columns.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a collection's documents are, and so what may be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The fold of its own service's events; `rebuild` empties it and folds again.
    View,
    /// Fed by another service's events through the consumer of this name, which can be reset and fed again alone.
    Replica {
        /// The consumer that feeds it.
        consumer: &'static str,
    },
    /// What must not be in events: personal text, secrets, checkpoints, answers, leases. Never rebuilt.
    Record,
}

/// The type of an index column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Compared as UTF-8 bytes.
    Text,
    /// A signed 64-bit number; times are microseconds since 1970.
    Integer,
}

/// A value copied out of a document so that it can be queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Column name in SQL databases; permanent.
    pub name: &'static str,
    /// Its type.
    pub column_type: ColumnType,
}

/// A way to look documents up: equal values of the first columns, a range over the next, then the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Unique within the collection; permanent.
    pub name: &'static str,
    /// Columns in order. The id always follows. Documents whose first column is null are left out.
    pub columns: &'static [&'static str],
}

/// A declared set of documents of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Table name; permanent.
    pub name: &'static str,
    /// View, replica or record.
    pub kind: Kind,
    /// Queryable values, in the order in which [`Document::columns`] gives them.
    pub columns: &'static [Column],
    /// Declared look-ups.
    pub indexes: &'static [Index],
}

impl Collection {
    /// The declared index of this name. Panics if there is none: a query is written against its declaration.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a look-up by name that is not indexing")]
    pub fn index(&self, name: &str) -> &'static Index {
        let found = self.indexes.iter().find(|index| index.name == name);
        found.unwrap_or_else(|| panic!("collection {} declares no index {name}", self.name))
    }
}

/// The value of an index column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Not there; sorts first and is in no index that starts with it.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(Arc<str>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Integer(time.as_microsecond())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A typed document.
pub trait Document: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Where documents of this type are kept.
    const COLLECTION: &'static Collection;

    /// The values of the declared columns, in their order.
    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// The address of a document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The collection's name.
    pub collection: &'static str,
    /// Unique in it; compared as bytes.
    pub id: Arc<str>,
}

impl Key {
    /// The key of `D` under `id`.
    pub fn of<D: Document>(id: impl Into<Arc<str>>) -> Self {
        Self {
            collection: D::COLLECTION.name,
            id: id.into(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id)
    }
}
