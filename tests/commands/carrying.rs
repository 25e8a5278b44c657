//! `tradewind backup`, `restore` and `copy`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run;
use crate::support::{Server, id_of, tradewind};

/// The provider's own memory outlives ours: it is no part of a backup.
const LEDGER: &str = "payment-ledger.jsonl";

const SERVICES: [&str; 7] = [
    "users",
    "catalog",
    "inventory",
    "orders",
    "payments",
    "notifications",
    "events",
];

/// What `tradewind restore` printed, given the directory that the data directory is to be in.
fn restore(backup: &Path, data: &Path, service: Option<&str>) -> Value {
    let mut command = tradewind();
    command.args(["restore", "--json", "--from"]).arg(backup);
    command.args(service.iter().flat_map(|service| ["--service", service]));
    run(command.env("TRADEWIND_DATA", data)).json()
}

/// How many lanes each consumer holds.
async fn held(server: &Server) -> Vec<(String, u64)> {
    let ready = server.anonymous().get("/readyz").await.expect(200);
    let consumers = ready.json["consumers"].as_object().unwrap().clone();
    let held = consumers
        .into_iter()
        .map(|(name, it)| (name, it["lanes_held"].as_u64().unwrap()));
    held.filter(|(_, lanes)| *lanes > 0).collect()
}

#[tokio::test]
async fn a_backup_of_a_busy_shop_is_a_shop() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.customer().await);
    let product = admin.product(1000).await;
    let (paid, _) = ada.paid_order(&product, 2).await;
    let busy = Arc::new(AtomicBool::new(true));
    let buying = {
        let (ada, busy, body) = (
            ada.clone(),
            Arc::clone(&busy),
            json!({"lines": [{"sku": product.sku, "quantity": 1}]}),
        );
        tokio::spawn(async move {
            while busy.load(Ordering::Relaxed) {
                ada.post("/api/orders", body.clone()).await.expect(201);
            }
        })
    };
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let mut command = server.command();
    command.args(["backup", "--json", "--to"]).arg(&backup);
    let manifest = tokio::task::spawn_blocking(move || run(&mut command).json())
        .await
        .unwrap();
    busy.store(false, Ordering::Relaxed);
    buying.await.unwrap();
    assert!(
        manifest["services"]["orders"]["events"].as_u64().unwrap() >= 4,
        "{manifest:#}"
    );

    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let restored = restore(&backup, &data, None);
    assert_eq!(restored["restored"].as_array().unwrap().len(), 7, "{restored:#}");
    let held_back = restored["consumers"].as_array().unwrap().iter();
    let beyond: u64 = held_back.map(|it| it["beyond"].as_u64().unwrap()).sum();
    assert_eq!(beyond, 0, "nobody has seen what is not there: {restored:#}");
    std::fs::copy(server.data().join(LEDGER), data.join(LEDGER)).unwrap();
    let again = Server::settings().start_in(directory).await;
    let (ada, admin) = (ada.moved_to(&again), admin.moved_to(&again));
    assert_eq!(ada.until_order(&paid, "paid").await["id"], *paid);
    let (order, _) = ada.paid_order(&product, 3).await;
    ada.until_order(&order, "paid").await;
    assert_eq!(held(&again).await, []);
    // Every piece is somewhere.
    let (_, reserved, available) = admin.stock(&product).await;
    let orders = admin.get("/api/orders?limit=100").await.expect(200);
    let open = orders
        .data()
        .iter()
        .filter(|order| order["status"] == "confirmed")
        .count();
    assert!(
        reserved >= open as u64 && available <= 995,
        "{reserved} reserved, {available} available, {open} open"
    );
}

#[tokio::test]
async fn a_service_from_an_older_backup_is_held_against_until_the_others_are_from_it_too() {
    let mut server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.customer().await);
    let product = admin.product(1000).await;
    let (first, _) = ada.paid_order(&product, 1).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    run(server.command().args(["backup", "--to"]).arg(&backup)).done();
    for _ in 0..20 {
        ada.paid_order(&product, 1).await;
    }
    server.stop();

    let data = server.data();
    remove(&data, "orders");
    let restored = restore(&backup, &data, Some("orders"));
    let beyond = restored["consumers"].as_array().unwrap().iter();
    let beyond: Vec<&str> = beyond
        .filter(|it| it["source"] == "orders" && it["beyond"].as_u64().unwrap() > 0)
        .map(|it| it["service"].as_str().unwrap())
        .collect();
    assert!(
        beyond.contains(&"inventory") && beyond.contains(&"payments"),
        "{restored:#}"
    );
    server.start_again().await;
    let lanes = held(&server).await;
    assert!(
        lanes
            .iter()
            .any(|(name, _)| name.starts_with("inventory.") && name.ends_with("/orders")),
        "{lanes:?}"
    );
    assert!(
        server.log().contains("restore this service from the same backup"),
        "{}",
        server.log()
    );
    server.stop();

    // The shop has been running, and orders has seen of the others what they will not hold either.
    for service in SERVICES {
        remove(&data, service);
        restore(&backup, &data, Some(service));
    }
    server.start_again().await;
    let ada = ada.moved_to(&server);
    ada.until_order(&first, "paid").await;
    let (order, _) = ada.paid_order(&product, 1).await;
    ada.until_order(&order, "paid").await;
    assert_eq!(held(&server).await, []);
}

fn remove(data: &Path, service: &str) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("{service}.sqlite{end}")));
    }
}

#[tokio::test]
async fn a_shop_is_copied_and_goes_on_where_it_is_now() {
    let mut server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.customer().await);
    let product = admin.product(10).await;
    let (paid, _) = ada.paid_order(&product, 1).await;
    let place = tempfile::tempdir().unwrap();
    let to = format!("sqlite:{}", place.path().join("elsewhere").display());
    let copy = |server: &Server| run(server.command().args(["copy", "--json", "--to", &to]));
    copy(&server).failed(&["in use by another tradewind process"]);

    server.stop();
    let copied = copy(&server).json();
    assert_eq!(copied.as_array().unwrap().len(), 7, "{copied:#}");
    // What is there already is compared once more.
    assert_eq!(copy(&server).json(), copied);
    for service in ["users", "orders"] {
        remove(&server.data(), service);
    }
    server.set_variable("TRADEWIND_STORE", &to);
    server.start_again().await;
    let ada = ada.moved_to(&server);
    assert_eq!(id_of(&ada.until_order(&paid, "paid").await), paid);
    let (order, _) = ada.paid_order(&product, 1).await;
    ada.until_order(&order, "paid").await;

    server.stop();
    let from = format!("sqlite:{}", server.data().display());
    let mut again = server.command();
    again
        .args(["copy", "--service", "inventory", "--from"])
        .arg(format!("{from}/inventory.sqlite"));
    again.args(["--to", &format!("{to}/inventory.sqlite")]);
    run(&mut again).failed(&["has data of inventory already"]);
}

/// Makes a store one that a command was killed before it called whole.
fn unfinished(data: &Path, service: &str, command: &str) {
    let connection = Connection::open(data.join(format!("{service}.sqlite"))).unwrap();
    let done = connection.execute("UPDATE head SET rebuilding = ?1", [json!([command]).to_string()]);
    assert_eq!(done.unwrap(), 1);
}

/// Kills a command once it has told of two services, which are whole then.
fn cut_after_two_services(command: &mut std::process::Command) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.take(2).map_while(Result::ok).count(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn what_is_cut_short_between_services_is_opened_by_nobody_and_goes_on() {
    let mut server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.customer().await);
    let product = admin.product(10).await;
    let (paid, _) = ada.paid_order(&product, 1).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    run(server.command().args(["backup", "--to"]).arg(&backup)).done();
    server.stop();

    let (copied, restored) = (place.path().join("copied"), place.path().join("restored"));
    let mut copy = server.command();
    copy.args(["copy", "--to", &format!("sqlite:{}", copied.display())]);
    let mut restore = tradewind();
    restore
        .args(["restore", "--from"])
        .arg(&backup)
        .env("TRADEWIND_DATA", &restored);
    for (name, command, data) in [("copy", &mut copy, &copied), ("restore", &mut restore, &restored)] {
        cut_after_two_services(command);
        let refusal = format!("`tradewind {name}` was not finished here");
        let migrate = || run(tradewind().arg("migrate").env("TRADEWIND_DATA", data));
        migrate().failed(&[&refusal]);
        run(command.stderr(Stdio::piped())).done();
        migrate().done();

        // Killed at the end, when some were called whole already; or all were, and nobody was told.
        for cut in [&["orders", "events"][..], &SERVICES, &[]] {
            cut.iter().for_each(|service| unfinished(data, service, name));
            run(command).done();
            migrate().done();
        }
    }
    std::fs::copy(server.data().join(LEDGER), copied.join(LEDGER)).unwrap();
    for data in [&copied, &restored] {
        server.set_variable("TRADEWIND_STORE", &format!("sqlite:{}", data.display()));
        server.start_again().await;
        let ada = ada.moved_to(&server);
        ada.until_order(&paid, "paid").await;
        let order = ada.confirmed_order(&product, 1).await;
        ada.until_order(&order, "confirmed").await;
        assert_eq!(held(&server).await, [], "{}", data.display());
        server.stop();
    }

    // What was used since is no copy any more, and what was restored is the shop's.
    run(&mut copy).failed(&["has data of"]);
    run(&mut restore).failed(&["has data of"]);
}

#[test]
fn a_password_in_an_argument_that_is_no_url_is_not_repeated() {
    for url in [
        "oracle://ada:sesame@host/shop",
        "postgres://ada:sesame@host",
        "mysql://ada:sesame@host/a@b",
    ] {
        for arguments in [["copy", "--to", url], ["bench", "--store", url]] {
            let (mut command, _directory) = crate::in_an_empty_directory(&arguments);
            let ended = run(&mut command);
            let said = ended.err();
            assert!(!ended.0.status.success() && !said.contains("sesame"), "{said}");
            assert!(said.contains(arguments[1]), "{said}");
        }
    }
}

#[tokio::test]
async fn a_backup_that_is_damaged_is_not_restored() {
    let server = Server::start().await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    run(server.command().args(["backup", "--to"]).arg(&backup)).done();
    run(server.command().args(["backup", "--to"]).arg(&backup)).failed(&["is there already"]);

    let file = backup.join("users.jsonl.gz");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let data = place.path().join("data");
    let mut command = tradewind();
    command
        .args(["restore", "--from"])
        .arg(&backup)
        .env("TRADEWIND_DATA", &data);
    run(&mut command).failed(&["users.jsonl.gz is damaged"]);
    // What was begun is opened by nobody, and gone on with once the backup is whole.
    run(tradewind().arg("migrate").env("TRADEWIND_DATA", &data)).failed(&["`tradewind restore` was not finished here"]);
    std::fs::write(&file, bytes).unwrap();
    run(&mut command).done();
    run(tradewind().arg("migrate").env("TRADEWIND_DATA", &data)).done();
}
