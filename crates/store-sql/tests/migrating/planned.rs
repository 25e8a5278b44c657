//! What a plan says, and that it changes nothing.

use std::sync::Arc;

use kernel::document::{Collection, Column, ColumnType, Index, Kind, Value};
use kernel::store::{Expect, Store};
use testkit::store_suite::fixture::{batch, thing};

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
    columns: &[],
    indexes: &[],
};
static THINGS: Collection = PLAIN;
static OWNED: Collection = Collection {
    columns: &[OWNER],
    indexes: &[Index {
        name: "by_what",
        columns: &["owner"],
    }],
    ..PLAIN
};
static RANKED: Collection = Collection {
    columns: &[OWNER, RANK],
    indexes: &[Index {
        name: "by_what",
        columns: &["rank", "owner"],
    }],
    ..PLAIN
};

/// The first words of each statement, up to the name of what it is about.
fn shape(plan: &[String]) -> Vec<String> {
    let chosen = ["SET", "USE"];
    let about = plan.iter().filter(|it| !chosen.iter().any(|word| it.starts_with(word)));
    let words = about.map(|it| it.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    words.map(|words| words.replace('"', "")).collect()
}

async fn put(store: &Arc<dyn Store>, columns: Vec<Value>) {
    batch().put(thing("a"), "{}", columns, Expect::Any).commit(store).await;
}

pub(crate) async fn a_plan_makes_nothing_and_is_all_that_it_takes<P: Place>() {
    let place = P::new();
    let plan = place.plan(Wanted::of(&OWNED)).await.expect("nothing is in its way");
    assert_eq!(place.described().await, [""; 0], "the plan made something");
    let about = plan.join("\n");
    for part in [
        "journal",
        "head",
        "batches",
        "migrations",
        "\"things\"",
        "things__by_what",
    ] {
        assert!(about.contains(part), "nothing about {part}: {about}");
    }
    // Given to a shell, it leaves what opening leaves.
    place.shell(&plan.join(";\n")).await;
    assert_eq!(
        place.plan(Wanted::of(&OWNED)).await.expect("nothing is in its way"),
        [""; 0]
    );
    let opened = P::new();
    let store = opened.open(Wanted::of(&OWNED)).await.expect("the store opens");
    store.close().await;
    assert_eq!(place.described().await, opened.described().await);
    let store: Arc<dyn Store> = place.open(Wanted::of(&OWNED)).await.expect("the store opens");
    put(&store, vec!["ann".into()]).await;
}

pub(crate) async fn a_plan_has_only_what_is_missing_or_differs(place: impl Place) {
    let plan = async |wanted| shape(&place.plan(wanted).await.expect("nothing is in its way"));
    let open = async |wanted| {
        let store = place.open(wanted).await.expect("the store opens");
        store.close().await;
    };
    open(Wanted::of(&THINGS)).await;
    assert_eq!(plan(Wanted::of(&THINGS)).await, [""; 0]);
    let added = plan(Wanted::of(&OWNED)).await;
    assert_eq!(added[..2], ["ALTER TABLE things", "CREATE INDEX things__by_what"]);

    open(Wanted::of(&OWNED)).await;
    assert_eq!(plan(Wanted::of(&OWNED)).await, [""; 0]);
    let changed = plan(Wanted::of(&RANKED)).await;
    let made_again = [
        "ALTER TABLE things",
        "DROP INDEX things__by_what",
        "CREATE INDEX things__by_what",
    ];
    assert_eq!(changed[..3], made_again);
    let rebuild = Wanted {
        rebuild: vec![OWNED.name],
        ..Wanted::of(&OWNED)
    };
    let emptied = plan(rebuild).await;
    let emptied: Vec<&str> = emptied.iter().map(String::as_str).take(4).collect();
    let made_again = [
        "UPDATE head SET",
        "DROP TABLE IF",
        "CREATE TABLE things",
        "CREATE INDEX things__by_what",
    ];
    assert_eq!(emptied, made_again);
    assert_eq!(plan(Wanted::of(&OWNED)).await, [""; 0], "the plans changed something");
}

pub(crate) async fn a_plan_is_read_while_the_store_is_open(place: impl Place) {
    let store: Arc<dyn Store> = place.open(Wanted::of(&OWNED)).await.expect("the store opens");
    put(&store, vec!["ann".into()]).await;
    assert_eq!(
        place.plan(Wanted::of(&OWNED)).await.expect("nothing is in its way"),
        [""; 0]
    );
    put(&store, vec!["bob".into()]).await;
}

pub(crate) async fn what_opening_refuses_a_plan_refuses_in_the_same_words<P: Place>() {
    let newer = "INSERT INTO migrations VALUES (99, 'something new', 'later')";
    let unfinished = "UPDATE head SET rebuilding = '[\"things\"]'";
    let other_lanes = || {
        let mut wanted = Wanted::of(&OWNED);
        wanted.schema.lanes = 8;
        wanted
    };
    for (change, wanted, part) in [
        (newer, Wanted::of(&OWNED), "form 99"),
        (unfinished, Wanted::of(&OWNED), "rebuild was not finished"),
        ("", other_lanes(), "4 lanes"),
        ("", Wanted::of(&RANKED), "new column rank"),
        ("", Wanted::of(&THINGS), "does not know its column owner"),
        (
            "DROP TABLE things",
            Wanted::of(&OWNED),
            "things is missing, though the journal has events",
        ),
    ] {
        let place = P::new();
        let store: Arc<dyn Store> = place.open(Wanted::of(&OWNED)).await.expect("the store opens");
        let ann = batch().put(thing("a"), "{}", vec!["ann".into()], Expect::Any);
        ann.event("thing:a", 1).commit(&store).await;
        drop(store);
        if !change.is_empty() {
            place.shell_inside(change).await;
        }
        let planned = place.plan(wanted.clone()).await.expect_err("the plan is refused");
        let opened = place.open(wanted).await.expect_err("the store is refused");
        assert_eq!(planned.to_string(), opened.to_string());
        assert!(
            planned.to_string().contains(part),
            "it does not say {part:?}: {planned}"
        );
    }
}
