//! The stretches of an index that a page is read from.

use std::ops::Bound;

use crate::document::Value;
use crate::store::Query;

/// A stretch of the index that a page is read from. Null sorts first and compares with nothing, so a page over a
/// column that may be null takes two look-ups, each of which only walks forward from where the page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Documents whose sort column is null, by id.
    Nulls,
    /// Documents with a value in the sort column; all documents when the order is by id.
    Values,
}

impl Section {
    /// The sections that can hold something of the page, in the page's order.
    #[must_use]
    pub fn of(query: &Query) -> &'static [Self] {
        let bounded = query.range.0 != Bound::Unbounded || query.range.1 != Bound::Unbounded;
        let nulls_left_out = query.equals.is_empty() || query.sort_column().is_none() || bounded;
        let after_null = query.after.as_ref().map(|(sort, _)| *sort == Some(Value::Null));
        match (query.descending, after_null) {
            (true, Some(true)) if nulls_left_out => &[],
            (true, Some(true)) => &[Self::Nulls],
            (false, Some(false)) => &[Self::Values],
            _ if nulls_left_out => &[Self::Values],
            (true, _) => &[Self::Values, Self::Nulls],
            (false, _) => &[Self::Nulls, Self::Values],
        }
    }
}
