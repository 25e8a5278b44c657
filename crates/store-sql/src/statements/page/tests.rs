//! What a page costs: the plans that SQLite makes for the texts.

use std::ops::Bound;

use rusqlite::Connection;
use testkit::store_suite::fixture::THINGS;

use super::*;
use crate::schema;
use crate::sqlite::SQLITE;

/// How SQLite would run the section.
fn plan(query: &Query, section: Section) -> String {
    let connection = Connection::open_in_memory().expect("a database in memory");
    connection
        .execute_batch(&schema::create_table(&SQLITE, &THINGS))
        .expect("the table is made");
    for index in THINGS.indexes {
        connection
            .execute_batch(&schema::create_index(&SQLITE, &THINGS, index))
            .expect("the index is made");
    }
    let page = Page::new(&SQLITE, query, section);
    let mut select = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {}", page.text))
        .expect(&page.text);
    // Without parameters: a plan does not depend on them.
    let steps = select.raw_query().mapped(|row| row.get::<_, String>(3));
    steps
        .collect::<Result<Vec<_>, _>>()
        .expect("the plan is read")
        .join("; ")
}

fn of_ann(index: &'static str) -> Query {
    Query {
        filters: vec![("label", "x".into())],
        ..Query::by(&THINGS, index, vec!["ann".into()], 10)
    }
}

#[test]
fn a_page_walks_its_index_from_where_it_begins_and_sorts_nothing() {
    let after = Some((Some(Value::Integer(3)), "b".into()));
    let low = (Bound::Included(Value::Integer(1)), Bound::Unbounded);
    for descending in [false, true] {
        let beyond = if descending { "<" } else { ">" };
        let query = Query {
            descending,
            ..of_ann("by_owner_rank")
        };
        let next = Query {
            after: after.clone(),
            ..query.clone()
        };
        let ranged = Query {
            range: low.clone(),
            ..query.clone()
        };
        let every = Query {
            descending,
            ..Query::by(&THINGS, "by_rank", Vec::new(), 10)
        };
        let exact = Query {
            descending,
            after: Some((None, "b".into())),
            ..of_ann("by_owner")
        };
        let all = Query {
            descending,
            after: Some((None, "b".into())),
            ..Query::all(&THINGS, 10)
        };
        let cases = [
            (
                &query,
                Section::Values,
                "USING INDEX things__by_owner_rank (owner=? AND rank>?)".to_owned(),
            ),
            (
                &query,
                Section::Nulls,
                "USING INDEX things__by_owner_rank (owner=? AND rank=?)".to_owned(),
            ),
            // Downwards the nulls are left out by a bound of their own.
            (&next, Section::Values, format!("AND (rank,id){beyond}(?,?))")),
            (
                &ranged,
                Section::Values,
                "USING INDEX things__by_owner_rank (owner=? AND rank>?)".to_owned(),
            ),
            (&every, Section::Values, "USING INDEX things__by_rank".to_owned()),
            (
                &exact,
                Section::Values,
                format!("USING INDEX things__by_owner (owner=? AND id{beyond}?)"),
            ),
            (&all, Section::Values, format!("(id{beyond}?)")),
        ];
        for (query, section, expected) in cases {
            let plan = plan(query, section);
            assert!(plan.contains(&expected), "{plan}\nis not\n{expected}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
