//! `tradewind migrate --plan` on database servers.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use serde_json::Value;
use servers::{Fresh, Kind};
use support::tradewind;
use tempfile::TempDir;

/// What a command prints on all stores of one kind.
fn run(databases: &Fresh, directory: &TempDir, arguments: &[&str]) -> String {
    let mut command = tradewind();
    command.args(arguments).current_dir(directory.path());
    let ended = command.env("TRADEWIND_STORE", databases.url()).output().unwrap();
    let (out, said) = (String::from_utf8(ended.stdout).unwrap(), ended.stderr);
    let said = String::from_utf8_lossy(&said);
    assert_eq!(
        (ended.status.code(), &*said),
        (Some(0), ""),
        "{arguments:?} on {}",
        databases.url()
    );
    out
}

/// The statements for each service, without those in which each plan has an epoch and a time of its own.
fn plan(databases: &Fresh, directory: &TempDir) -> Vec<Vec<String>> {
    let printed = run(databases, directory, &["migrate", "--plan", "--json"]);
    let plans: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let plans = plans.iter().map(|plan| {
        let place = plan["place"].as_str().unwrap();
        assert!(place.contains("127.0.0.1:"), "{place}");
        let statements = plan["statements"].as_array().unwrap().iter();
        let statements = statements.map(|statement| statement.as_str().unwrap().to_owned());
        let own = ["INSERT INTO head", "INSERT INTO migrations", "findAndModify"];
        statements
            .filter(|it| !own.iter().any(|part| it.contains(part)))
            .collect()
    });
    plans.collect()
}

fn a_plan_makes_nothing_until_it_is_carried_out(kind: Kind, making: &str) {
    let (databases, directory) = (Fresh::new(kind).unwrap(), tempfile::tempdir().unwrap());
    let planned = plan(&databases, &directory);
    assert_eq!(planned.len(), 7);
    for statements in &planned {
        assert!(
            statements.iter().any(|it| it.contains(making)),
            "no {making}: {statements:#?}"
        );
    }
    // What it had made, the next one would leave out.
    assert_eq!(plan(&databases, &directory), planned);
    let entries = std::fs::read_dir(directory.path()).unwrap();
    assert_eq!(entries.count(), 0, "the plan made a data directory");

    run(&databases, &directory, &["migrate"]);
    assert_eq!(plan(&databases, &directory), [const { Vec::<String>::new() }; 7]);
    let said = run(&databases, &directory, &["migrate", "--plan"]);
    assert_eq!(said.matches(": up to date\n").count(), 7, "{said}");
}

#[test]
fn on_postgres_a_plan_makes_nothing_until_it_is_carried_out() {
    a_plan_makes_nothing_until_it_is_carried_out(Kind::Postgres, "CREATE SCHEMA");
}

#[test]
fn on_mariadb_a_plan_makes_nothing_until_it_is_carried_out() {
    a_plan_makes_nothing_until_it_is_carried_out(Kind::Mariadb, "CREATE DATABASE");
}

#[test]
fn on_mongodb_a_plan_makes_nothing_until_it_is_carried_out() {
    a_plan_makes_nothing_until_it_is_carried_out(Kind::Mongodb, "\"create\": \"journal\"");
}
