//! What callers owe a store, checked in one place so that every adapter refuses the same things.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::document::{Collection, ColumnType, Index, Key, Value};
use crate::event::Lane;
use crate::store::{Batch, CommitError, Query, Schema, StoreError};

/// Tables that every SQL store has beside its collections.
const NAMES_TAKEN: [&str; 4] = ["journal", "head", "batches", "migrations"];

/// Columns that every collection has beside the declared ones.
const COLUMNS_TAKEN: [&str; 3] = ["id", "version", "doc"];

/// An SQL index is called `collection__index`, and the shortest limit among the databases is 63 bytes (PostgreSQL).
const NAME_BYTES_MAX: usize = 30;

/// MySQL's indexes take 3072 bytes, and each text of 255 characters 1020 of them, the id behind the columns included.
const INDEX_TEXTS_MAX: usize = 2;

impl Schema {
    /// The collection of this name.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<&'static Collection> {
        self.collections
            .iter()
            .copied()
            .find(|collection| collection.name == name)
    }

    /// Whether every database can hold this schema; the reason if not. Adapters call it when they open.
    pub fn check(&self) -> Result<(), String> {
        if self.lanes == 0 {
            return Err("a journal has at least one lane".into());
        }
        let mut names = BTreeSet::from(NAMES_TAKEN);
        for collection in &self.collections {
            check_name(collection.name)?;
            if !names.insert(collection.name) {
                return Err(format!("the name of collection {} is taken", collection.name));
            }
            check_collection(collection).map_err(|reason| format!("collection {}: {reason}", collection.name))?;
        }
        Ok(())
    }
}

fn check_collection(collection: &Collection) -> Result<(), String> {
    let mut columns = BTreeSet::from(COLUMNS_TAKEN);
    for column in collection.columns {
        check_name(column.name)?;
        if !columns.insert(column.name) {
            return Err(format!("the name of column {} is taken", column.name));
        }
    }
    let mut indexes = BTreeSet::new();
    for index in collection.indexes {
        check_name(index.name)?;
        if !indexes.insert(index.name) {
            return Err(format!("index {} is declared twice", index.name));
        }
        if index.columns.is_empty() {
            return Err(format!("index {} has no column", index.name));
        }
        if let Some(unknown) = index.columns.iter().find(|name| collection.column(name).is_none()) {
            return Err(format!("index {} names an undeclared column {unknown}", index.name));
        }
        let texts = index.columns.iter().filter(|name| collection.is_text(name)).count();
        if texts > INDEX_TEXTS_MAX {
            return Err(format!(
                "index {} has more than {INDEX_TEXTS_MAX} columns of text",
                index.name
            ));
        }
    }
    Ok(())
}

/// Lower-case identifiers need no quoting anywhere and mean the same in every database.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = name.len() <= NAME_BYTES_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(plain);
    if fits {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not a plain lower-case name of at most {NAME_BYTES_MAX} bytes"
        ))
    }
}

impl Collection {
    /// The place of a declared column among the values that [`crate::document::Document::columns`] gives.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    fn is_text(&self, name: &str) -> bool {
        let column = self.column(name).map(|place| &self.columns[place]);
        column.is_some_and(|column| column.column_type == ColumnType::Text)
    }
}

impl Batch {
    /// Whether the batch fits the schema. What does not is a mistake in the program, and would otherwise break the
    /// journal's order or an index silently.
    pub fn check(&self, schema: &Schema) -> Result<(), CommitError> {
        self.check_events(schema)?;
        for put in &self.puts {
            let collection = known(schema, &put.key)?;
            let fits = collection.columns.len() == put.columns.len()
                && collection
                    .columns
                    .iter()
                    .zip(&put.columns)
                    .all(|(column, value)| column.column_type.takes(value));
            if !fits {
                return refuse(format!("the columns of {:?} are not those declared", put.key));
            }
        }
        for key in self
            .deletes
            .iter()
            .map(|delete| &delete.key)
            .chain(self.reads.iter().map(|(key, _)| key))
        {
            known(schema, key)?;
        }
        self.check_written_once()
    }

    fn check_events(&self, schema: &Schema) -> Result<(), CommitError> {
        for event in &self.events {
            if event.version == 0 || i64::try_from(event.version).is_err() {
                return refuse(format!("{} has no version {}", event.stream, event.version));
            }
            if event.lane != Lane::of(&event.stream, schema.lanes) {
                return refuse(format!("{} does not belong to lane {}", event.stream, event.lane.0));
            }
            if event.time != self.time {
                return refuse(format!(
                    "{} of {} has another time than its batch",
                    event.event_type, event.stream
                ));
            }
        }
        Ok(())
    }

    fn check_written_once(&self) -> Result<(), CommitError> {
        let mut written = BTreeSet::new();
        for key in self
            .puts
            .iter()
            .map(|put| &put.key)
            .chain(self.deletes.iter().map(|delete| &delete.key))
        {
            if !written.insert(key) {
                return refuse(format!("{key:?} is written twice in one batch"));
            }
        }
        Ok(())
    }
}

fn known(schema: &Schema, key: &Key) -> Result<&'static Collection, CommitError> {
    schema
        .collection(key.collection)
        .ok_or_else(|| CommitError::Content(format!("the schema has no collection {}", key.collection)))
}

fn refuse(reason: String) -> Result<(), CommitError> {
    Err(CommitError::Content(reason))
}

impl Query {
    /// The declared index that the query walks; `None` is by id.
    #[must_use]
    pub fn declared_index(&self) -> Option<&'static Index> {
        self.index.map(|name| self.collection.index(name))
    }

    /// Whether the query fits the collection's declaration; what does not is a mistake in the program.
    pub fn check(&self) -> Result<(), StoreError> {
        self.mismatch().map_or(Ok(()), |reason| {
            Err(StoreError::new(format_args!(
                "a query on {} is wrong: {reason}",
                self.collection.name
            )))
        })
    }

    fn mismatch(&self) -> Option<String> {
        let columns = match self.index {
            None => &[],
            Some(name) => match self.collection.indexes.iter().find(|index| index.name == name) {
                None => return Some(format!("no index {name} is declared")),
                Some(index) => index.columns,
            },
        };
        if self.equals.len() > columns.len() {
            return Some("it gives more values than the index has columns".into());
        }
        let equal = columns.iter().copied().zip(&self.equals);
        for (name, value) in equal.chain(self.filters.iter().map(|(name, value)| (*name, value))) {
            match self.column_type(name) {
                None => return Some(format!("no column {name} is declared")),
                Some(column_type) if !column_type.takes(value) => return Some(format!("{name} cannot be {value:?}")),
                Some(_) => {}
            }
        }
        if let Some((name, _)) = &self.contains
            && self.column_type(name) != Some(ColumnType::Text)
        {
            return Some(format!("no text column {name} is declared"));
        }
        self.order_mismatch(columns.get(self.equals.len()).copied())
    }

    fn order_mismatch(&self, sort: Option<&'static str>) -> Option<String> {
        let sort_type = sort.and_then(|name| self.column_type(name)).unwrap_or(ColumnType::Text);
        for bound in [&self.range.0, &self.range.1] {
            if let Bound::Included(value) | Bound::Excluded(value) = bound
                && !sort_type.takes(value)
            {
                return Some(format!("{} cannot be {value:?}", sort.unwrap_or("id")));
            }
        }
        let fits = match &self.after {
            None => true,
            Some((None, _)) => sort.is_none(),
            Some((Some(value), _)) => sort.is_some() && sort_type.takes(value),
        };
        if fits {
            None
        } else {
            Some("its cursor belongs to another order".into())
        }
    }

    fn column_type(&self, name: &str) -> Option<ColumnType> {
        self.collection
            .column(name)
            .map(|place| self.collection.columns[place].column_type)
    }
}

impl ColumnType {
    /// Whether a column of this type can hold the value; null always fits.
    #[must_use]
    pub fn takes(self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Integer(_) => self == Self::Integer,
            Value::Text(_) => self == Self::Text,
        }
    }
}
