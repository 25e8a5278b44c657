//! The real binary is killed under load, over and over, and ended and started in every way that an operator might [P1, P2,
//! P4, P6, P7, P8, P10, P11].
//!
//! `TRADEWIND_CRASH_ROUNDS` says how often it is killed, `TRADEWIND_CRASH_SEED` what the customers do.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
#[path = "crash/customers.rs"]
mod customers;
#[path = "crash/settled.rs"]
mod settled;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::time::Duration;

use books::{Books, SERVICES};
use customers::{Dice, Load};
use serde_json::json;
use support::Server;
use testkit::books::{
    assert_consumers_account_for_everything, assert_each_step_was_told_once, assert_journals_are_sound,
    assert_money_adds_up, assert_stock_adds_up, assert_the_log_is_complete,
};

/// How often the binary is killed unless the environment says.
const ROUNDS: u32 = 5;
/// How long it runs at least, and at most, before it is killed.
const LIFETIME_MS: (u64, u64) = (300, 2500);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value.parse().unwrap_or_else(|_| panic!("{name} is no number"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_however_often_the_process_is_killed() {
    let seed = setting("TRADEWIND_CRASH_SEED", u64::from(std::process::id()));
    println!("TRADEWIND_CRASH_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut server = Server::start().await;
    let load = Load::start(&server, &mut dice).await;
    for _ in 0..setting("TRADEWIND_CRASH_ROUNDS", ROUNDS.into()) {
        tokio::time::sleep(Duration::from_millis(dice.between(LIFETIME_MS.0, LIFETIME_MS.1))).await;
        server.kill();
        server.start_again().await;
        load.goes_on_at(&server);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = load.end().await;
    println!("{told}");
    told.assert_the_load_was_one();
    settled::wait(&server).await;
    told.assert_keys_answer_as_they_did(&server).await;
    server.stop();
    let books = Books::of(&server.data());
    assert_journals_are_sound(&books);
    assert_consumers_account_for_everything(&books);
    assert_the_log_is_complete(&books);
    settled::assert_orders_are_as_acknowledged(&books, &told);
    assert_stock_adds_up(&books, &told.received);
    assert_money_adds_up(&books);
    assert_each_step_was_told_once(&books);
    books::assert_views_equal_the_fold(&server.data(), server.command());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_end_loses_nothing_that_it_acknowledged() {
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut server = Server::start().await;
    let load = Load::start(&server, &mut dice).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It checks that the exit code is 0.
        server.stop();
        server.start_again().await;
        load.goes_on_at(&server);
    }
    let told = load.end().await;
    settled::wait(&server).await;
    server.stop();
    // Before anybody reads: a reader makes such files itself.
    for (service, _) in SERVICES {
        let log = server.data().join(format!("{service}.sqlite-wal"));
        assert!(!log.exists(), "{} was left behind", log.display());
    }
    let books = Books::of(&server.data());
    settled::assert_orders_are_as_acknowledged(&books, &told);
    assert_stock_adds_up(&books, &told.received);
    assert_money_adds_up(&books);
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
