//! Databases that cannot be used: a shop does not start on them, and says why and what to do in one line.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::fs::{Permissions, set_permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use servers::{BareMongod, Fresh, GUARDED_USER, Kind, Server as Database};
use support::{Server, tradewind};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long it may take until it has said so.
const REFUSED_MAX: Duration = Duration::from_secs(10);
const SECRET: &str = "swordfish-of-the-operator";

/// Panics unless `serve` with this store fails soon, with one line that says all of this and no password.
async fn refused(setting: &str, url: &str, parts: &[&str]) {
    refusal(&["serve"], setting, url, parts).await;
}

/// Panics unless `migrate` fails so, too, and its plan in the same words.
async fn not_migrated(setting: &str, url: &str, parts: &[&str]) {
    let said = refusal(&["migrate"], setting, url, parts).await;
    let planned = refusal(&["migrate", "--plan"], setting, url, parts).await;
    assert_eq!(planned, said);
}

/// What a command says that fails so.
async fn refusal(arguments: &[&str], setting: &str, url: &str, parts: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::from(tradewind());
    command
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command.env("TRADEWIND_LISTEN", "127.0.0.1:0").env(setting, url);
    let began = Instant::now();
    let ended = tokio::time::timeout(REFUSED_MAX * 2, command.output()).await;
    let ended = ended.expect("it ends").unwrap();
    let (out, said) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert_eq!((ended.status.code(), &*out), (Some(1), ""), "{url}: {said}");
    assert!(
        said.starts_with("error: ") && said.lines().count() == 1,
        "{url}: {said}"
    );
    for part in parts {
        assert!(said.contains(part), "{url}: it does not say {part:?}: {said}");
    }
    assert!(!said.contains(SECRET), "{said}");
    assert!(
        began.elapsed() < REFUSED_MAX,
        "{url}: after {:?}: {said}",
        began.elapsed()
    );
    said.into_owned()
}

/// Its `host:port`.
fn address(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    let (authority, _) = rest.split_once('/').unwrap();
    authority.rsplit_once('@').map_or(authority, |(_, address)| address)
}

fn url(kind: Kind, authority: &str, database: &str) -> String {
    let scheme = match kind {
        Kind::Mariadb => "mysql",
        other => other.as_str(),
    };
    format!("{scheme}://{authority}/{database}")
}

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    // A server runs as a user of its own.
    set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_wrong_and_not_shown() {
    let directory = directory();
    let postgres = Database::start(Kind::Postgres, &directory.path().join("postgres")).unwrap();
    let (mariadb, mongodb) = (Kind::Mariadb.shared(), Kind::Mongodb.shared());
    for (kind, user, server) in [
        (Kind::Postgres, GUARDED_USER, postgres.url()),
        (Kind::Mariadb, "root", mariadb),
        (Kind::Mongodb, "nobody", mongodb),
    ] {
        let address = address(&server);
        let url = url(kind, &format!("{user}:{SECRET}@{address}"), "shop");
        let parts = [address, "does not let this user in", "check the user", "password"];
        refused("TRADEWIND_STORE", &url, &parts).await;
        not_migrated("TRADEWIND_STORE", &url, &parts).await;
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_with_how_to_make_it() {
    let postgres = Kind::Postgres.shared();
    let address = address(&postgres);
    let missing = url(Kind::Postgres, &format!("postgres@{address}"), "no_such_shop");
    let parts = [address, "CREATE DATABASE", "no_such_shop"];
    refused("TRADEWIND_STORE", &missing, &parts).await;
    not_migrated("TRADEWIND_STORE", &missing, &parts).await;
    // Those of all services are made; one that is named for a service has to be there.
    let mariadb = Kind::Mariadb.shared();
    let address = self::address(&mariadb);
    let missing = url(Kind::Mariadb, &format!("root@{address}"), "no_such_users");
    let parts = [address, "users", "CREATE DATABASE", "no_such_users"];
    refused("TRADEWIND_USERS_STORE", &missing, &parts).await;
    not_migrated("TRADEWIND_USERS_STORE", &missing, &parts).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_soon_given_up() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [free, silent.local_addr().unwrap()].map(|address| address.to_string()) {
        for &kind in Kind::DATABASES {
            let url = url(kind, &format!("somebody:{SECRET}@{address}"), "shop");
            refused("TRADEWIND_STORE", &url, &[&address, "answers at", "check that it runs"]).await;
        }
    }
}

#[tokio::test]
async fn a_mongodb_without_transactions_is_refused_with_how_to_have_them() {
    let directory = directory();
    let server = BareMongod::start(directory.path(), &[]).unwrap();
    let url = url(Kind::Mongodb, &server.address(), "shop");
    refused(
        "TRADEWIND_STORE",
        &url,
        &[&server.address(), "standalone", "--replSet", "rs.initiate()"],
    )
    .await;
}

#[test]
fn one_database_under_two_names_of_its_host_is_not_shared_by_two_services() {
    for kind in [Kind::Mariadb, Kind::Mongodb] {
        let databases = Fresh::new(kind).unwrap();
        let (url, directory) = (databases.url_for("one").unwrap(), directory());
        let renamed = url.replace("127.0.0.1", "localhost");
        assert_ne!(url, renamed);
        let mut command = tradewind();
        command.arg("serve").current_dir(directory.path()).stdin(Stdio::null());
        command.env("TRADEWIND_LISTEN", "127.0.0.1:0");
        command.env("TRADEWIND_ORDERS_STORE", url);
        command.env("TRADEWIND_USERS_STORE", renamed);
        let ended = command.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success());
        assert!(
            said.contains("its store is that of users") && said.contains("give orders a store of its own"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_replica_of_payments_without_the_ledger_of_the_others_is_refused() {
    let databases = Fresh::new(Kind::Postgres).unwrap();
    let mut first = Server::settings().with("store", &databases.url()).start().await;
    let ledger = first.data().join("payment-ledger.jsonl");
    let parts = ["payments", ledger.to_str().unwrap(), "TRADEWIND_SIMULATED_LEDGER"];
    refused("TRADEWIND_STORE", &databases.url(), &parts).await;

    // It has left nothing behind for which others would wait.
    first.stop();
    refused("TRADEWIND_STORE", &databases.url(), &parts).await;
    let began = Instant::now();
    let rebuilt = first.command().arg("rebuild").output().unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert!(began.elapsed() < REFUSED_MAX, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_url_of_a_database_is_refused_with_one_that_is() {
    let wrong: [(&str, &[&str]); 5] = [
        (
            "oracle://somebody:{}@host/shop",
            &["no driver for oracle", "postgres://", "mongodb://"],
        ),
        ("shop.db", &["is no URL", "sqlite:PATH"]),
        (
            "postgres://somebody:{}@host",
            &["names no database", "host:port/database"],
        ),
        (
            "mysql://somebody:{}@host:many/shop",
            &["the URL of MySQL is wrong", "mysql://user:password@host"],
        ),
        (
            "postgres://somebody:{}@host:many/shop",
            &["the URL of PostgreSQL is wrong", "postgres://user:password@host"],
        ),
    ];
    for (url, parts) in wrong {
        refused("TRADEWIND_STORE", &url.replace("{}", SECRET), parts).await;
    }
}
