//! A server that is killed, and a client that is: nothing that was acknowledged is lost, nothing is doubled, and what is
//! left behind does not stand in the way (P1, P2).

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::{CommitError, Expect, Store};
use mongodb::Client;
use mongodb::options::ClientOptions;
use servers::{Kind, Server};
use store_mongodb::{MongodbOptions, MongodbStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{batch, everything, get, note, schema};
use testkit::store_suite::journal::assert_whole;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

const WRITERS: usize = 3;
/// How long the server is let run before each kill, and how long it stays away: once for longer than any commit is repeated, so
/// that each writer has one that fails.
const KILLS: [(Duration, Duration); 4] = [
    (Duration::from_millis(700), Duration::ZERO),
    (Duration::from_millis(1503), Duration::from_secs(17)),
    (Duration::from_millis(331), Duration::from_secs(1)),
    (Duration::from_millis(2011), Duration::ZERO),
];
/// What a call takes at most that the server does not answer.
const CALL_MAX: Duration = Duration::from_secs(30);

async fn open(url: &str, database: &str) -> Arc<dyn Store> {
    let options = MongodbOptions::new(url, database, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    let opened = MongodbStore::open(options.expect("the server has a URL")).await;
    Arc::new(opened.expect("the store opens"))
}

/// Commits batch after batch, each as often as it takes; gives how many were acknowledged, and how often the store said
/// that it could not tell or was not there.
async fn write(store: Arc<dyn Store>, name: String, mut stop: watch::Receiver<bool>) -> (u64, u64) {
    let (mut rounds, mut failures) = (0, 0);
    while !*stop.borrow_and_update() {
        let round = rounds + 1;
        let seen = match rounds {
            0 => Expect::Absent,
            version => Expect::Version(version),
        };
        let sent = batch().by(&name).event(&name, 2 * round - 1).event(&name, 2 * round);
        let sent = sent.put_note(&name, &round.to_string(), seen).build();
        loop {
            let committed = timeout(CALL_MAX, store.commit(Arc::clone(&sent))).await;
            match committed.expect("a commit ends in time, whatever the server does") {
                Ok(_) => break,
                Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) => failures += 1,
                Err(error) => panic!("{name}, round {round}: {error}"),
            }
        }
        rounds = round;
    }
    (rounds, failures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_and_is_found_again() {
    let directory = TempDir::new().expect("a directory for the test");
    let mut server = Server::start(Kind::Mongodb, directory.path()).expect("a server starts");
    let store = open(&server.url(), "outage").await;
    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(write(Arc::clone(&store), format!("w{number}"), stopped.clone()));
    }
    for (before, away) in KILLS {
        sleep(before).await;
        server.kill().expect("the server runs");
        sleep(away).await;
        server = tokio::task::spawn_blocking(move || {
            server.start_again().expect("the server starts again");
            server
        })
        .await
        .expect("it ends well");
    }
    sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);

    let outcomes = writers.join_all().await;
    let (rounds, failures): (u64, u64) = outcomes.iter().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    assert!(failures > 0, "the kills disturbed nobody");
    assert!(rounds > 20, "{rounds} batches are few");
    let found = everything(&store).await;
    assert_eq!(
        found.head.position.0,
        2 * rounds,
        "a batch is missing, or is there twice"
    );
    let tail = store.tail(Position::START, usize::MAX).await.expect("the tail is read");
    assert_whole(&tail.head, &tail.events);
    let mut noted = 0;
    for number in 0..WRITERS {
        let note = get(&store, note(&format!("w{number}"))).await.expect("it was put");
        assert_eq!(*note.document, *note.version.to_string());
        noted += note.version;
    }
    assert_eq!(noted, rounds);
}

#[tokio::test]
async fn calls_to_a_server_that_is_away_end_soon() {
    let directory = TempDir::new().expect("a directory for the test");
    let mut server = Server::start(Kind::Mongodb, directory.path()).expect("a server starts");
    let store = open(&server.url(), "away").await;
    batch().event("s", 1).commit(&store).await;
    server.kill().expect("the server runs");
    for _ in 0..2 {
        let committed = timeout(Duration::from_secs(10), store.commit(batch().event("s", 2).build())).await;
        let committed = committed.expect("a commit ends in time");
        assert!(matches!(committed, Err(CommitError::Unavailable(_))), "{committed:?}");
        let read = timeout(Duration::from_secs(10), store.tail(Position::START, 1)).await;
        read.expect("a read ends in time").expect_err("the server is away");
    }
    server.start_again().expect("the server starts again");
    let committed = batch().event("s", 2).commit_patiently(&store).await;
    assert_eq!(committed.expect("nobody else writes").last, Position(2));
}

/// A process that is killed between two statements leaves its transaction open, and with it the head.
#[tokio::test]
async fn a_transaction_whose_client_has_gone_does_not_keep_the_head() {
    let (url, database) = (Kind::Mongodb.shared(), servers::unique_name());
    let store = open(&url, &database).await;
    let mut options = ClientOptions::parse(&url).await.expect("the server has a URL");
    options.app_name = Some(format!("tradewind {database}"));
    let client = Client::with_options(options).expect("the options are right");
    let mut session = client.start_session().await.expect("the server is there");
    session.start_transaction().await.expect("the server has transactions");
    let heads = client.database(&database).collection::<Document>("head");
    let taken = heads.update_one(doc! {}, doc! { "$inc": { "taken": 1_i64 } });
    taken.session(&mut session).await.expect("nobody has the head");
    // As a killed process does: says nothing more, and does not roll back.
    std::mem::forget(session);

    // One commit alone waits long enough: a shop that is started again after a kill makes some, and ends if they fail.
    let committed = store.commit(batch().event("s", 1).build()).await;
    assert_eq!(
        committed.expect("the head is free again before it gives up").last,
        Position(1)
    );
}
