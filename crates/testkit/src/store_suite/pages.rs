//! Walking pages: against a plain model, and beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::document::Value;
use kernel::store::{Expect, Query, Store};

use super::StoreFactory;
use super::fixture::{THINGS, batch, columns, ids, thing};
use super::model::{Random, Thing, answer};
use super::queries::walk;

pub async fn random_queries_give_what_a_plain_filter_gives(factory: &dyn StoreFactory) {
    const SEED: u64 = 20_261_121;
    let store = factory.open().await;
    let mut random = Random(SEED);
    let mut things: Vec<Thing> = Vec::new();
    let mut draft = batch();
    for number in 0..150 {
        let id = format!("{number:03}");
        let columns = random.columns();
        draft = draft.put_columns(&id, columns.clone());
        things.push((id.into(), columns));
    }
    draft.commit(&store).await;

    for round in 0..250 {
        let query = random.query();
        let found = walk(&store, &query, query.limit).await;
        assert_eq!(found, answer(&things, &query), "seed {SEED}, round {round}: {query:?}");
    }
}

pub async fn pages_are_stable_beside_a_writer(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    // Those that stay have even numbers; between them others come, move and go.
    let mut draft = batch();
    for number in (0..200_i64).step_by(2) {
        draft = draft.put_columns(&format!("{number:04}"), columns("ann", number / 20, "stays"));
    }
    draft.commit(&store).await;
    let expected: Vec<_> = (0..200).step_by(2).map(|number| format!("{number:04}")).collect();

    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(disturb(Arc::clone(&store), Arc::clone(&stop)));
    for query in [
        Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 100),
        Query::by(&THINGS, "by_rank", Vec::new(), 100),
        Query::by(&THINGS, "by_owner", vec!["ann".into()], 100),
        Query::all(&THINGS, 100),
    ] {
        for descending in [false, true] {
            for limit in [1, 7, 30] {
                let mut found = walk_beside(
                    &store,
                    &Query {
                        limit,
                        descending,
                        ..query.clone()
                    },
                )
                .await;
                if descending {
                    found.reverse();
                }
                assert_eq!(found, expected, "{limit} a page, descending {descending}: {query:?}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("the writer ends well");
}

/// The ids of those that stay, as a client who follows the cursors sees them.
async fn walk_beside(store: &Arc<dyn Store>, query: &Query) -> Vec<String> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = store.query(&query).await.expect("the query is answered");
        found.extend(
            page.iter()
                .map(|found| found.id.to_string())
                .filter(|id| !id.contains('x')),
        );
        let Some(last) = page.last() else { return found };
        query.after = Some((last.sort.clone(), Arc::clone(&last.id)));
    }
}

async fn disturb(store: Arc<dyn Store>, stop: Arc<AtomicBool>) {
    let mut random = Random(7);
    while !stop.load(Ordering::Relaxed) {
        let rank = i64::try_from(random.below(10)).expect("a small number");
        let id = format!("{:04}x", random.below(200));
        match random.below(3) {
            0 => batch().delete(thing(&id), Expect::Any),
            1 => batch().put_columns(&id, columns("ann", rank, "moves")),
            // Touched, not moved.
            _ => {
                let number = random.below(100) * 2;
                let rank = i64::try_from(number / 20).expect("a small number");
                batch().put_columns(&format!("{number:04}"), columns("ann", rank, "stays"))
            }
        }
        .commit(&store)
        .await;
        tokio::task::yield_now().await;
    }
}

pub async fn a_cursor_outlives_the_document_it_names(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    for id in ["a", "b", "c", "d"] {
        batch().put_columns(id, columns("ann", 1, "l")).commit(&store).await;
    }
    let query = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 2);
    let page = store.query(&query).await.expect("the query is answered");
    let last = page.last().expect("there are two");
    assert_eq!((&*last.id, &last.sort), ("b", &Some(Value::Integer(1))));
    let next = Query {
        after: Some((last.sort.clone(), Arc::clone(&last.id))),
        ..query
    };

    batch().delete(thing("b"), Expect::Version(1)).commit(&store).await;
    assert_eq!(ids(&store, &next).await, ["c", "d"]);
    assert_eq!(
        ids(
            &store,
            &Query {
                descending: true,
                ..next
            }
        )
        .await,
        ["a"]
    );
}
