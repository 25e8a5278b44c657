//! What opening a store comes to: the statements that make of what is there what the schema declares.
//!
//! An adapter reads what is there, runs the plan under its lock, or has it printed. The plan itself asks no database.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kernel::document::{Collection, ColumnType};
use kernel::store::{Schema, opening};
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::open::{self, OpenError};
use crate::schema;

/// What is there of a store; nothing of one that is still to be made.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    /// The form of the tables, which is noted when all of them are made; 0 before.
    pub(crate) form: i64,
    /// What `head` says, if it has been made.
    pub(crate) head: Option<Head>,
    /// The tables of declared collections.
    pub(crate) tables: BTreeMap<&'static str, Table>,
}

/// What `head` says that bears on opening.
#[derive(Debug)]
pub(crate) struct Head {
    /// How many lanes the journal has.
    pub(crate) lanes: usize,
    /// Whether it has events.
    pub(crate) has_events: bool,
    /// `head.rebuilding`, as it is written.
    pub(crate) rebuilding: Option<String>,
}

/// A collection's table as it is.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Names and types, as the database calls them.
    pub(crate) columns: BTreeMap<String, String>,
    /// Names, and the statements that made them.
    pub(crate) indexes: BTreeMap<String, String>,
    /// Whether it has no documents.
    pub(crate) is_empty: bool,
}

/// What a store should be.
#[derive(Debug)]
pub(crate) struct Declared<'a> {
    pub(crate) schema: &'a Schema,
    /// Collections to empty.
    pub(crate) rebuild: &'a [&'static str],
    /// Of the journal, should it be made.
    pub(crate) epoch: Uuid,
    pub(crate) now: Timestamp,
}

impl Head {
    /// Of the texts in `head`.
    pub(crate) fn read(lanes: &str, rebuilding: Option<String>) -> Result<Self, OpenError> {
        let lanes: Vec<u64> = serde_json::from_str(lanes).map_err(kernel::store::StoreError::new)?;
        Ok(Self {
            lanes: lanes.len(),
            has_events: lanes.iter().any(|&last| last > 0),
            rebuilding,
        })
    }
}

impl Existing {
    /// The table of a collection, for whoever reads what is there.
    pub(crate) fn table(&mut self, collection: &Collection) -> &mut Table {
        self.tables.entry(collection.name).or_default()
    }

    /// What makes the store what it should be, in order; nothing if it is. Refuses one that cannot be used as it is.
    pub(crate) fn plan(&self, dialect: &Dialect, declared: &Declared<'_>) -> Result<Vec<String>, OpenError> {
        open::check_form(self.form)?;
        let mut plan = Vec::new();
        if self.form == 0 {
            plan.extend(schema::journal(dialect));
            plan.push(schema::first_head(dialect, declared.epoch, declared.schema.lanes));
            plan.extend(schema::first_migrations(declared.now));
        }
        if let Some(head) = &self.head {
            open::check_lanes(head.lanes, declared.schema.lanes)?;
        }
        let noted = self.head.as_ref().and_then(|head| head.rebuilding.as_deref());
        if let Some(list) = open::rebuilding(noted, declared.rebuild)? {
            plan.push(schema::mark_rebuilding(&list));
        }
        for collection in &declared.schema.collections {
            match self.tables.get(collection.name) {
                Some(_) if declared.rebuild.contains(&collection.name) => {
                    plan.push(schema::drop_table(collection));
                    plan.extend(made(dialect, collection));
                }
                Some(table) => plan.extend(table.changed(dialect, collection)?),
                None => {
                    let has_events = self.head.as_ref().is_some_and(|head| head.has_events);
                    opening::check_missing(collection, declared.rebuild, has_events)?;
                    plan.extend(made(dialect, collection));
                }
            }
        }
        Ok(plan)
    }
}

/// A collection that is not there.
fn made(dialect: &Dialect, collection: &Collection) -> Vec<String> {
    let indexes = collection.indexes.iter();
    let indexes = indexes.flat_map(|index| schema::make_index(dialect, collection, index));
    let table = schema::create_table(dialect, collection);
    std::iter::once(table).chain(indexes).collect()
}

impl Table {
    /// An index is made from the table, so one that differs from its declaration is simply made again.
    fn changed(&self, dialect: &Dialect, collection: &'static Collection) -> Result<Vec<String>, OpenError> {
        let missing = open::columns_to_add(dialect, collection, &self.columns, self.is_empty)?;
        let mut plan: Vec<String> = missing
            .iter()
            .map(|column| schema::add_column(dialect, collection, column))
            .collect();
        let declared = |name: &str| {
            let mut indexes = collection.indexes.iter();
            indexes.find(|index| schema::index_name(collection, index) == name)
        };
        let is_made = |index| {
            let made = self.indexes.get(&schema::index_name(collection, index));
            made.is_some_and(|made| *made == schema::create_index(dialect, collection, index))
        };
        let ours = schema::index_prefix(collection);
        for name in self.indexes.keys().filter(|name| name.starts_with(&ours)) {
            let goes = match declared(name) {
                Some(index) => !is_made(index),
                // It would hold the type of its columns.
                None => dialect.has_two_types_of_text(),
            };
            if goes {
                plan.push(schema::drop_index(dialect, collection, name));
            }
        }
        plan.extend(self.retyped(dialect, collection));
        let missing = collection.indexes.iter().filter(|index| !is_made(index));
        plan.extend(missing.flat_map(|index| schema::make_index(dialect, collection, index)));
        Ok(plan)
    }

    /// Text may have a type with a length only where it is looked up, which a new declaration may change.
    fn retyped(&self, dialect: &Dialect, collection: &'static Collection) -> Vec<String> {
        let columns = collection.columns.iter();
        let texts = columns.filter(|column| column.column_type == ColumnType::Text && dialect.has_two_types_of_text());
        let wrong = texts.filter(|column| {
            let wanted = schema::column_type(dialect, collection, column).to_lowercase();
            let found = self.columns.get(column.name);
            found.is_some_and(|found| !wanted.starts_with(&**found))
        });
        wrong
            .map(|column| schema::change_column(dialect, collection, column))
            .collect()
    }
}
