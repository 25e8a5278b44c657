//! A shop moves between its files and a database server, and is backed up on one and restored into it.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use servers::{Fresh, Kind};
use support::{Actor, Product, Server, tradewind};

/// The provider's own memory outlives ours: it is no part of a copy or a backup.
const LEDGER: &str = "payment-ledger.jsonl";
const SERVICES: usize = 7;
/// More than fit into one piece, so that a copy can be cut short in between.
const ORDERS: usize = 60;
/// Within this time a copy has begun, and may have ended.
const CUT_AFTER: Duration = Duration::from_millis(700);

/// What it printed, if it ended well.
fn done(command: &mut Command) -> Value {
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// What it said when it failed, in one line.
fn refused(command: &mut Command) -> String {
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.lines().count() == 1, "{said}");
    said
}

fn copy(data: &Path, from: &str, to: &str) -> Command {
    let mut command = tradewind();
    command.args(["copy", "--json", "--from", from, "--to", to]);
    command.env("TRADEWIND_DATA", data);
    command
}

async fn pays(customer: &Actor, product: &Product) -> String {
    let (order, _) = customer.paid_order(product, 1).await;
    customer.until_order(&order, "paid").await;
    order
}

async fn a_shop_outgrows_its_files_and_comes_back(kind: Kind) {
    let (databases, mistyped) = (Fresh::new(kind).unwrap(), Fresh::new(kind).unwrap());
    let place = tempfile::tempdir().unwrap();
    let files = |name: &str| format!("sqlite:{}", place.path().join(name).display());
    // Wherever all tests are to run, this shop begins in files.
    let settings = Server::settings().with("store", &files("before"));
    let mut server = settings.start().await;
    let (admin, customer) = (server.admin().await, server.customer().await);
    let product = admin.product(1000).await;
    let paid = pays(&customer, &product).await;
    for _ in 0..ORDERS {
        customer.place_order(&product, 1).await;
    }
    let elsewhere = place.path().join("another-data-directory");
    let outgrow = || copy(&elsewhere, &files("before"), &databases.url());
    assert!(refused(&mut outgrow()).contains("in use by another process"));
    server.stop();

    let mut cut = outgrow().spawn().unwrap();
    std::thread::sleep(CUT_AFTER);
    cut.kill().unwrap();
    cut.wait().unwrap();
    let copied = done(&mut outgrow());
    assert_eq!(copied.as_array().unwrap().len(), SERVICES, "{copied:#}");

    server.set_variable("TRADEWIND_STORE", &databases.url());
    server.start_again().await;
    let customer = customer.moved_to(&server);
    customer.until_order(&paid, "paid").await;
    let later = pays(&customer, &product).await;
    let back = || copy(&elsewhere, &databases.url(), &files("after"));
    let rebuild = || {
        let mut rebuild = server.command();
        rebuild.arg("rebuild").env("TRADEWIND_DATA", &elsewhere);
        rebuild
    };
    for command in [&mut back(), &mut rebuild()] {
        assert!(refused(command).contains("in use by a running tradewind"));
    }
    let nothing = refused(&mut copy(&elsewhere, &mistyped.url(), &files("after")));
    assert!(
        nothing.contains("there is no store of") && nothing.contains("check the URL"),
        "{nothing}"
    );
    server.stop();

    done(&mut back());
    server.set_variable("TRADEWIND_STORE", &files("after"));
    server.start_again().await;
    let customer = customer.moved_to(&server);
    for order in [&paid, &later] {
        customer.until_order(order, "paid").await;
    }
    pays(&customer, &product).await;
}

#[tokio::test]
async fn on_a_server_a_rebuild_brings_back_a_view_that_is_missing() {
    let databases = Fresh::new(Kind::Postgres).unwrap();
    let mut server = Server::settings().with("store", &databases.url()).start().await;
    let admin = server.admin().await;
    let product = admin.product(1000).await;
    server.stop();
    databases.tell("DROP TABLE catalog.products").unwrap();
    let said = refused(server.command().arg("serve"));
    assert!(
        said.contains("products is missing") && said.contains("tradewind rebuild"),
        "{said}"
    );
    done(server.command().args(["rebuild", "--json"]));
    server.start_again().await;
    server.anonymous().get(&product.path()).await.expect(200);
}

/// How many lanes of others' consumers are held for what they have seen of orders.
async fn held(server: &Server) -> u64 {
    let ready = server.anonymous().get("/readyz").await.expect(200);
    let consumers = ready.json["consumers"].as_object().unwrap().iter();
    consumers.map(|(_, it)| it["lanes_held"].as_u64().unwrap()).sum()
}

async fn a_backup_is_restored_and_what_has_seen_more_is_held(kind: Kind) {
    let (databases, again, another) = (
        Fresh::new(kind).unwrap(),
        Fresh::new(kind).unwrap(),
        Fresh::new(kind).unwrap(),
    );
    let mut server = Server::settings().with("store", &databases.url()).start().await;
    let (admin, customer) = (server.admin().await, server.customer().await);
    let product = admin.product(1000).await;
    let first = pays(&customer, &product).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    // The shop is running, and goes on.
    done(server.command().args(["backup", "--json", "--to"]).arg(&backup));
    for _ in 0..10 {
        pays(&customer, &product).await;
    }
    let mut restore = server.command();
    restore.args(["restore", "--json", "--from"]).arg(&backup);
    restore.env("TRADEWIND_DATA", place.path().join("data"));
    let of_orders = another.url_for("orders").unwrap();
    restore
        .args(["--service", "orders"])
        .env("TRADEWIND_ORDERS_STORE", &of_orders);
    assert!(refused(&mut restore).contains("in use by a running tradewind"));
    server.stop();

    // Orders alone from the backup: the others have seen more of it than there is.
    let restored = done(&mut restore);
    let beyond = restored["consumers"].as_array().unwrap().iter();
    let beyond: u64 = beyond.map(|it| it["beyond"].as_u64().unwrap()).sum();
    assert!(beyond > 0, "{restored:#}");
    server.set_variable("TRADEWIND_ORDERS_STORE", &of_orders);
    server.start_again().await;
    assert!(held(&server).await > 0);
    let log = server.log();
    assert!(log.contains("restore this service from the same backup"), "{log}");
    server.stop();

    // The remedy.
    let directory = tempfile::tempdir().unwrap();
    let mut restore = tradewind();
    restore.args(["restore", "--json", "--from"]).arg(&backup);
    let restore = restore.env("TRADEWIND_STORE", again.url());
    done(restore.env("TRADEWIND_DATA", directory.path().join("data")));
    std::fs::copy(server.data().join(LEDGER), directory.path().join("data").join(LEDGER)).unwrap();
    let server = Server::settings().with("store", &again.url()).start_in(directory).await;
    let customer = customer.moved_to(&server);
    customer.until_order(&first, "paid").await;
    customer.place_order(&product, 1).await;
    assert_eq!(held(&server).await, 0);
}

macro_rules! on {
    ($($kind:ident: $name:ident;)+) => {$(
        mod $name {
            #[tokio::test]
            async fn a_shop_outgrows_its_files_and_comes_back() {
                super::a_shop_outgrows_its_files_and_comes_back(super::Kind::$kind).await;
            }

            #[tokio::test]
            async fn a_backup_is_restored_and_what_has_seen_more_is_held() {
                super::a_backup_is_restored_and_what_has_seen_more_is_held(super::Kind::$kind).await;
            }
        }
    )+};
}

on! {
    Postgres: on_postgres;
    Mariadb: on_mariadb;
    Mongodb: on_mongodb;
}
