//! Commits that met another transaction, or were lost on the way, and are written once all the same.

use std::sync::Arc;

use kernel::event::Position;
use kernel::store::{CommitError, Expect};
use servers::{Kind, Proxy};
use testkit::store_suite::StoreFactory as _;
use testkit::store_suite::fixture::{batch, get, note};

use crate::shell::{Shell, waiting};
use crate::{Url, start, through};

/// A person's transaction that has a document and then wants the head, where a commit has the head and wants the document.
async fn deadlock(kind: Kind) {
    let factory = Url(kind, servers::unique_name(), kind.shared());
    let store = factory.open().await;
    batch().put_note("n", "{}", Expect::Absent).commit(&store).await;
    let mut person = Shell::on(&kind.shared(), kind, &factory.1).await;
    let mut onlooker = Shell::on(&kind.shared(), kind, &factory.1).await;
    // It has changed more than the commit has, so that it is the commit that is rolled back.
    person.run("BEGIN").await;
    person.run("UPDATE \"order\" SET doc = '1'").await;
    for number in 0..20 {
        let insert = format!("INSERT INTO \"order\" (id, version, doc) VALUES ('of-person-{number}', 1, '{{}}')");
        person.run(&insert).await;
    }
    let committing = batch().event("s", 1).put_note("n", "2", Expect::Version(1)).build();
    let commit = tokio::spawn({
        let (store, committing) = (Arc::clone(&store), Arc::clone(&committing));
        async move { store.commit(committing).await }
    });
    onlooker.wait_for(1, waiting(kind)).await;
    person.run("SELECT * FROM head FOR UPDATE").await;
    person.run("COMMIT").await;
    let committed = commit.await.expect("it does not panic");
    assert!(committed.is_ok(), "{committed:?}");
    let stored = get(&store, note("n")).await.expect("it is there");
    assert_eq!((stored.version, &*stored.document), (2, "2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_postgres_rolls_back_for_a_deadlock_is_written_again() {
    deadlock(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_mariadb_rolls_back_for_a_deadlock_is_written_again() {
    deadlock(Kind::Mariadb).await;
}

/// What holds a COMMIT up on the server, what a client says to commit, how many transactions wait when the same batch has come
/// again, and what lets them go on.
struct Hold {
    begin: &'static str,
    commit: &'static str,
    waiting: i64,
    end: &'static str,
}

/// By a check that is put off until the end of the transaction, and waits for this session.
const HOLD_POSTGRES: Hold = Hold {
    begin: "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext(TG_TABLE_SCHEMA)); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE ON batches
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
            SELECT pg_advisory_lock(hashtext(current_schema()))",
    commit: "COMMIT\0",
    waiting: 2,
    end: "SELECT pg_advisory_unlock_all()",
};
/// As a backup does, for the whole server.
const HOLD_MARIADB: Hold = Hold {
    begin: "BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT",
    commit: "\u{3}COMMIT",
    waiting: 1,
    end: "BACKUP STAGE END",
};

/// A client that is cut off while the server is still committing commits the same batch again: it waits for the lost transaction,
/// and must see what that has left.
async fn cut_off(kind: Kind, server: &str, hold: Hold) {
    let proxy = Proxy::before(server).expect("the server has an address");
    let factory = through(&proxy, kind);
    let store = factory.open().await;
    batch()
        .event("s", 1)
        .put_note("n", "1", Expect::Absent)
        .commit(&store)
        .await;
    let mut holder = Shell::on(server, kind, &factory.1).await;
    let mut onlooker = Shell::on(server, kind, &factory.1).await;
    holder.run(hold.begin).await;

    let sent = batch().event("s", 2).put_note("n", "2", Expect::Version(1)).build();
    proxy.cut_at(hold.commit);
    let lost = store.commit(Arc::clone(&sent)).await;
    assert!(matches!(lost, Err(CommitError::Unknown(_))), "{lost:?}");
    assert!(!proxy.is_to_cut());
    let again = tokio::spawn({
        let (store, sent) = (Arc::clone(&store), Arc::clone(&sent));
        async move { store.commit(sent).await }
    });
    onlooker.wait_for(hold.waiting, waiting(kind)).await;
    holder.run(hold.end).await;
    let settled = again.await.expect("it does not panic");
    let settled = settled.expect("the lost transaction was committed");
    assert_eq!(settled.last, Position(2));
    assert_eq!(store.commit(sent).await.expect("it was committed"), settled);
    let tail = store.tail(Position::START, 10).await.expect("the tail is read");
    assert_eq!((tail.head.position, tail.events.len()), (Position(2), 2));
    let stored = get(&store, note("n")).await.expect("it is there");
    assert_eq!((stored.version, &*stored.document), (2, "2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_was_lost_in_postgres_is_settled_by_its_batch_id() {
    cut_off(Kind::Postgres, &Kind::Postgres.shared(), HOLD_POSTGRES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_was_lost_in_mariadb_is_settled_by_its_batch_id() {
    let (_directory, server) = start(Kind::Mariadb);
    cut_off(Kind::Mariadb, &server.url(), HOLD_MARIADB).await;
}
