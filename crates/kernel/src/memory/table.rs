//! One collection: its documents by id, and its declared indexes in the order that the port promises.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::document::{Collection, Index, Value};
use crate::memory::until_full;
use crate::store::{Found, Put, Query, Stored};

pub(super) struct Table {
    collection: &'static Collection,
    rows: BTreeMap<Arc<str>, Row>,
    /// The values of the index's columns, then the id. Documents whose first value is null are left out.
    indexes: Vec<BTreeSet<(Vec<Value>, Arc<str>)>>,
}

struct Row {
    stored: Stored,
    columns: Vec<Value>,
}

impl Table {
    pub(super) fn new(collection: &'static Collection) -> Self {
        let indexes = collection.indexes.iter().map(|_| BTreeSet::new()).collect();
        Self {
            collection,
            rows: BTreeMap::new(),
            indexes,
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Stored> {
        self.rows.get(id).map(|row| &row.stored)
    }

    pub(super) fn put(&mut self, put: &Put) {
        let version = self.delete(&put.key.id) + 1;
        for (entries, index) in self.indexes.iter_mut().zip(self.collection.indexes) {
            let values = indexed(self.collection, index, &put.columns);
            if values[0] != Value::Null {
                entries.insert((values, Arc::clone(&put.key.id)));
            }
        }
        let stored = Stored {
            version,
            document: Arc::clone(&put.document),
        };
        self.rows.insert(
            Arc::clone(&put.key.id),
            Row {
                stored,
                columns: put.columns.clone(),
            },
        );
    }

    /// Gives the version that was there, or 0.
    pub(super) fn delete(&mut self, id: &Arc<str>) -> u64 {
        let Some(row) = self.rows.remove(id) else { return 0 };
        for (entries, index) in self.indexes.iter_mut().zip(self.collection.indexes) {
            entries.remove(&(indexed(self.collection, index, &row.columns), Arc::clone(id)));
        }
        row.stored.version
    }

    /// A page; the query was checked against the declaration.
    pub(super) fn query(&self, query: &Query) -> Vec<Found> {
        let sorted_by_column = query.sort_column().is_some();
        let mut matches: Vec<(Option<Value>, &Arc<str>)> = self
            .walk(query)
            .filter(|(sort, id)| match sort {
                Some(value) => within(&query.range, value),
                None => within(&query.range, &Value::Text(Arc::clone(id))),
            })
            .filter(|(_, id)| self.rows[*id].fits(query))
            .collect();
        // An index with further columns behind the sorted one is in another order than (value, id).
        matches.sort();
        if query.descending {
            matches.reverse();
        }

        let beyond = |found: &(Option<Value>, &Arc<str>)| match &query.after {
            None => true,
            Some((sort, id)) if query.descending => *found < (sort.clone(), id),
            Some((sort, id)) => *found > (sort.clone(), id),
        };
        let page = matches.into_iter().filter(beyond).take(query.limit).map(|(sort, id)| {
            debug_assert_eq!(sort.is_some(), sorted_by_column);
            Found {
                id: Arc::clone(id),
                sort,
                stored: self.rows[id].stored.clone(),
            }
        });
        until_full(page, query.bytes_max, |found| found.stored.document.len()).collect()
    }

    /// What has the wanted values in the index's first columns, with the value of the next one (`None`: the id).
    fn walk<'a>(&'a self, query: &'a Query) -> Box<dyn Iterator<Item = (Option<Value>, &'a Arc<str>)> + 'a> {
        let Some(name) = query.index else {
            return Box::new(self.rows.keys().map(|id| (None, id)));
        };
        let place = self.collection.indexes.iter().position(|index| index.name == name);
        let entries = &self.indexes[place.expect("the query was checked against the declaration")];
        let mut from = query.equals.clone();
        if let Bound::Included(value) | Bound::Excluded(value) = &query.range.0
            && query.sort_column().is_some()
        {
            from.push(value.clone());
        }
        let sort = query.equals.len();
        let alike = entries.range((from, Arc::from(""))..).take_while(move |(values, _)| {
            let past = values.get(sort).is_some_and(|value| past(&query.range.1, value));
            values.starts_with(&query.equals) && !past
        });
        Box::new(alike.map(move |(values, id)| (values.get(sort).cloned(), id)))
    }
}

impl Row {
    fn fits(&self, query: &Query) -> bool {
        let value = |name: &str| {
            let place = query.collection.column(name);
            &self.columns[place.expect("the query was checked against the declaration")]
        };
        let contains = query.contains.as_ref().is_none_or(|(name, part)| match value(name) {
            Value::Text(text) => text.contains(&**part),
            Value::Integer(_) | Value::Null => false,
        });
        contains && query.filters.iter().all(|(name, wanted)| value(name) == wanted)
    }
}

fn indexed(collection: &Collection, index: &Index, columns: &[Value]) -> Vec<Value> {
    let place = |name: &&str| collection.column(name).expect("the schema was checked");
    index.columns.iter().map(|name| columns[place(name)].clone()).collect()
}

/// Null lies within no bound, as in SQL.
fn within(range: &(Bound<Value>, Bound<Value>), value: &Value) -> bool {
    let above = match &range.0 {
        Bound::Unbounded => true,
        Bound::Included(low) => comparable(low, value) && value >= low,
        Bound::Excluded(low) => comparable(low, value) && value > low,
    };
    let below = match &range.1 {
        Bound::Unbounded => true,
        Bound::Included(high) => comparable(high, value) && value <= high,
        Bound::Excluded(high) => comparable(high, value) && value < high,
    };
    above && below
}

fn comparable(bound: &Value, value: &Value) -> bool {
    *bound != Value::Null && *value != Value::Null
}

fn past(high: &Bound<Value>, value: &Value) -> bool {
    match high {
        Bound::Unbounded => false,
        Bound::Included(high) | Bound::Excluded(high) => value > high,
    }
}
