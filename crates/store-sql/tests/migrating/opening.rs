//! What opening adds to a store that is there, and what it refuses.

use std::sync::Arc;

use kernel::document::{Collection, Column, ColumnType, Index, Kind, Value};
use kernel::event::Position;
use kernel::store::opening::Refusal;
use kernel::store::{Expect, Opened, Query, Store};
use store_sql::OpenError;
use testkit::store_suite::fixture::{batch, ids, thing};

use crate::{Place, Wanted};

const OWNER: Column = Column {
    name: "owner",
    column_type: ColumnType::Text,
};
const RANK: Column = Column {
    name: "rank",
    column_type: ColumnType::Integer,
};
const PLAIN: Collection = Collection {
    name: "things",
    kind: Kind::View,
    columns: &[OWNER],
    indexes: &[],
};
static UNINDEXED: Collection = PLAIN;
static INDEXED: Collection = Collection {
    indexes: &[Index {
        name: "by_what",
        columns: &["owner"],
    }],
    ..PLAIN
};
static INDEXED_OTHERWISE: Collection = Collection {
    columns: &[OWNER, RANK],
    indexes: &[Index {
        name: "by_what",
        columns: &["rank", "owner"],
    }],
    ..PLAIN
};

async fn open(place: &impl Place, wanted: Wanted) -> Arc<dyn Opened> {
    place.open(wanted).await.expect("the store opens")
}

async fn refusal(place: &impl Place, wanted: Wanted) -> OpenError {
    place.open(wanted).await.expect_err("the store is refused")
}

async fn put(store: &Arc<dyn Opened>, id: &str, columns: Vec<Value>) {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    batch().put(thing(id), "{}", columns, Expect::Any).commit(&store).await;
}

async fn by_what(store: &Arc<dyn Opened>, collection: &'static Collection) -> Vec<String> {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    ids(&store, &Query::by(collection, "by_what", Vec::new(), 100)).await
}

pub(crate) async fn another_number_of_lanes_is_refused(place: impl Place) {
    open(&place, Wanted::of(&UNINDEXED)).await.close().await;
    let mut wanted = Wanted::of(&UNINDEXED);
    wanted.schema.lanes = 8;
    let refused = refusal(&place, wanted).await;
    assert!(
        matches!(refused, OpenError::Refused(Refusal::Lanes { stored: 4, declared: 8 })),
        "{refused}"
    );
    open(&place, Wanted::of(&UNINDEXED)).await;
}

pub(crate) async fn a_store_of_a_newer_form_is_refused(place: impl Place) {
    open(&place, Wanted::of(&UNINDEXED)).await.close().await;
    let newer = "INSERT INTO migrations VALUES (99, 'something new', 'later')";
    place.shell_inside(newer).await;
    let refused = refusal(&place, Wanted::of(&UNINDEXED)).await;
    assert!(
        matches!(refused, OpenError::Refused(Refusal::Newer { found: 99, .. })),
        "{refused}"
    );
}

pub(crate) async fn an_index_is_added_to_what_is_there_and_made_again_when_it_changes(place: impl Place) {
    let store = open(&place, Wanted::of(&UNINDEXED)).await;
    put(&store, "a", vec!["zoe".into()]).await;
    put(&store, "b", vec!["ann".into()]).await;
    store.close().await;
    let store = open(&place, Wanted::of(&INDEXED)).await;
    assert_eq!(by_what(&store, &INDEXED).await, ["b", "a"]);
    store.close().await;

    // A column is added only where no document lacks it.
    let refused = refusal(&place, Wanted::of(&INDEXED_OTHERWISE)).await;
    assert!(
        matches!(refused, OpenError::Refused(Refusal::Columns { .. })),
        "{refused}"
    );
    place.shell_inside("DELETE FROM things").await;
    let store = open(&place, Wanted::of(&INDEXED_OTHERWISE)).await;
    put(&store, "a", vec!["ann".into(), 2.into()]).await;
    put(&store, "b", vec!["bob".into(), 1.into()]).await;
    assert_eq!(by_what(&store, &INDEXED_OTHERWISE).await, ["b", "a"]);
}

pub(crate) async fn a_rebuild_empties_a_collection_and_must_be_finished(place: impl Place) {
    let store = open(&place, Wanted::of(&INDEXED)).await;
    put(&store, "a", vec![Value::Text("ann".into())]).await;
    store.close().await;
    let rebuild = || Wanted {
        rebuild: vec![INDEXED.name],
        ..Wanted::of(&INDEXED)
    };
    let store = open(&place, rebuild()).await;
    assert_eq!(by_what(&store, &INDEXED).await, [""; 0]);
    store.close().await;

    // Cut short: what is there may be a part of it.
    let refused = refusal(&place, Wanted::of(&INDEXED)).await;
    assert!(
        matches!(refused, OpenError::Refused(Refusal::Unfinished(_))),
        "{refused}"
    );
    let store = open(&place, rebuild()).await;
    store.finish_rebuild().await.expect("the store is there");
    store.close().await;
    open(&place, Wanted::of(&INDEXED)).await;
}

pub(crate) async fn replicas_that_start_at_once_open_one_store(place: impl Place) {
    let stores = (0..4).map(|_| open(&place, Wanted::of(&INDEXED)));
    let stores = futures::future::join_all(stores).await;
    for (number, store) in (1..).zip(&stores) {
        let store: Arc<dyn Store> = Arc::clone(store) as _;
        batch().event("s", number).commit(&store).await;
    }
    let tail = stores[0].tail(Position::START, 0).await;
    assert_eq!(tail.expect("the head is read").head.position, Position(4));
}

/// Of a place where this user may do nothing.
pub(crate) async fn what_a_user_may_not_make_is_refused_by_name(place: impl Place) {
    let refused = refusal(&place, Wanted::of(&INDEXED)).await;
    assert!(matches!(refused, OpenError::Forbidden { .. }), "{refused}");
}
