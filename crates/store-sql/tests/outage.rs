//! The adapters over a network against a server that is killed with SIGKILL (P1, P2), and one whose network fails.

#[path = "outage/settled.rs"]
mod settled;
#[path = "outage/shell.rs"]
mod shell;

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::event::{Position, StreamId};
use kernel::store::{Expect, Query, Store};
use servers::{Kind, Proxy, Server};
use store_sql::{MysqlOptions, MysqlStore, PostgresOptions, PostgresStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{THINGS, batch, get, note};
use testkit::store_suite::outage::what_was_acknowledged_survives_a_killed_server;
use testkit::store_suite::{OBLIGATION_TIME_MAX, StoreFactory, fixture, outage};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::shell::Shell;

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
/// Longer than a connection is taken to be there still.
const IDLE: Duration = Duration::from_millis(1500);
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
