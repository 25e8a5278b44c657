//! The adapters over a network against a server that is killed with SIGKILL (P1, P2).

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Store;
use servers::{Kind, Server};
use store_sql::{MysqlOptions, MysqlStore, PostgresOptions, PostgresStore};
use testkit::store_suite::outage::what_was_acknowledged_survives_a_killed_server;
use testkit::store_suite::{StoreFactory, fixture, outage};
use uuid::Uuid;

/// Of a server, by its URL.
struct Url(Kind, String);

#[async_trait]
impl StoreFactory for Url {
    async fn open(&self) -> Arc<dyn Store> {
        let Self(kind, url) = self;
        let (schema, epoch, now) = (fixture::schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        if *kind == Kind::Postgres {
            let options = PostgresOptions::new(url, "orders", schema, epoch, now).expect("the server has a URL");
            return Arc::new(PostgresStore::open(options).await.expect("the store opens"));
        }
        let options = MysqlOptions::new(url, "orders", schema, epoch, now).expect("the server has a URL");
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

async fn kill(kind: Kind) {
    let directory = tempfile::tempdir().expect("a directory for the test");
    // The servers run as users of their own.
    set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("the directory is ours");
    let server = Server::start(kind, &directory.path().join("server")).expect("the server starts");
    let factory = Url(kind, server.url());
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
