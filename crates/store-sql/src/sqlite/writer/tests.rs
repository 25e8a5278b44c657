//! What the contract suite cannot bring about from outside: a database that fails.

use std::sync::Arc;

use jiff::Timestamp;
use kernel::event::{Position, Recorded};
use kernel::store::{Batch, CommitError, Expect};
use tempfile::TempDir;
use testkit::store_suite::fixture::{batch, note, schema};
use uuid::Uuid;

use super::Writer;
use crate::sqlite::latest::Latest;
use crate::sqlite::{SqliteOptions, journal, open, readers};

fn connection(directory: &TempDir) -> rusqlite::Connection {
    let path = directory.path().join("store.db");
    open::writer(&SqliteOptions::new(
        path,
        schema(),
        Uuid::from_u128(1),
        Timestamp::UNIX_EPOCH,
    ))
    .expect("it opens")
}

fn large() -> Arc<Batch> {
    let document = format!("\"{}\"", "x".repeat(1 << 20));
    batch()
        .event("s", 1)
        .put_note("small", "{}", Expect::Any)
        .put_note("large", &document, Expect::Any)
        .build()
}

fn count(connection: &rusqlite::Connection, table: &str) -> u64 {
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        .expect("the table is read")
}

#[test]
fn a_full_disk_refuses_the_batch_for_now_and_writes_nothing_of_it() {
    let directory = TempDir::new().expect("a directory for the test");
    let connection = connection(&directory);
    let latest = Latest::default();
    let mut writer = Writer::new(&connection, &schema(), &latest).expect("the statements are prepared");
    let pages: i64 = connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .expect("pages are counted");
    connection
        .pragma_update(None, "max_page_count", pages + 2)
        .expect("the limit is set");

    let large = large();
    for _ in 0..2 {
        let refused = writer.commit(&large);
        assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
        assert!(connection.is_autocommit(), "the transaction was left open");
        assert_eq!(
            count(&connection, "journal") + count(&connection, "\"order\"") + count(&connection, "batches"),
            0
        );
    }

    // The disk is made larger: the same batch gets the position that it gave back.
    connection
        .pragma_update(None, "max_page_count", i64::from(u32::MAX) - 1)
        .expect("the limit is lifted");
    assert_eq!(writer.commit(&large).expect("there is room").last, Position(1));
}

#[test]
fn a_failed_commit_is_unknown_until_the_batch_is_sent_again() {
    let directory = TempDir::new().expect("a directory for the test");
    let connection = connection(&directory);
    // A deferred constraint is checked by COMMIT itself: the one way to make just that fail.
    let trap = "PRAGMA foreign_keys = ON;
        CREATE TABLE trap (missing TEXT REFERENCES \"order\" (id) DEFERRABLE INITIALLY DEFERRED);
        CREATE TRIGGER spring AFTER INSERT ON journal BEGIN INSERT INTO trap VALUES ('nothing'); END;";
    connection.execute_batch(trap).expect("the trap is set");
    let latest = Latest::default();
    let mut writer = Writer::new(&connection, &schema(), &latest).expect("the statements are prepared");

    let sent = large();
    let outcome = writer.commit(&sent);
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    assert!(connection.is_autocommit(), "the transaction was left open");

    connection
        .execute_batch("DROP TRIGGER spring")
        .expect("the trap is taken away");
    let first = writer.commit(&sent).expect("nothing speaks against it");
    assert_eq!(first.last, Position(1));
    assert_eq!(writer.commit(&sent).expect("it was committed"), first);
    assert_eq!(count(&connection, "journal"), 1);
}

#[test]
fn a_shell_that_holds_the_file_makes_the_store_unavailable_and_no_more() {
    let directory = TempDir::new().expect("a directory for the test");
    let mut ours = connection(&directory);
    ours.busy_timeout(std::time::Duration::from_millis(20))
        .expect("a shorter patience");
    let shell = connection(&directory);
    shell
        .execute_batch("BEGIN IMMEDIATE")
        .expect("the shell takes the file");
    let latest = Latest::default();
    let mut writer = Writer::new(&ours, &schema(), &latest).expect("the statements are prepared");
    let sent = batch().event("s", 1).put_note("n", "{}", Expect::Absent).build();
    let refused = writer.commit(&sent);
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    shell.execute_batch("ROLLBACK").expect("the shell lets go");
    writer.commit(&sent).expect("the file is free");
    drop(writer);
    assert!(readers::get(&mut ours, &[note("n")]).expect("the note is read")[0].is_some());
}

#[test]
fn what_is_remembered_of_the_journal_is_what_is_in_the_file() {
    let directory = TempDir::new().expect("a directory for the test");
    let ours = connection(&directory);
    let mut reader = open::reader(&directory.path().join("store.db")).expect("it opens");
    let latest = Latest::default();
    let mut writer = Writer::new(&ours, &schema(), &latest).expect("the statements are prepared");
    assert!(latest.tail(Position::START, 1).is_none(), "nothing is known yet");
    let mut version = 0;
    for round in 0..80 {
        // Some are large, some batches have no event, and some fail.
        let mut sent = batch().put_note("n", "{}", Expect::Any);
        for _ in 0..round % 40 {
            version += 1;
            sent = sent.event("s", version);
        }
        writer.commit(&sent.build()).expect("it is committed");
        let refused = writer.commit(&batch().event("s", version + 9).build());
        assert!(matches!(refused, Err(CommitError::Conflict(_))), "{refused:?}");
        for (behind, limit) in [(0, 5), (1, 0), (1, 5), (7, 3), (500, usize::MAX), (2000, 10)] {
            let after = Position(version.saturating_sub(behind));
            let Some(remembered) = latest.tail(after, limit) else {
                assert!(behind > 100, "{behind} events are few");
                continue;
            };
            let read = journal::tail(&mut reader, after, limit).expect("it is read");
            assert_eq!(remembered.head, read.head);
            assert_eq!(positions(&remembered.events), positions(&read.events));
            assert_eq!(
                serde_json::to_string(&remembered.events).expect("events are JSON"),
                serde_json::to_string(&read.events).expect("events are JSON")
            );
        }
    }
    assert!(version > 1024, "more than is remembered");
    assert!(latest.tail(Position::START, 1).is_none());
    assert!(
        latest
            .tail(Position(version + 5), 1)
            .expect("the end is known")
            .events
            .is_empty()
    );
}

fn positions(events: &[Recorded]) -> Vec<Position> {
    events.iter().map(|event| event.position).collect()
}
