//! `tradewind migrate` and `tradewind migrate --plan`.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Server, tradewind};
use crate::{Ended, run};

fn migrate(data: &Path, arguments: &[&str]) -> Ended {
    let mut command = tradewind();
    run(command.arg("migrate").args(arguments).env("TRADEWIND_DATA", data))
}

/// All files with what is in them.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let contents = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    contents.collect()
}

fn statements(plan: &Value) -> Vec<&str> {
    let statements = plan["statements"].as_array().unwrap().iter();
    statements.map(|it| it.as_str().unwrap()).collect()
}

#[test]
fn a_plan_of_nothing_is_all_that_makes_the_stores_and_makes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let said = migrate(&data, &["--plan"]).done();
    assert!(said.starts_with("-- users at "), "{said}");
    assert!(said.contains("users.sqlite\nPRAGMA application_id = "), "{said}");
    let plans = migrate(&data, &["--plan", "--json"]).json();
    let plans = plans.as_array().unwrap();
    assert_eq!(plans.len(), 7, "{plans:#?}");
    assert!(!data.exists(), "the plan made a data directory");

    // Whoever gives it to a database shell has the stores.
    std::fs::create_dir(&data).unwrap();
    for plan in plans {
        let service = plan["service"].as_str().unwrap();
        let file = data.join(format!("{service}.sqlite"));
        assert_eq!(plan["place"], file.to_str().unwrap());
        let shell = Connection::open(&file).unwrap();
        shell.execute_batch(&statements(plan).join(";\n")).unwrap();
    }
    let given = contents(&data);
    let said = migrate(&data, &["--plan"]).done();
    assert!(said.lines().all(|line| line.ends_with(": up to date")), "{said}");
    assert_eq!(said.lines().count(), 7, "{said}");
    assert!(contents(&data) == given, "the plan changed something");
    migrate(&data, &[]).done();
}

#[test]
fn a_plan_has_what_is_missing_and_then_nothing() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    migrate(&data, &[]).done();
    let made = contents(&data);
    let plans = migrate(&data, &["--plan", "--json"]).json();
    let mut plans = plans.as_array().unwrap().iter();
    assert!(plans.all(|plan| plan["statements"] == json!([])), "{plans:#?}");
    assert!(contents(&data) == made, "the plan changed something");

    let orders = Connection::open(data.join("orders.sqlite")).unwrap();
    let index = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    let (name, sql): (String, String) = orders
        .query_row(index, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    orders.execute_batch(&format!("DROP INDEX {name}")).unwrap();
    let plans = migrate(&data, &["--plan", "--json"]).json();
    let missing: Vec<&str> = plans.as_array().unwrap().iter().flat_map(statements).collect();
    assert_eq!(missing, [sql]);
    migrate(&data, &[]).done();
    let said = migrate(&data, &["--plan"]).done();
    assert_eq!(said.matches(": up to date\n").count(), 7, "{said}");
}

#[test]
fn what_a_migration_refuses_its_plan_refuses_in_the_same_words() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    migrate(&data, &[]).done();
    let orders = Connection::open(data.join("orders.sqlite")).unwrap();
    let newer = "INSERT INTO migrations VALUES (99, 'something new', 'later')";
    orders.execute_batch(newer).unwrap();
    let planned = migrate(&data, &["--plan"]);
    planned.failed(&["store of orders", "form 99", "use a newer one"]);
    assert_eq!(planned.err(), migrate(&data, &[]).err());
    std::fs::write(data.join("users.sqlite"), "a shopping list ".repeat(100)).unwrap();
    let planned = migrate(&data, &["--plan"]);
    planned.failed(&["users.sqlite is not a Tradewind store"]);
    assert_eq!(planned.err(), migrate(&data, &[]).err());
}

#[tokio::test]
async fn a_plan_is_made_beside_a_running_shop_and_after_one_that_was_killed() {
    let mut server = Server::start().await;
    server.admin().await.product(10).await;
    let plan = |server: &Server| run(server.command().args(["migrate", "--plan"])).done();
    let said = plan(&server);
    assert_eq!(said.matches(": up to date\n").count(), 7, "{said}");
    server.admin().await.product(10).await;

    server.kill();
    let durable = |server: &Server| {
        let mut contents = contents(&server.data());
        // What is in the log; SQLite makes this index of it anew.
        contents.retain(|name, _| !name.ends_with("-shm"));
        contents
    };
    let left = durable(&server);
    assert!(left.keys().any(|name| name.ends_with("-wal")), "{:?}", left.keys());
    assert_eq!(plan(&server), said);
    assert!(durable(&server) == left, "the plan changed something");
    server.start_again().await;
}
