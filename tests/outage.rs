//! The database behind a shop stands still or dies, and so does the shop: it says so meanwhile, and gets over it by itself
//! [P1, P2, P10].
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
mod customers;
mod settled;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use books::{Books, assert_views_equal_the_fold};
use customers::{Dice, Load};
use serde_json::json;
use servers::{Kind, Server as Database};
use support::{Actor, Answer, Call, Server, eventually, unique};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long a request may take here, and how much later the answer may be there on a busy machine.
const REQUEST_TIMEOUT: &str = "10s";
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// How long the database is away.
const STILL: Duration = Duration::from_secs(30);
const DEAD: Duration = Duration::from_secs(8);
/// How long everything goes well before it does not.
const LOAD: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);

/// A shop under load on a database server of its own.
struct Shop {
    server: Server,
    load: Load,
    database: Database,
    _directory: TempDir,
}

impl Shop {
    async fn open(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The database runs as a user of its own.
        set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let database = Database::start(kind, &directory.path().join("database")).unwrap();
        let settings = Server::settings()
            .with("store", &database.url())
            .with("request_timeout", REQUEST_TIMEOUT);
        let server = settings.start().await;
        let load = Load::start(
            &server.anonymous(),
            server.admin().await,
            &mut Dice::new(u64::from(std::process::id())),
        )
        .await;
        tokio::time::sleep(LOAD).await;
        Self {
            server,
            load,
            database,
            _directory: directory,
        }
    }

    /// Asks all the while for something that is written, something that is read, and whether the shop is ready.
    async fn is_without_its_database(&self, outage: Duration, customer: &Actor) {
        let began = Instant::now();
        let left = || outage.checked_sub(began.elapsed()).is_some();
        let (mut refused, mut unready) = (0, 0);
        let writing = async {
            while left() {
                refused += 1;
                // It may be there in the end, and is then an order as others are.
                let line = json!({"sku": self.load.sku(), "quantity": 1});
                let order = json!({"lines": [line], "metadata": {"request": unique("in-vain")}});
                answered_in_time(customer.post("/api/orders", order)).await.expect(503);
            }
        };
        let reading = async {
            while left() {
                let read = answered_in_time(customer.get("/api/orders")).await;
                assert!(matches!(read.status, 200 | 503), "{read}");
                // What a process has at hand it may give.
                answered_in_time(customer.get("/healthz")).await.expect(200);
                tokio::time::sleep(PAUSE).await;
            }
        };
        let asking = async {
            while left() {
                let ready = answered_in_time(customer.get("/readyz")).await;
                unready += u32::from(ready.status == 503);
                tokio::time::sleep(PAUSE).await;
            }
        };
        futures::join!(writing, reading, asking);
        assert!(
            refused > 0 && unready > 0,
            "{refused} writes were refused; {unready} times it was not ready"
        );
    }

    async fn heals(&self) {
        self.server.until_ready().await;
        let before = self.load.acknowledged();
        let more = async || (self.load.acknowledged() > before + 20).then_some(());
        eventually("orders are acknowledged again", more).await;
    }

    async fn audit(self) {
        let Self {
            mut server,
            load,
            database,
            _directory,
        } = self;
        let told = load.end().await;
        settled::wait(&Books::of(&server)).await;
        told.assert_keys_answer_as_they_did(&server.anonymous()).await;
        server.stop();
        settled::assert_books_are_right(&Books::of(&server), &told);
        assert_views_equal_the_fold(&server);
        drop(database);
    }
}

/// That a refusal comes with `Retry-After`, every answer is checked for.
async fn answered_in_time(call: Call) -> Answer {
    let began = Instant::now();
    let answer = call.await;
    assert!(began.elapsed() < ANSWER_MAX, "after {:?}: {answer}", began.elapsed());
    answer
}

async fn the_database_stands_still_and_dies(kind: Kind) {
    let mut shop = Shop::open(kind).await;
    let customer = shop.server.customer().await;
    shop.database.pause().unwrap();
    shop.is_without_its_database(STILL, &customer).await;
    shop.database.resume().unwrap();
    shop.heals().await;
    shop.database.kill().unwrap();
    shop.is_without_its_database(DEAD, &customer).await;
    shop.database.start_again().unwrap();
    shop.heals().await;
    shop.audit().await;
}

async fn the_shop_is_killed(kind: Kind) {
    let mut shop = Shop::open(kind).await;
    for _ in 0..3 {
        shop.server.kill();
        shop.server.start_again().await;
        shop.load.goes_on_at(&shop.server);
        shop.heals().await;
    }
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_gets_over_the_loss_of_its_postgres() {
    the_database_stands_still_and_dies(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_gets_over_the_loss_of_its_mariadb() {
    the_database_stands_still_and_dies(Kind::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_gets_over_the_loss_of_its_mongodb() {
    the_database_stands_still_and_dies(Kind::Mongodb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_killed_goes_on_where_it_was_on_postgres() {
    the_shop_is_killed(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_killed_goes_on_where_it_was_on_mariadb() {
    the_shop_is_killed(Kind::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_killed_goes_on_where_it_was_on_mongodb() {
    the_shop_is_killed(Kind::Mongodb).await;
}
