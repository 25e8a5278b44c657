//! A page of documents as SQL, one text per shape of query.

use std::fmt::Write;
use std::ops::Bound;
use std::sync::Arc;

use kernel::document::Value;
use kernel::store::Query;
pub(crate) use kernel::store::Section;

use crate::dialect::Dialect;
use crate::schema::{index_name, quoted};

/// What is bound to a place in a page's text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameter<'a> {
    Value(&'a Value),
    Text(&'a str),
}

/// One section of a page: the text, and what to bind. The limit is bound last. Gives id, version, document and the
/// value that the page is ordered by.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    dialect: &'a Dialect,
    pub(crate) text: String,
    pub(crate) parameters: Vec<Parameter<'a>>,
}

impl<'a> Page<'a> {
    pub(crate) fn new(dialect: &'a Dialect, query: &'a Query, section: Section) -> Self {
        let sort = query.sort_column().map(quoted);
        let mut page = Self {
            dialect,
            text: String::with_capacity(256),
            parameters: Vec::new(),
        };
        page.source(query, sort.as_deref());
        match (section, &sort) {
            (Section::Nulls, Some(sort)) => page.push(format_args!(" AND {sort} IS NULL")),
            (Section::Nulls, None) => unreachable!("an id is never null"),
            (Section::Values, None) => page.range("id", query),
            (Section::Values, Some(sort)) => {
                page.push(format_args!(" AND {sort} IS NOT NULL"));
                page.range(sort, query);
            }
        }
        page.filters(query);
        page.order(query, sort.as_deref().filter(|_| section == Section::Values));
        page
    }

    fn source(&mut self, query: &'a Query, sort: Option<&str>) {
        let table = quoted(query.collection.name);
        self.push(format_args!(
            "SELECT id, version, doc, {} FROM {table}",
            sort.unwrap_or("NULL")
        ));
        let Some(index) = query.declared_index() else {
            return self.push(format_args!(" WHERE TRUE"));
        };
        let walk = (self.dialect.walk_index)(&quoted(&index_name(query.collection, index)));
        self.push(format_args!("{walk}"));
        // A planner takes a partial index only if it sees the index's own condition.
        self.push(format_args!(" WHERE {} IS NOT NULL", quoted(index.columns[0])));
        for (name, value) in index.columns.iter().zip(&query.equals) {
            self.equal(&quoted(name), value);
        }
    }

    fn equal(&mut self, name: &str, value: &'a Value) {
        if *value == Value::Null {
            self.push(format_args!(" AND {name} IS NULL"));
        } else {
            let place = self.place(Parameter::Value(value));
            self.push(format_args!(" AND {name} = {place}"));
        }
    }

    fn range(&mut self, name: &str, query: &'a Query) {
        let bounds = [(&query.range.0, [">=", ">"]), (&query.range.1, ["<=", "<"])];
        for (bound, [included, excluded]) in bounds {
            let (operator, value) = match bound {
                Bound::Unbounded => continue,
                Bound::Included(value) => (included, value),
                Bound::Excluded(value) => (excluded, value),
            };
            // A parameter would need the column's type to be null.
            let place = match value {
                Value::Null => "NULL".to_owned(),
                value => self.place(Parameter::Value(value)),
            };
            self.push(format_args!(" AND {name} {operator} {place}"));
        }
    }

    /// Not by another index than the one whose order the page has.
    fn filters(&mut self, query: &'a Query) {
        for (name, value) in &query.filters {
            self.equal(&format!("{}{}", self.dialect.no_index, quoted(name)), value);
        }
        if let Some((name, part)) = &query.contains {
            let place = self.place(Parameter::Text(part));
            let contains = (self.dialect.contains)(&quoted(name), &place);
            self.push(format_args!(" AND {contains}"));
        }
    }

    /// `sort` is the column that orders this section; without one it is in the order of the ids.
    fn order(&mut self, query: &'a Query, sort: Option<&str>) {
        let (beyond, direction) = if query.descending { ("<", " DESC") } else { (">", "") };
        match (&query.after, sort) {
            (Some((Some(value), id)), Some(sort)) if *value != Value::Null => {
                self.beyond_both(beyond, sort, value, id);
            }
            (Some((None | Some(Value::Null), id)), None) => self.beyond_id(beyond, id),
            // Without a cursor, or in the section that comes after the one where the cursor is.
            _ => {}
        }
        let limit = (self.dialect.parameter)(self.parameters.len() + 1);
        match sort {
            Some(sort) => self.push(format_args!(" ORDER BY {sort}{direction}, id{direction} LIMIT {limit}")),
            None => self.push(format_args!(" ORDER BY id{direction} LIMIT {limit}")),
        }
    }

    fn beyond_both(&mut self, beyond: &str, sort: &str, value: &'a Value, id: &'a Arc<str>) {
        // Where a comparison of rows is only a filter, the walk begins at the value itself.
        if !self.dialect.compares_rows {
            let from = self.place(Parameter::Value(value));
            self.push(format_args!(" AND {sort} {beyond}= {from}"));
        }
        let (value, id) = (self.place(Parameter::Value(value)), self.place(Parameter::Text(id)));
        self.push(format_args!(" AND ({sort}, id) {beyond} ({value}, {id})"));
    }

    fn beyond_id(&mut self, beyond: &str, id: &'a Arc<str>) {
        let place = self.place(Parameter::Text(id));
        self.push(format_args!(" AND id {beyond} {place}"));
    }

    /// Binds one more; where it is.
    fn place(&mut self, parameter: Parameter<'a>) -> String {
        self.parameters.push(parameter);
        (self.dialect.parameter)(self.parameters.len())
    }

    fn push(&mut self, more: std::fmt::Arguments<'_>) {
        self.text.write_fmt(more).expect("a String takes what is written");
    }
}

#[cfg(test)]
mod tests;
