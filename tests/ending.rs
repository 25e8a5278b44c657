//! The real binary is ended and started in every way that an operator might. How it is killed is the crash harness's
//! (`crates/crash`).
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
mod customers;
mod settled;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::time::Duration;

use books::{Books, SERVICES};
use customers::{Dice, Load};
use serde_json::json;
use support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_end_loses_nothing_that_it_acknowledged() {
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut server = Server::start().await;
    let load = Load::start(&server.anonymous(), server.admin().await, &mut dice).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It checks that the exit code is 0.
        server.stop();
        server.start_again().await;
        load.goes_on_at(&server);
    }
    let told = load.end().await;
    settled::wait(&Books::of(&server)).await;
    told.assert_keys_answer_as_they_did(&server.anonymous()).await;
    server.stop();
    // Before anybody reads: a reader makes such files itself.
    for (service, _) in SERVICES {
        let log = server.data().join(format!("{service}.sqlite-wal"));
        assert!(!log.exists(), "{} was left behind", log.display());
    }
    let books = Books::of(&server);
    settled::assert_books_are_right(&books, &told);
    // A client that is asked to come back is no trouble of the server's.
    let log = server.log();
    let troubles: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" WARN ") && !line.contains("the request has to wait"))
        .collect();
    assert!(troubles.is_empty(), "{troubles:#?}");
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_process() {
    let mut server = Server::start().await;
    let in_use = |arguments: &[&str]| {
        let refused = server.command().args(arguments).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            refused.stdout.is_empty(),
            "{arguments:?} said something before it was refused"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        let data = server.data().canonicalize().unwrap();
        for part in [
            data.to_str().unwrap(),
            "in use by another tradewind process",
            "TRADEWIND_DATA",
        ] {
            assert!(said.contains(part), "{arguments:?} does not say {part:?}: {said}");
        }
    };
    let admin = [
        "admin",
        "create",
        "--email",
        "second@example.com",
        "--password",
        "long enough for an admin",
    ];
    for arguments in [
        &["serve"][..],
        &["migrate"],
        &["rebuild"],
        &["rebuild", "--service", "orders"],
        &admin,
    ] {
        in_use(arguments);
    }
    server.until_ready().await;
    let nobody = server.anonymous();
    nobody
        .post(
            "/api/login",
            json!({"email": "second@example.com", "password": admin[5]}),
        )
        .await
        .expect(401);
    // A killed process holds nothing.
    server.kill();
    for arguments in [&["migrate"][..], &["rebuild"], &admin] {
        let done = server.command().args(arguments).output().unwrap();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    server.start_again().await;
    server.anonymous().signed_in("second@example.com", admin[5]).await;
}
