//! A page of documents as a `find`, whose plan follows from the declared index and not from what the planner guesses.

use std::ops::Bound;

use bson::{Bson, Document, doc};
use kernel::document::{Collection, ColumnType, Value};
use kernel::store::{Query, Section};

use crate::names::BY_ID;
use crate::rows::bson_of;

/// One section of a page. Gives `_id`, `version`, `doc` and the column that the page is ordered by.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) filter: Document,
    pub(crate) projection: Document,
    pub(crate) sort: Document,
    /// The index to walk.
    pub(crate) index: &'static str,
}

impl Page {
    pub(crate) fn new(query: &Query, section: Section) -> Self {
        let sort = query.sort_column();
        let mut conditions = Conditions::default();
        if let Some(index) = query.declared_index() {
            // A planner takes a partial index only if it sees the index's own condition.
            conditions.add(index.columns[0], is_there(query.collection, index.columns[0]));
            for (name, value) in index.columns.iter().zip(&query.equals) {
                conditions.add(name, equal(value));
            }
        }
        match (section, sort) {
            (Section::Nulls, Some(sort)) => conditions.add(sort, equal(&Value::Null)),
            (Section::Nulls, None) => unreachable!("an id is never null"),
            (Section::Values, None) => conditions.range("_id", query),
            (Section::Values, Some(sort)) => {
                conditions.add(sort, is_there(query.collection, sort));
                conditions.range(sort, query);
            }
        }
        conditions.filters(query);
        let ordered_by = sort.filter(|_| section == Section::Values);
        conditions.beyond(query, ordered_by);
        let mut projection = doc! { "version": 1, "doc": 1 };
        projection.extend(sort.map(|sort| (sort.to_owned(), Bson::Int32(1))));
        Self {
            filter: conditions.all(),
            projection,
            sort: order(ordered_by, query.descending),
            index: query.index.unwrap_or(BY_ID),
        }
    }
}

/// What holds of each document in an index that begins with this column, in words that the planner can compare with a
/// query: it is not null, since each type compares with itself alone.
pub(crate) fn is_there(collection: &Collection, column: &str) -> Document {
    let place = collection.column(column).expect("a query names declared columns");
    match collection.columns[place].column_type {
        ColumnType::Integer => doc! { "$gte": i64::MIN },
        ColumnType::Text => doc! { "$gte": "" },
    }
}

fn equal(value: &Value) -> Document {
    match value {
        // Null alone would mean "absent" too, and take two walks.
        Value::Null => doc! { "$type": "null" },
        value => doc! { "$eq": bson_of(value) },
    }
}

fn order(column: Option<&str>, descending: bool) -> Document {
    let direction = if descending { -1 } else { 1 };
    let mut order = Document::new();
    order.extend(column.map(|column| (column.to_owned(), Bson::Int32(direction))));
    order.insert("_id", direction);
    order
}

/// All of which must hold.
#[derive(Debug, Default)]
struct Conditions(Vec<Document>);

impl Conditions {
    fn add(&mut self, name: &str, condition: Document) {
        self.0.push(doc! { name: condition });
    }

    fn range(&mut self, name: &str, query: &Query) {
        let bounds = [(&query.range.0, ["$gte", "$gt"]), (&query.range.1, ["$lte", "$lt"])];
        for (bound, [included, excluded]) in bounds {
            match bound {
                Bound::Unbounded => {}
                Bound::Included(value) => self.add(name, doc! { included: bson_of(value) }),
                Bound::Excluded(value) => self.add(name, doc! { excluded: bson_of(value) }),
            }
        }
    }

    fn filters(&mut self, query: &Query) {
        for (name, value) in &query.filters {
            self.add(name, equal(value));
        }
        if let Some((name, part)) = &query.contains {
            // The place where it is, or -1; null, which is less than any number, in null.
            let place = doc! { "$indexOfBytes": [format!("${name}"), { "$literal": &**part }] };
            self.add("$expr", doc! { "$gte": [place, 0] });
        }
    }

    /// What comes after the cursor. `sort` is the column that orders this section; without one it is in the order of
    /// the ids.
    fn beyond(&mut self, query: &Query, sort: Option<&str>) {
        let beyond = if query.descending { "$lt" } else { "$gt" };
        match (&query.after, sort) {
            (Some((Some(value), id)), Some(sort)) if *value != Value::Null => {
                let value = bson_of(value);
                let later = doc! { sort: { beyond: value.clone() } };
                let equal = doc! { sort: { "$eq": value }, "_id": { beyond: &**id } };
                self.0.push(doc! { "$or": [later, equal] });
            }
            (Some((None | Some(Value::Null), id)), None) => self.add("_id", doc! { beyond: &**id }),
            // Without a cursor, or in the section that comes after the one where the cursor is.
            _ => {}
        }
    }

    fn all(self) -> Document {
        match self.0.is_empty() {
            true => Document::new(),
            false => doc! { "$and": self.0 },
        }
    }
}
