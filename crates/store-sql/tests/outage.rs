//! The adapters over a network against a server that is killed with SIGKILL (P1, P2), and one whose network fails.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::event::{Position, StreamId};
use kernel::store::{CommitError, Expect, Query, Store};
use servers::{Kind, Proxy, Server};
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use store_sql::{MysqlOptions, MysqlStore, PostgresOptions, PostgresStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{THINGS, batch, get, note};
use testkit::store_suite::outage::what_was_acknowledged_survives_a_killed_server;
use testkit::store_suite::{OBLIGATION_TIME_MAX, StoreFactory, fixture, outage};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

/// Of a server, by the name of the store and its URL.
struct Url(Kind, String, String);

#[async_trait]
impl StoreFactory for Url {
    async fn open(&self) -> Arc<dyn Store> {
        let Self(kind, name, url) = self;
        let (schema, epoch, now) = (fixture::schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        if *kind == Kind::Postgres {
            let options = PostgresOptions::new(url, name, schema, epoch, now).expect("the server has a URL");
            return Arc::new(PostgresStore::open(options).await.expect("the store opens"));
        }
        let options = MysqlOptions::new(url, name, schema, epoch, now).expect("the server has a URL");
        Arc::new(MysqlStore::open(options).await.expect("the store opens"))
    }
}

struct Victim(Server);

impl outage::Server for Victim {
    fn kill(&mut self) {
        self.0.kill().expect("the server runs");
    }

    fn start_again(&mut self) {
        self.0.start_again().expect("the server recovers");
    }
}

fn start(kind: Kind) -> (TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory for the test");
    // The servers run as users of their own.
    set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("the directory is ours");
    let server = Server::start(kind, &directory.path().join("server")).expect("the server starts");
    (directory, server)
}

async fn kill(kind: Kind) {
    let (_directory, server) = start(kind);
    let factory = Url(kind, "orders".to_owned(), server.url());
    what_was_acknowledged_survives_a_killed_server(&factory, &mut Victim(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_killed_postgres() {
    kill(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_killed_mariadb() {
    kill(Kind::Mariadb).await;
}

/// How long a call may take to a host that does not answer any more.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a call may take when it answers again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(10);

struct Vanishing(Proxy);

impl outage::Server for Vanishing {
    fn kill(&mut self) {
        self.0.fall_silent();
    }

    fn start_again(&mut self) {
        self.0.speak();
    }
}

fn through(proxy: &Proxy, kind: Kind) -> Url {
    let unencrypted = if kind == Kind::Postgres {
        "sslmode=disable"
    } else {
        "ssl-mode=DISABLED"
    };
    Url(kind, servers::unique_name(), format!("{}?{unencrypted}", proxy.url()))
}

async fn vanish(kind: Kind) {
    let proxy = Proxy::before(&kind.shared()).expect("the server has an address");
    let factory = through(&proxy, kind);
    let mut server = Vanishing(proxy);
    let survives = what_was_acknowledged_survives_a_killed_server(&factory, &mut server);
    timeout(OBLIGATION_TIME_MAX, survives).await.expect("no call hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_vanished_postgres() {
    vanish(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_vanished_mariadb() {
    vanish(Kind::Mariadb).await;
}

/// Whether a read of some kind is answered in time.
async fn read(store: Arc<dyn Store>, kind: usize, limit: Duration) -> bool {
    let read = async {
        match kind % 4 {
            0 => store.get(&[note("n")]).await.is_ok(),
            1 => {
                let ranked = Query::by(&THINGS, "by_owner_rank", vec!["ann".into()], 10);
                store.query(&ranked).await.is_ok()
            }
            2 => store.stream(&StreamId::new("s"), 1, 10).await.is_ok(),
            _ => store.tail(Position::START, 10).await.is_ok(),
        }
    };
    timeout(limit, read)
        .await
        .expect("a read ends in time, network or no network")
}

/// More at once than there are connections.
async fn read_all(store: &Arc<dyn Store>, limit: Duration) -> Vec<bool> {
    let reads = (0..16).map(|kind| read(Arc::clone(store), kind, limit));
    reads.collect::<JoinSet<_>>().join_all().await
}

async fn read_beside_silence(kind: Kind) {
    let proxy = Proxy::before(&kind.shared()).expect("the server has an address");
    let store = through(&proxy, kind).open().await;
    batch().put_note("n", "{}", Expect::Any).commit(&store).await;
    // In the middle of statements, and of what follows on them.
    let readers = (0..16).map(|kind| {
        let store = Arc::clone(&store);
        async move { while read(Arc::clone(&store), kind, CALL_TIME_MAX).await {} }
    });
    let readers: JoinSet<()> = readers.collect();
    assert!(
        read_all(&store, CALL_TIME_MAX)
            .await
            .into_iter()
            .all(|answered| answered)
    );
    proxy.fall_silent();
    readers.join_all().await;
    assert!(!read_all(&store, CALL_TIME_MAX).await.contains(&true));
    proxy.speak();
    assert!(!read_all(&store, RECOVERY_TIME_MAX).await.contains(&false));
    assert!(get(&store, note("n")).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_of_a_vanished_postgres_end_and_find_it_again() {
    read_beside_silence(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_of_a_vanished_mariadb_end_and_find_it_again() {
    read_beside_silence(Kind::Mariadb).await;
}

/// MariaDB looks for locks anew only when nobody has asked for a tenth of a second.
const POLL: Duration = Duration::from_millis(200);

/// Idle connections that the server has closed cost nobody an error.
async fn close_idle(kind: Kind) {
    let factory = Url(kind, servers::unique_name(), kind.shared());
    let store = factory.open().await;
    batch().put_note("n", "{}", Expect::Any).commit(&store).await;
    assert!(!read_all(&store, RECOVERY_TIME_MAX).await.contains(&false));
    tokio::time::sleep(IDLE).await;
    let mut shell = Shell::on(&kind.shared(), kind, &factory.1).await;
    shell.close_others().await;
    assert!(!read_all(&store, RECOVERY_TIME_MAX).await.contains(&false));
    batch().put_note("n", "{}", Expect::Any).commit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_postgres_has_closed_cost_no_error() {
    close_idle(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_mariadb_has_closed_cost_no_error() {
    close_idle(Kind::Mariadb).await;
}

/// Longer than a connection is taken to be there still.
const IDLE: Duration = Duration::from_millis(1500);
/// What another session does on the server, in the store's schema or database.
enum Shell {
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

impl Shell {
    async fn on(url: &str, kind: Kind, name: &str) -> Self {
        let mut shell = match kind {
            Kind::Postgres => Self::Postgres(PgConnection::connect(url).await.expect("the server answers")),
            _ => Self::Mysql(MySqlConnection::connect(url).await.expect("the server answers")),
        };
        let choose = if kind == Kind::Postgres {
            "SET search_path TO"
        } else {
            "SET sql_mode = 'ANSI_QUOTES'; USE"
        };
        shell.run(&format!("{choose} {name}")).await;
        shell
    }

    async fn run(&mut self, sql: &str) {
        let text = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = match self {
            Self::Postgres(connection) => text.execute(connection).await.map(drop),
            Self::Mysql(connection) => text.execute(connection).await.map(drop),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Those of the store that this session is about.
    async fn close_others(&mut self) {
        match self {
            Self::Postgres(_) => {
                let others = "application_name = 'tradewind ' || current_schema()";
                self.run(&format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"
                ))
                .await;
            }
            Self::Mysql(connection) => {
                let others =
                    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
                let others: Vec<i64> = sqlx::query_scalar(others)
                    .fetch_all(connection)
                    .await
                    .expect("they are listed");
                for other in others {
                    self.run(&format!("KILL {other}")).await;
                }
            }
        }
    }

    /// Until this counts so many.
    async fn wait_for(&mut self, count: i64, sql: &'static str) {
        let counted = async {
            loop {
                let found: i64 = match self {
                    Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
                    Self::Mysql(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
                }
                .expect("it is counted");
                if found >= count {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        timeout(CALL_TIME_MAX, counted).await.expect("it comes to so many");
    }
}

/// Transactions that wait for a lock, of the store with this name.
fn waiting(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => {
            "SELECT count(*) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND application_name = 'tradewind ' || current_schema()"
        }
        _ => {
            "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist
             ON trx_mysql_thread_id = id WHERE trx_state = 'LOCK WAIT' AND db = DATABASE()"
        }
    }
}

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
