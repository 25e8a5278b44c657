//! Pages of a list: cursors in, `{data, next_cursor}` out.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{Code, Cursor, Limit, Page, Problem};

use crate::document::{ColumnType, Value};
use crate::store::{Found, Query};

/// Documents read for one page, in bytes as JSON: a page of large ones is shorter than its limit. 1 MiB.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The position of an entry in a query's order: its sort value (`None` where the order is that of the ids) and its id.
/// What [`Query::after`] takes.
pub type Place = (Option<Value>, Arc<str>);

/// `?limit=` and `?cursor=` of a list, as its query has them.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    limit: Limit,
    after: Option<Place>,
}

impl Paging {
    /// 422 `invalid-query` if the cursor is not one of ours.
    pub fn new(limit: Limit, cursor: Option<&Cursor>) -> Result<Self, Problem> {
        let after = cursor
            .map(|cursor| decode(cursor).ok_or_else(foreign_cursor))
            .transpose()?;
        Ok(Self { limit, after })
    }

    /// The query for this page; it asks for one document more than the page shows, which tells whether another page
    /// follows. 422 if the cursor is of a list in another order.
    pub fn apply(&self, query: Query) -> Result<Query, Problem> {
        if let Some((sort, _)) = &self.after {
            let column = query
                .sort_column()
                .and_then(|name| query.collection.columns.iter().find(|c| c.name == name));
            let fits = match (sort, column.map(|column| column.column_type)) {
                (None, None) | (Some(Value::Null), Some(_)) => true,
                (Some(Value::Integer(_)), Some(kind)) => kind == ColumnType::Integer,
                (Some(Value::Text(_)), Some(kind)) => kind == ColumnType::Text,
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !fits {
                return Err(foreign_cursor());
            }
        }
        Ok(Query {
            limit: self.limit.get() + 1,
            bytes_max: PAGE_BYTES_MAX,
            after: self.after.clone(),
            ..query
        })
    }

    /// The page of what the store found when asked by [`Paging::apply`]; `entry` makes an entry of each.
    pub fn page<T, E>(&self, found: Vec<Found>, entry: impl FnMut(Found) -> Result<T, E>) -> Result<Page<T>, E> {
        let full = found.iter().map(|found| found.stored.document.len()).sum::<usize>() >= PAGE_BYTES_MAX;
        let shown = if full { (found.len() - 1).max(1) } else { found.len() }.min(self.limit.get());
        let last = found[..shown].last().filter(|_| full || shown < found.len());
        let next_cursor = last.map(|last| encode(last.sort.as_ref(), &last.id));
        let data = found.into_iter().take(shown).map(entry).collect::<Result<_, E>>()?;
        Ok(Page { data, next_cursor })
    }
}

/// A cursor at this place. Opaque to clients, but no secret: it holds nothing that the entry itself doesn't show.
///
/// # Panics
/// If sort text and id have more than 1,534 bytes together, so that a [`Cursor`] cannot hold them.
#[must_use]
pub fn encode(sort: Option<&Value>, id: &str) -> Cursor {
    let mut bytes = Vec::with_capacity(64);
    match sort {
        None => bytes.push(b'-'),
        Some(Value::Null) => bytes.push(b'0'),
        Some(Value::Integer(number)) => {
            bytes.push(b'i');
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        Some(Value::Text(text)) => {
            bytes.push(b't');
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD
        .encode(bytes)
        .try_into()
        .expect("sort columns and ids are short enough for a cursor")
}

/// The place of a cursor; `None` if it was not made by [`encode`].
#[must_use]
pub fn decode(cursor: &Cursor) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.as_str()).ok()?;
    let (kind, rest) = bytes.split_first()?;
    let (sort, id) = match kind {
        b'-' => (None, rest),
        b'0' => (Some(Value::Null), rest),
        b'i' => {
            let (number, id) = rest.split_first_chunk()?;
            (Some(Value::Integer(i64::from_be_bytes(*number))), id)
        }
        b't' => {
            let end = rest.iter().position(|byte| *byte == 0)?;
            (Some(std::str::from_utf8(&rest[..end]).ok()?.into()), &rest[end + 1..])
        }
        _ => return None,
    };
    let id = std::str::from_utf8(id)
        .ok()
        .filter(|id| !id.is_empty() && !id.contains('\0'))?;
    Some((sort, id.into()))
}

fn foreign_cursor() -> Problem {
    Problem::new(Code::InvalidQuery).error("cursor", "must be a next_cursor of this list")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::document::{Collection, Column, Index, Kind};
    use crate::store::Stored;

    const ORDERS: &Collection = &Collection {
        name: "orders",
        kind: Kind::View,
        columns: &[
            Column {
                name: "user_id",
                column_type: ColumnType::Text,
            },
            Column {
                name: "created_at",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[
            Index {
                name: "by_time",
                columns: &["created_at"],
            },
            Index {
                name: "by_user",
                columns: &["user_id"],
            },
        ],
    };

    fn found(id: &str, sort: Option<Value>) -> Found {
        found_with(id, sort, "{}".into())
    }

    fn found_with(id: &str, sort: Option<Value>, document: Arc<str>) -> Found {
        Found {
            id: id.into(),
            sort,
            stored: Stored { version: 1, document },
        }
    }

    #[test]
    fn a_cursor_comes_back_as_the_place_it_was_made_of() {
        for sort in [
            None,
            Some(Value::Null),
            Some(Value::Integer(-7)),
            Some("".into()),
            Some("Größe 42".into()),
        ] {
            assert_eq!(decode(&encode(sort.as_ref(), "ord_1")), Some((sort, "ord_1".into())));
        }
    }

    #[test]
    fn another_cursor_is_refused() {
        for wrong in ["a", "abc", "LQ", "aQAA", "dGFi", "eA"] {
            let problem = Paging::new(Limit::default(), Some(&wrong.try_into().unwrap())).unwrap_err();
            assert_eq!(problem.code, Code::InvalidQuery, "{wrong}");
        }
    }

    #[test]
    fn a_cursor_of_a_list_in_another_order_is_refused() {
        let by_time = || Query::by(ORDERS, "by_time", Vec::new(), 1);
        let by_user = || Query::by(ORDERS, "by_user", Vec::new(), 1);
        let of_user = || Query::by(ORDERS, "by_user", vec!["usr_1".into()], 1);
        let apply = |sort: Option<Value>, query| {
            let cursor = encode(sort.as_ref(), "ord_1");
            Paging::new(Limit::default(), Some(&cursor))
                .unwrap()
                .apply(query)
                .is_ok()
        };
        assert!(apply(Some(7.into()), by_time()) && apply(Some(Value::Null), by_time()));
        assert!(apply(Some("usr_1".into()), by_user()));
        assert!(apply(None, of_user()) && apply(None, Query::all(ORDERS, 1)));
        assert!(!apply(Some(7.into()), by_user()) && !apply(Some("usr_1".into()), by_time()));
        assert!(!apply(None, by_time()) && !apply(Some(7.into()), of_user()));
    }

    #[test]
    fn one_document_too_many_means_another_page() {
        let paging = Paging::new(2.try_into().unwrap(), None).unwrap();
        assert_eq!(paging.apply(Query::all(ORDERS, 1)).unwrap().limit, 3);
        let entries = |ids: &[&str]| {
            let found = ids.iter().map(|id| found(id, Some(7.into()))).collect();
            paging
                .page(found, |found| Ok::<_, Infallible>(found.id.to_string()))
                .unwrap()
        };
        assert_eq!(
            entries(&["a", "b"]),
            Page {
                data: vec!["a".to_owned(), "b".to_owned()],
                next_cursor: None
            }
        );
        let first = entries(&["a", "b", "c"]);
        assert_eq!(first.data, ["a", "b"]);
        let next = Paging::new(Limit::default(), first.next_cursor.as_ref()).unwrap();
        assert_eq!(next.after, Some((Some(7.into()), "b".into())));
    }

    #[test]
    fn a_page_of_large_documents_is_shorter_and_says_that_more_follow() {
        let paging = Paging::new(Limit::default(), None).unwrap();
        assert_eq!(paging.apply(Query::all(ORDERS, 1)).unwrap().bytes_max, PAGE_BYTES_MAX);
        let page = |sizes: &[(&str, usize)]| {
            let found = sizes
                .iter()
                .map(|(id, bytes)| found_with(id, None, " ".repeat(*bytes).into()));
            let page = paging.page(found.collect(), |found| Ok::<_, Infallible>(found.id.to_string()));
            let Page { data, next_cursor } = page.unwrap();
            let next = next_cursor.map(|cursor| decode(&cursor).unwrap().1.to_string());
            (data.join(" "), next.unwrap_or_default())
        };
        let almost = PAGE_BYTES_MAX - 10;
        assert_eq!(page(&[("a", almost), ("b", 9)]), ("a b".to_owned(), String::new()));
        assert_eq!(page(&[("a", almost), ("b", 10)]), ("a".to_owned(), "a".to_owned()));
        // Whether another follows one that fills the page alone, only the next page tells.
        assert_eq!(page(&[("a", PAGE_BYTES_MAX)]), ("a".to_owned(), "a".to_owned()));
        assert_eq!(page(&[]), (String::new(), String::new()));
    }

    fn sort() -> impl Strategy<Value = Option<Value>> {
        prop::option::of(prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            "[^\0]{0,200}".prop_map(Value::from),
        ])
    }

    proptest! {
        #[test]
        fn every_place_has_one_cursor_and_comes_back_from_it(
            (one, other) in ((sort(), "[^\0]{1,64}"), (sort(), "[^\0]{1,64}"))
        ) {
            let [one, other] = [one, other].map(|(sort, id)| (sort, Arc::<str>::from(id)));
            let cursor = |(sort, id): &Place| encode(sort.as_ref(), id);
            prop_assert_eq!(decode(&cursor(&one)), Some(one.clone()));
            prop_assert_eq!(cursor(&one) == cursor(&other), one == other);
        }

        /// Somebody who changes a cursor gets another place, or none: never the same one, and no failure of ours.
        #[test]
        fn a_cursor_that_somebody_made_up_is_a_place_that_has_this_cursor_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 1..40),
            kind in prop::sample::select(b"-0itx".to_vec()),
            text in "[A-Za-z0-9_-]{1,40}",
        ) {
            let framed = URL_SAFE_NO_PAD.encode([&[kind], &bytes[..]].concat());
            for text in [URL_SAFE_NO_PAD.encode(&bytes), framed, text] {
                let cursor = Cursor::try_from(text).unwrap();
                let paging = Paging::new(Limit::default(), Some(&cursor));
                prop_assert_eq!(paging.is_ok(), decode(&cursor).is_some());
                let Some((sort, id)) = decode(&cursor) else { continue };
                prop_assert_eq!(encode(sort.as_ref(), &id), cursor);
                prop_assert!(!id.is_empty() && !id.contains('\0'));
                let by_time = paging.unwrap().apply(Query::by(ORDERS, "by_time", Vec::new(), 1));
                prop_assert_eq!(by_time.is_ok(), matches!(sort, Some(Value::Integer(_) | Value::Null)));
            }
        }
    }
}
