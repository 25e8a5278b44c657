//! What a query means, in the plainest terms, and random cases to hold adapters against.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use kernel::document::Value;
use kernel::store::Query;

use super::fixture::THINGS;

/// Repeatable chance (SplitMix64, by Steele, Lea and Flood).
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from(self.next() % bound).expect("a number below a usize fits one")
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// A value of a column of [`THINGS`], from so few that there are many ties.
    pub fn value(&mut self, column: &str) -> Value {
        match (self.below(5), column) {
            (0, _) => Value::Null,
            (n, "rank") => Value::Integer([-1, 0, 1, 7][n - 1]),
            (n, _) => Value::from(["a", "ab", "B", "é"][n - 1]),
        }
    }

    /// The columns of a thing.
    pub fn columns(&mut self) -> Vec<Value> {
        THINGS.columns.iter().map(|column| self.value(column.name)).collect()
    }

    /// A query on [`THINGS`] that fits the declaration.
    pub fn query(&mut self) -> Query {
        let mut query = Query::all(&THINGS, 1 + self.below(5));
        let columns = if self.below(6) == 0 {
            &[][..]
        } else {
            let index = self.of(THINGS.indexes);
            query.index = Some(index.name);
            index.columns
        };
        for column in &columns[..self.below(columns.len() + 1)] {
            query.equals.push(self.value(column));
        }
        query.range = (self.bound(query.sort_column()), self.bound(query.sort_column()));
        if self.below(3) == 0 {
            let column = self.of(&["owner", "rank", "label"]);
            query.filters.push((column, self.value(column)));
        }
        if self.below(4) == 0 {
            query.contains = Some((self.of(&["owner", "label"]), self.of(&["a", "b", "é", ""]).into()));
        }
        query
    }

    fn bound(&mut self, column: Option<&str>) -> Bound<Value> {
        let value = match column {
            Some(column) => self.value(column),
            None => Value::from(format!("{:03}", self.below(200))),
        };
        match self.below(4) {
            0 => Bound::Included(value),
            1 => Bound::Excluded(value),
            _ => Bound::Unbounded,
        }
    }
}

/// A thing as the model keeps it: its id and its columns.
pub type Thing = (Arc<str>, Vec<Value>);

/// The ids that all pages of an ascending query together give.
#[must_use]
pub fn answer(things: &[Thing], query: &Query) -> Vec<String> {
    let value = |thing: &Thing, name: &str| thing.1[THINGS.column(name).expect("a declared column")].clone();
    let sort = |thing: &Thing| match query.sort_column() {
        Some(name) => value(thing, name),
        None => Value::Text(Arc::clone(&thing.0)),
    };
    let columns = query.declared_index().map_or(&[][..], |index| index.columns);
    let mut found: Vec<&Thing> = things
        .iter()
        .filter(|thing| columns.first().is_none_or(|first| value(thing, first) != Value::Null))
        .filter(|thing| {
            columns
                .iter()
                .zip(&query.equals)
                .all(|(name, wanted)| value(thing, name) == *wanted)
        })
        .filter(|thing| query.filters.iter().all(|(name, wanted)| value(thing, name) == *wanted))
        .filter(|thing| within(&query.range, &sort(thing)))
        .filter(|thing| match &query.contains {
            None => true,
            Some((name, part)) => matches!(value(thing, name), Value::Text(text) if text.contains(&**part)),
        })
        .collect();
    found.sort_by_key(|thing| (sort(thing), Arc::clone(&thing.0)));
    found.iter().map(|thing| thing.0.to_string()).collect()
}

fn within(range: &(Bound<Value>, Bound<Value>), value: &Value) -> bool {
    let beyond = |bound: &Bound<Value>, side: Ordering| match bound {
        Bound::Unbounded => true,
        Bound::Included(Value::Null) | Bound::Excluded(Value::Null) => false,
        _ if *value == Value::Null => false,
        Bound::Included(bound) => value.cmp(bound) != side.reverse(),
        Bound::Excluded(bound) => value.cmp(bound) == side,
    };
    beyond(&range.0, Ordering::Greater) && beyond(&range.1, Ordering::Less)
}
