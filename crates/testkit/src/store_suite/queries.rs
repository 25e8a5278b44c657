//! Look-ups by a declared index.

use std::ops::Bound;
use std::sync::Arc;

use kernel::document::Value;
use kernel::store::{Expect, Query, Store};

use super::StoreFactory;
use super::documents::confusable;
use super::fixture::{NOTES, THINGS, batch, columns, ids, thing};

/// Puts things in an order that is none of those asked for.
async fn put_all(store: &Arc<dyn Store>, things: &[(&str, Vec<Value>)]) {
    for (id, columns) in things.iter().rev() {
        batch().put_columns(id, columns.clone()).commit(store).await;
    }
}

/// Walks all pages of both directions and checks that they agree; gives the ascending order.
pub(super) async fn walk(store: &Arc<dyn Store>, query: &Query, page: usize) -> Vec<String> {
    let up = walk_one_way(
        store,
        &Query {
            limit: page,
            descending: false,
            ..query.clone()
        },
    )
    .await;
    let mut down = walk_one_way(
        store,
        &Query {
            limit: page,
            descending: true,
            ..query.clone()
        },
    )
    .await;
    down.reverse();
    assert_eq!(up, down, "the two directions disagree about {query:?}");
    up
}

async fn walk_one_way(store: &Arc<dyn Store>, query: &Query) -> Vec<String> {
    let mut query = query.clone();
    let mut ids = Vec::new();
    loop {
        let page = store.query(&query).await.expect("the query is answered");
        assert!(page.len() <= query.limit, "a page is longer than its limit");
        ids.extend(page.iter().map(|found| found.id.to_string()));
        let Some(last) = page.last().filter(|_| page.len() == query.limit) else {
            return ids;
        };
        assert_eq!(last.sort.is_some(), query.sort_column().is_some());
        query.after = Some((last.sort.clone(), Arc::clone(&last.id)));
    }
}

pub async fn pages_by_a_column_are_ordered_by_it_and_then_by_id(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let things = [
        ("b", columns("ann", 1, "x")),
        ("d", columns("ann", 1, "w")),
        ("a", columns("ann", 2, "x")),
        ("c", columns("ann", 2, "w")),
        ("e", columns("ann", 3, "x")),
        ("B", columns("bob", 0, "x")),
    ];
    put_all(&store, &things).await;

    let of_ann = |index| Query::by(&THINGS, index, vec!["ann".into()], 100);
    for page in [1, 2, 3, 5, 6, 100] {
        assert_eq!(
            walk(&store, &of_ann("by_owner_rank"), page).await,
            ["b", "d", "a", "c", "e"]
        );
        assert_eq!(walk(&store, &of_ann("by_owner"), page).await, ["a", "b", "c", "d", "e"]);
        // Columns behind the sorted one say nothing about the order.
        assert_eq!(
            walk(&store, &of_ann("by_owner_rank_label"), page).await,
            ["b", "d", "a", "c", "e"]
        );
        let every = Query::by(&THINGS, "by_rank", Vec::new(), 100);
        assert_eq!(walk(&store, &every, page).await, ["B", "b", "d", "a", "c", "e"]);
        assert_eq!(
            walk(&store, &Query::all(&THINGS, 100), page).await,
            ["B", "a", "b", "c", "d", "e"]
        );
        let exact = Query::by(&THINGS, "by_owner_rank", vec!["ann".into(), 2.into()], 100);
        assert_eq!(walk(&store, &exact, page).await, ["a", "c"]);
    }
    let page = store
        .query(&of_ann("by_owner_rank"))
        .await
        .expect("the query is answered");
    assert_eq!(page[2].sort, Some(Value::Integer(2)));
    assert_eq!((page[2].stored.version, &*page[2].stored.document), (1, "{}"));
    assert!(
        ids(
            &store,
            &Query {
                limit: 0,
                ..of_ann("by_owner")
            }
        )
        .await
        .is_empty()
    );
    assert!(
        ids(
            &store,
            &Query {
                limit: usize::MAX,
                ..of_ann("by_owner")
            }
        )
        .await
        .len()
            == 5
    );
}

pub async fn a_page_ends_with_the_document_that_fills_it(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let document = format!("\"{}\"", "x".repeat(98));
    for (id, rank) in [
        ("a", Value::Null),
        ("b", Value::Null),
        ("c", 1.into()),
        ("d", 1.into()),
        ("e", 1.into()),
    ] {
        let draft = batch().put(thing(id), &document, columns("ann", rank, "x"), Expect::Absent);
        draft.commit(&store).await;
    }
    let all = Query::all(&THINGS, 100);
    // Ordered by a column that some documents don't have, which a database may have to ask for in two ways.
    let with_nulls = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 100);
    for query in [all, with_nulls] {
        for (bytes_max, expected) in [
            (0, 1),
            (1, 1),
            (100, 1),
            (101, 2),
            (200, 2),
            (250, 3),
            (301, 4),
            (usize::MAX, 5),
        ] {
            for descending in [false, true] {
                let query = Query {
                    bytes_max,
                    descending,
                    ..query.clone()
                };
                assert_eq!(ids(&store, &query).await.len(), expected, "{query:?}");
            }
        }
        let page = Query {
            bytes_max: 250,
            limit: 2,
            ..query
        };
        assert_eq!(walk(&store, &page, 2).await, ["a", "b", "c", "d", "e"]);
    }
}

pub async fn an_index_leaves_documents_out_whose_first_column_is_null(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let things = [
        ("a", columns(Value::Null, 1, "x")),
        ("b", columns("ann", Value::Null, "x")),
        ("c", columns("", 2, Value::Null)),
        ("d", columns(Value::Null, Value::Null, Value::Null)),
    ];
    put_all(&store, &things).await;

    let every = |index| Query::by(&THINGS, index, Vec::new(), 100);
    assert_eq!(walk(&store, &every("by_owner"), 1).await, ["c", "b"]);
    assert_eq!(walk(&store, &every("by_owner_rank"), 1).await, ["c", "b"]);
    assert_eq!(walk(&store, &every("by_rank"), 1).await, ["a", "c"]);
    assert_eq!(walk(&store, &every("by_label"), 1).await, ["a", "b"]);
    assert!(
        walk(&store, &Query::by(&THINGS, "by_owner", vec![Value::Null], 100), 1)
            .await
            .is_empty()
    );
    assert!(
        walk(&store, &Query::by(&THINGS, "by_owner_rank", vec![Value::Null], 100), 1)
            .await
            .is_empty()
    );
    assert_eq!(walk(&store, &Query::all(&THINGS, 100), 1).await, ["a", "b", "c", "d"]);
}

pub async fn null_in_a_later_column_sorts_first_and_lies_in_no_range(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let things = [
        ("e", columns("ann", Value::Null, "x")),
        ("f", columns("ann", Value::Null, "x")),
        ("g", columns("ann", Value::Null, "x")),
        ("a", columns("ann", i64::MIN, "x")),
        ("c", columns("ann", 0, "x")),
        ("d", columns("ann", 0, "x")),
        ("b", columns("ann", 1, "x")),
    ];
    put_all(&store, &things).await;

    let of_ann = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 100);
    for page in 1..=8 {
        assert_eq!(walk(&store, &of_ann, page).await, ["e", "f", "g", "a", "c", "d", "b"]);
        let below = Query {
            range: (Bound::Unbounded, Bound::Included(0.into())),
            ..of_ann.clone()
        };
        assert_eq!(walk(&store, &below, page).await, ["a", "c", "d"]);
        let above = Query {
            range: (Bound::Excluded(0.into()), Bound::Unbounded),
            ..of_ann.clone()
        };
        assert_eq!(walk(&store, &above, page).await, ["b"]);
        let nothing = Query {
            range: (Bound::Included(Value::Null), Bound::Unbounded),
            ..of_ann.clone()
        };
        assert!(walk(&store, &nothing, page).await.is_empty());
        let nulls = Query::by(&THINGS, "by_owner_rank", vec!["ann".into(), Value::Null], 100);
        assert_eq!(walk(&store, &nulls, page).await, ["e", "f", "g"]);
        let filtered = Query {
            filters: vec![("rank", Value::Null)],
            ..of_ann.clone()
        };
        assert_eq!(walk(&store, &filtered, page).await, ["e", "f", "g"]);
    }
}

pub async fn ranges_include_or_exclude_their_bounds(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let things: Vec<_> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .zip((1..).map(|rank| columns("o", rank, "l")))
        .collect();
    put_all(&store, &things).await;

    let ranged = |range| Query {
        range,
        ..Query::by(&THINGS, "by_rank", Vec::new(), 100)
    };
    let (two, four) = (|| Value::from(2), || Value::from(4));
    let cases = [
        ((Bound::Included(two()), Bound::Included(four())), "bcd"),
        ((Bound::Excluded(two()), Bound::Included(four())), "cd"),
        ((Bound::Included(two()), Bound::Excluded(four())), "bc"),
        ((Bound::Excluded(two()), Bound::Excluded(four())), "c"),
        ((Bound::Unbounded, Bound::Excluded(two())), "a"),
        ((Bound::Excluded(four()), Bound::Unbounded), "e"),
        ((Bound::Included(four()), Bound::Included(two())), ""),
    ];
    for (range, expected) in cases {
        assert_eq!(
            walk(&store, &ranged(range.clone()), 2).await.concat(),
            expected,
            "{range:?}"
        );
    }

    // When every column is given, or none is asked for, the range is over the id.
    let range = (Bound::Excluded(Value::from("a")), Bound::Included(Value::from("c")));
    let exact = Query::by(&THINGS, "by_owner", vec!["o".into()], 100);
    assert_eq!(
        walk(
            &store,
            &Query {
                range: range.clone(),
                ..exact
            },
            1
        )
        .await,
        ["b", "c"]
    );
    assert_eq!(
        walk(
            &store,
            &Query {
                range,
                ..Query::all(&THINGS, 100)
            },
            1
        )
        .await,
        ["b", "c"]
    );
}

pub async fn numbers_sort_over_their_whole_range(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let numbers = [
        i64::MIN,
        i64::MIN + 1,
        -(1 << 53) - 1,
        -1,
        0,
        1,
        (1 << 53) + 1,
        (1 << 53) + 2,
        i64::MAX,
    ];
    // Ids in the opposite order, so that they cannot help.
    let names: Vec<_> = (0..numbers.len()).map(|place| format!("{:02}", 50 - place)).collect();
    let things: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(numbers.map(|number| columns("o", number, "l")))
        .collect();
    put_all(&store, &things).await;

    let every = Query::by(&THINGS, "by_rank", Vec::new(), 100);
    assert_eq!(walk(&store, &every, 2).await, names);
    let page = store.query(&every).await.expect("the query is answered");
    assert!(
        page.iter()
            .map(|found| found.sort.clone())
            .eq(numbers.map(|number| Some(Value::Integer(number))))
    );
    let above = Query {
        range: (Bound::Excluded((1 << 53).into()), Bound::Unbounded),
        ..every
    };
    assert_eq!(walk(&store, &above, 2).await, names[6..]);
}

pub async fn text_sorts_and_matches_as_bytes(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let labels = confusable();
    let names: Vec<_> = (0..labels.len()).map(|place| format!("{:02}", 90 - place)).collect();
    for (name, label) in names.iter().zip(&labels) {
        batch()
            .put_columns(name, columns(label.as_str(), 1, label.as_str()))
            .commit(&store)
            .await;
    }

    assert_eq!(
        walk(&store, &Query::by(&THINGS, "by_label", Vec::new(), 100), 5).await,
        names
    );
    for (name, label) in names.iter().zip(&labels) {
        let equal = Query::by(&THINGS, "by_label", vec![label.as_str().into()], 100);
        assert_eq!(ids(&store, &equal).await, [name.as_str()], "{label:?} by index");
        let filter = Query {
            filters: vec![("owner", label.as_str().into())],
            ..Query::all(&THINGS, 100)
        };
        assert_eq!(ids(&store, &filter).await, [name.as_str()], "{label:?} by filter");
    }
}

pub async fn contained_text_is_taken_literally(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let things = [
        ("a", columns("ann", 1, "red wool hat")),
        ("b", columns("ann", 2, "100% wool")),
        ("c", columns("ann", 2, "100 wools_")),
        ("d", columns("bob", 2, "\\wool zoë 🦀")),
        ("e", columns("bob", 2, Value::Null)),
        ("f", columns("bob", 2, "it's \"it\"")),
    ];
    put_all(&store, &things).await;

    let cases = [
        ("wool", "abcd"),
        ("%", "b"),
        ("_", "c"),
        ("0% w", "b"),
        ("\\", "d"),
        ("zoë 🦀", "d"),
        ("zoe", ""),
        ("'s \"", "f"),
        ("", "abcdf"),
    ];
    for (part, expected) in cases {
        let query = Query {
            contains: Some(("label", part.into())),
            ..Query::all(&THINGS, 100)
        };
        assert_eq!(walk(&store, &query, 2).await.concat(), expected, "{part:?}");
        let query = Query {
            contains: Some(("label", part.into())),
            ..Query::by(&THINGS, "by_label", Vec::new(), 100)
        };
        let mut by_label = walk(&store, &query, 2).await;
        by_label.sort();
        assert_eq!(by_label.concat(), expected, "{part:?}");
    }

    let narrowed = Query {
        contains: Some(("label", "wool".into())),
        filters: vec![("rank", 2.into()), ("owner", "ann".into())],
        range: (Bound::Excluded("100 wools_".into()), Bound::Unbounded),
        ..Query::by(&THINGS, "by_label", Vec::new(), 100)
    };
    assert_eq!(walk(&store, &narrowed, 1).await, ["b"]);
}

pub async fn a_put_moves_a_document_in_its_indexes_and_a_delete_removes_it(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let of = |owner: &str| Query::by(&THINGS, "by_owner_rank", vec![owner.into()], 100);
    batch()
        .put_columns("a", columns("ann", 1, "l"))
        .put_columns("b", columns("ann", 2, "l"))
        .commit(&store)
        .await;
    batch()
        .put(thing("a"), "{}", columns("ann", 3, "l"), Expect::Version(1))
        .commit(&store)
        .await;
    assert_eq!(ids(&store, &of("ann")).await, ["b", "a"]);
    batch()
        .put(thing("a"), "{}", columns("bob", 3, "l"), Expect::Any)
        .commit(&store)
        .await;
    assert_eq!(ids(&store, &of("ann")).await, ["b"]);
    assert_eq!(ids(&store, &of("bob")).await, ["a"]);
    batch()
        .put(thing("a"), "{}", columns(Value::Null, 3, "l"), Expect::Any)
        .commit(&store)
        .await;
    assert!(ids(&store, &of("bob")).await.is_empty());
    batch().delete(thing("b"), Expect::Version(1)).commit(&store).await;
    assert!(ids(&store, &of("ann")).await.is_empty());
}

pub async fn a_query_that_does_not_fit_the_declaration_is_refused(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let by = |index, equals| Query::by(&THINGS, index, equals, 100);
    let after = |sort: Option<Value>, query: Query| Query {
        after: Some((sort, "x".into())),
        ..query
    };
    let misfits = [
        by("by_nothing", Vec::new()),
        by("by_owner", vec!["ann".into(), 1.into()]),
        by("by_owner", vec![1.into()]),
        Query {
            filters: vec![("nothing", 1.into())],
            ..Query::all(&THINGS, 100)
        },
        Query {
            filters: vec![("id", "x".into())],
            ..Query::all(&THINGS, 100)
        },
        Query {
            filters: vec![("rank", "1".into())],
            ..Query::all(&THINGS, 100)
        },
        Query {
            contains: Some(("rank", "1".into())),
            ..Query::all(&THINGS, 100)
        },
        Query {
            contains: Some(("doc", "1".into())),
            ..Query::all(&NOTES, 100)
        },
        Query {
            equals: vec!["x".into()],
            ..Query::all(&THINGS, 100)
        },
        Query {
            range: (Bound::Included(1.into()), Bound::Unbounded),
            ..Query::all(&THINGS, 100)
        },
        Query {
            range: (Bound::Included("1".into()), Bound::Unbounded),
            ..by("by_rank", Vec::new())
        },
        after(None, by("by_rank", Vec::new())),
        after(Some(1.into()), Query::all(&THINGS, 100)),
        after(Some("1".into()), by("by_rank", Vec::new())),
    ];
    for misfit in misfits {
        assert!(store.query(&misfit).await.is_err(), "{misfit:?} was answered");
    }
}
