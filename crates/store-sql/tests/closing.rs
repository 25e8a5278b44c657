//! How a store ends: with everything in one file, and nothing lost that was queued.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::{CommitError, Opened as _, Query, Store};
use store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{NOTES, batch, note, schema};
use uuid::Uuid;

fn open(directory: &TempDir) -> Arc<SqliteStore> {
    let path = directory.path().join("store.db");
    let options = SqliteOptions::new(path, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    Arc::new(SqliteStore::open(options).expect("the store opens"))
}

fn files(directory: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path()).expect("the directory is there");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name in UTF-8")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_is_queued_and_refuses_what_comes_later() {
    let directory = TempDir::new().expect("a directory for the test");
    let store = open(&directory);
    let commits: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            let name = format!("w{number}");
            tokio::spawn(async move { store.commit(batch().by(&name).event(&name, 1).build()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await;

    let mut committed = 0;
    for outcome in join_all(commits).await {
        match outcome.expect("no commit panics") {
            Ok(_) => committed += 1,
            Err(error) => assert!(matches!(error, CommitError::Unavailable(_)), "{error}"),
        }
    }
    assert_eq!(files(&directory), ["store.db"], "the log is written back and gone");
    assert!(matches!(
        store.commit(batch().build()).await,
        Err(CommitError::Unavailable(_))
    ));
    store.get(&[note("n")]).await.expect_err("the store is closed");
    store.tail(Position::START, 1).await.expect_err("the store is closed");
    store.close().await;

    let head = open(&directory)
        .tail(Position::START, 0)
        .await
        .expect("the head is read")
        .head;
    assert_eq!(
        head.position,
        Position(committed),
        "what was acknowledged is there, and nothing else"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_store_leaves_one_file() {
    let directory = TempDir::new().expect("a directory for the test");
    let store = open(&directory);
    store
        .commit(batch().event("s", 1).build())
        .await
        .expect("nothing speaks against it");
    drop(store);
    assert_eq!(files(&directory), ["store.db"]);
}

/// The log is written back many times over while readers come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_with_what_is_written() {
    const DOCUMENT_BYTES: usize = 1 << 20;
    const ROUNDS: usize = 160;
    let directory = TempDir::new().expect("a directory for the test");
    let store = open(&directory);
    for round in 0..ROUNDS {
        let id = format!("n{}", round % 3);
        // Other bytes each time: SQLite does not write a page again that would not change.
        let filler = char::from(b'a' + u8::try_from(round % 26).expect("a small number"));
        let document = format!("\"{}\"", filler.to_string().repeat(DOCUMENT_BYTES));
        let draft = batch().put_note(&id, &document, kernel::store::Expect::Any);
        store.commit(draft.build()).await.expect("nothing speaks against it");
        store.query(&Query::all(&NOTES, 1)).await.expect("a reader beside it");
    }
    let log = std::fs::metadata(directory.path().join("store.db-wal"))
        .expect("the log is there")
        .len();
    let written = (ROUNDS * DOCUMENT_BYTES) as u64;
    assert!(log < written / 2, "{log} bytes of log after {written} were written");
}

/// Somebody's shell may keep the file open; what was deleted must not stay readable in the log because of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_empties_the_log_even_if_a_shell_has_the_file() {
    let directory = TempDir::new().expect("a directory for the test");
    let store = open(&directory);
    let draft = batch().put_note("n", "\"somebody@example.com\"", kernel::store::Expect::Any);
    store.commit(draft.build()).await.expect("nothing speaks against it");
    let shell = rusqlite::Connection::open(directory.path().join("store.db")).expect("the shell opens");
    let count: i64 = shell
        .query_row("SELECT count(*) FROM batches", [], |row| row.get(0))
        .expect("the shell reads");
    assert_eq!(count, 1);
    store.close().await;
    let log = std::fs::metadata(directory.path().join("store.db-wal"))
        .expect("the shell keeps the log")
        .len();
    assert_eq!(log, 0, "bytes are left in the log");
}
