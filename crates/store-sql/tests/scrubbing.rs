//! What is left in a store's files of what was deleted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::{Expect, Opened as _, Store};
use store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{batch, note, schema};
use uuid::Uuid;

const SECRET: &str = "nobody shall know";

/// The files of the store that hold the secret.
fn traces(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let bytes = std::fs::read(path).expect("the file is read");
            bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
        })
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_in_no_file_after_a_scrub_beside_reads_and_commits() {
    let directory = TempDir::new().expect("a directory for the test");
    let path = directory.path().join("store.db");
    let options = SqliteOptions::new(path, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    let store = Arc::new(SqliteStore::open(options).expect("the store opens"));

    let done = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            tokio::spawn(async move {
                let mut version = 0;
                while !done.load(Ordering::Relaxed) {
                    version += 1;
                    let commit = batch()
                        .by(name)
                        .event(name, version)
                        .put_note(name, "1", Expect::Any)
                        .build();
                    store.commit(commit).await.expect("it is committed");
                    store.tail(Position::START, 50).await.expect("the tail is read");
                }
            })
        })
        .into();

    for round in 0..20 {
        let secrets: Vec<String> = (0..50).map(|number| format!("{round}-{number}")).collect();
        let document = format!("{{\"text\":\"{SECRET}\"}}");
        let put = secrets
            .iter()
            .fold(batch(), |batch, id| batch.put_note(id, &document, Expect::Absent));
        store.commit(put.build()).await.expect("it is committed");
        assert!(!traces(directory.path()).is_empty(), "the search finds what is there");
        let overwrite = secrets
            .iter()
            .fold(batch(), |batch, id| batch.put_note(id, "{}", Expect::Version(1)));
        store.commit(overwrite.build()).await.expect("it is committed");
        store.scrub().await.expect("it is scrubbed");
        assert_eq!(traces(directory.path()), [""; 0], "in round {round}");
    }
    done.store(true, Ordering::Relaxed);
    for task in busy {
        task.await.expect("no commit fails");
    }
    assert!(store.get(&[note("0-0")]).await.expect("it is read")[0].is_some());
    store.close().await;
    store.scrub().await.expect_err("the store is closed");
}
