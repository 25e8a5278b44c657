//! What the statements cost: the plans that MariaDB makes for the texts, in a table that it has not yet counted.

use std::ops::Bound;

use kernel::document::Value;
use servers::Kind;
use sqlx::Row as _;
use sqlx::mysql::MySqlArguments;
use testkit::store_suite::fixture::{self, THINGS, batch, columns};

use super::*;

async fn filled() -> MysqlStore {
    let (url, name) = (Kind::Mariadb.shared(), servers::unique_name());
    let options = MysqlOptions::new(
        &url,
        &name,
        fixture::schema(),
        Uuid::from_u128(1),
        Timestamp::UNIX_EPOCH,
    );
    let store = MysqlStore::open(options.expect("the server has a URL")).await;
    let store = store.expect("the store opens");
    let mut draft = batch();
    for number in 0..300 {
        let owner = if number % 3 == 0 { "ann" } else { "bob" };
        let rank = if number % 7 == 0 { Value::Null } else { number.into() };
        draft = draft.put_columns(&format!("{number:03}"), columns(owner, rank, "x"));
        draft = draft.event("long", u64::try_from(number).expect("it counts up") + 1);
    }
    store.commit(draft.build()).await.expect("nothing speaks against it");
    store
}

/// For each table: which index is walked, and what else is done.
async fn plan(store: &MysqlStore, text: &str, arguments: MySqlArguments) -> Vec<(Option<String>, String)> {
    let text = AssertSqlSafe(format!("EXPLAIN {text}"));
    let steps = sqlx::query_with(text, arguments).fetch_all(&store.pool).await;
    let steps = steps.expect("the statement is valid");
    steps
        .iter()
        .map(|row| {
            (
                row.get("key"),
                row.get::<Option<String>, _>("Extra").unwrap_or_default(),
            )
        })
        .collect()
}

fn arguments(values: &[&str]) -> MySqlArguments {
    let mut arguments = MySqlArguments::default();
    for value in values {
        sqlx::Arguments::add(&mut arguments, *value).expect("text can be sent");
    }
    arguments
}

fn of_page(page: &Page<'_>) -> MySqlArguments {
    let mut arguments = MySqlArguments::default();
    for parameter in &page.parameters {
        let added = match parameter {
            Parameter::Text(text) => sqlx::Arguments::add(&mut arguments, *text),
            Parameter::Value(Value::Text(text)) => sqlx::Arguments::add(&mut arguments, &**text),
            Parameter::Value(Value::Integer(number)) => sqlx::Arguments::add(&mut arguments, *number),
            Parameter::Value(Value::Null) => sqlx::Arguments::add(&mut arguments, None::<i64>),
        };
        added.expect("a value can be sent");
    }
    sqlx::Arguments::add(&mut arguments, 10_i64).expect("a number can be sent");
    arguments
}

fn pages(descending: bool) -> Vec<(Query, &'static str)> {
    let of_ann = |index| Query {
        filters: vec![("label", "x".into())],
        descending,
        ..Query::by(&THINGS, index, vec!["ann".into()], 10)
    };
    let ranked = of_ann("by_owner_rank");
    let next = Query {
        after: Some((Some(Value::Integer(30)), "b".into())),
        ..ranked.clone()
    };
    let ranged = Query {
        range: (Bound::Included(Value::Integer(1)), Bound::Unbounded),
        ..ranked.clone()
    };
    let exact = Query {
        after: Some((None, "b".into())),
        ..of_ann("by_owner")
    };
    let every = Query {
        descending,
        ..Query::by(&THINGS, "by_rank", Vec::new(), 10)
    };
    let all = Query {
        descending,
        after: Some((None, "b".into())),
        ..Query::all(&THINGS, 10)
    };
    vec![
        (ranked, "things__by_owner_rank"),
        (next, "things__by_owner_rank"),
        (ranged, "things__by_owner_rank"),
        (exact, "things__by_owner"),
        (every, "things__by_rank"),
        (all, "PRIMARY"),
    ]
}

#[tokio::test]
async fn a_page_walks_its_index_and_sorts_nothing() {
    let store = filled().await;
    for (query, index) in pages(false).into_iter().chain(pages(true)) {
        for section in Section::of(&query) {
            let page = Page::new(store.server.dialect, &query, *section);
            let plan = plan(&store, &page.text, of_page(&page)).await;
            let [(key, extra)] = &*plan else {
                panic!("{}\nis {plan:?}", page.text);
            };
            assert_eq!(key.as_deref(), Some(index), "{}", page.text);
            assert!(!extra.contains("filesort"), "{}\nis {extra}", page.text);
        }
    }
}

#[tokio::test]
async fn versions_are_found_by_keys_alone() {
    let store = filled().await;
    let ids: Vec<String> = (0..128).map(|number| format!("{number:03}")).collect();
    let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
    let keys = Keys::from([("order", ids[..2].to_vec()), ("things", ids.clone())]);
    let text = statements::of_each(&keys, "version");
    let values: Vec<&str> = keys.values().flatten().copied().collect();
    let plan_of_versions = plan(&store, &text, arguments(&values)).await;
    let walked = plan_of_versions
        .iter()
        .filter(|(key, _)| key.as_deref() == Some("PRIMARY"));
    assert_eq!(walked.count(), 2, "{plan_of_versions:?}");
    // However long they are: a single step into the index for each.
    let plan = plan(&store, &statements::stream_versions(2), arguments(&["long", "long"])).await;
    let steps = plan.iter().filter(|(_, extra)| extra == "Select tables optimized away");
    assert_eq!(steps.count(), 2, "{plan:?}");
}
