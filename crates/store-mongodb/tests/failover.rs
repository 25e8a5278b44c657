//! A primary that gives way, and connections that break: a commit goes on by itself, and is written once. And callers that go
//! away: nothing is left behind.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::carry::Load;
use kernel::store::{Expect, Opened as _, Query, Store};
use mongodb::Client;
use servers::BareMongod;
use store_mongodb::{MongodbOptions, MongodbStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{NOTES, batch, note, schema};
use testkit::store_suite::journal::assert_whole;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

const WRITERS: usize = 4;
const STEP_DOWNS: usize = 3;
/// For how long the primary gives way. It is alone, so it is elected again after that.
const AWAY_S: i32 = 1;
/// How long a set of one may take until it has a primary.
const ELECTED_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// How long the server holds a command up, and after how long the caller goes away meanwhile.
const HELD_UP_MS: i32 = 500;
const GOES_AWAY: Duration = Duration::from_millis(200);
/// As many as the store has.
const CONNECTIONS: usize = 8;
const NOTES_IN_ONE_ANSWER: usize = 1_000;
const NOTES_IN_TWO_ANSWERS: usize = 1_200;
/// How soon nothing may be left of it: before whoever waits for the head would end an abandoned transaction.
const GONE_MAX: Duration = Duration::from_secs(3);

/// A replica set of one that does wrong when it is told to.
struct Failing {
    client: Client,
    url: String,
    _server: BareMongod,
    _directory: TempDir,
}

impl Failing {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory for the test");
        let arguments = ["--replSet", "rs0", "--setParameter", "enableTestCommands=1"];
        let server = BareMongod::start(directory.path(), &arguments).expect("a server starts");
        let address = server.address();
        let direct = Client::with_uri_str(format!("mongodb://{address}/?directConnection=true")).await;
        let failing = Self {
            client: direct.expect("the server has a URL"),
            url: format!("mongodb://{address}/?replicaSet=rs0"),
            _server: server,
            _directory: directory,
        };
        let members = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": address }] };
        failing.tell(doc! { "replSetInitiate": members }).await;
        failing.elected().await;
        failing
    }

    async fn tell(&self, command: Document) -> Document {
        let told = self.client.database("admin").run_command(command).await;
        told.expect("the server does as it is told")
    }

    async fn elected(&self) {
        let elected = timeout(ELECTED_MAX, async {
            let mut hello = self.tell(doc! { "hello": 1 }).await;
            while !hello.get_bool("isWritablePrimary").is_ok_and(|is| is) {
                sleep(POLL).await;
                hello = self.tell(doc! { "hello": 1 }).await;
            }
        });
        elected.await.expect("a primary is elected in time");
    }

    async fn open(&self) -> Arc<MongodbStore> {
        let options = MongodbOptions::new(&self.url, "shop", schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        let opened = MongodbStore::open(options.expect("the server has a URL")).await;
        Arc::new(opened.expect("the store opens"))
    }

    /// Lets the next of these commands fail so, which transactions alone give.
    async fn fail(&self, command: &str, how: Document) {
        self.fail_times(1, command, how).await;
    }

    async fn fail_times(&self, times: i32, command: &str, mut how: Document) {
        how.insert("failCommands", vec![command]);
        let mode = doc! { "times": times };
        self.tell(doc! { "configureFailPoint": "failCommand", "mode": mode, "data": how })
            .await;
    }

    /// How many transactions have taken the head.
    async fn taken(&self) -> i64 {
        let heads = self.client.database("shop").collection::<Document>("head");
        let head = heads.find_one(doc! {}).await.expect("the collection is read");
        let head = head.expect("there is a head");
        head.get_i64("taken").expect("it is counted")
    }

    /// Waits until there is no more of what `serverStatus` counts so.
    async fn none_of(&self, counted: &[&str]) {
        let gone = timeout(GONE_MAX, async {
            loop {
                let status = self.tell(doc! { "serverStatus": 1 }).await;
                let inner = |of: Bson, name: &&str| of.as_document().and_then(|of| of.get(*name)).cloned();
                let count = counted.iter().try_fold(Bson::Document(status), inner);
                if [Bson::Int32(0), Bson::Int64(0)].contains(&count.expect("it is counted")) {
                    break;
                }
                sleep(POLL).await;
            }
        });
        gone.await.unwrap_or_else(|_| panic!("{counted:?} is left behind"));
    }

    /// How many commands have failed that were to.
    async fn failed(&self) -> u64 {
        let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let count = self.tell(off).await.get_i32("count").expect("it was on before");
        u64::from(count.unsigned_abs())
    }
}

/// Each command that a commit of events, a put and a delete gives, whatever happens to it.
#[tokio::test]
async fn a_commit_that_loses_its_connection_or_its_primary_is_tried_again_whole() {
    let failing = Failing::start().await;
    let store: Arc<dyn Store> = failing.open().await;
    let broken = doc! { "closeConnection": true };
    let stepped_down = doc! { "errorCode": 11602, "errorLabels": ["TransientTransactionError"] };
    let commands = ["findAndModify", "find", "aggregate", "update", "delete", "insert"];
    let cases = commands
        .iter()
        .flat_map(|command| [(*command, &broken), (*command, &stepped_down)]);
    for (case, version) in cases.zip(1..) {
        let (command, how) = case;
        batch().put_note("gone", "{}", Expect::Absent).commit(&store).await;
        failing.fail(command, how.clone()).await;
        let sent = batch().event("s", version).put_note("kept", "{}", Expect::Any);
        let sent = sent.delete(note("gone"), Expect::Version(1));
        let committed = store.commit(sent.build()).await;
        assert_eq!(failing.failed().await, version, "no {command} came");
        let committed = committed.unwrap_or_else(|error| panic!("{command}, {how}: {error}"));
        assert_eq!(committed.last, Position(version));
    }
}

#[tokio::test]
async fn a_transaction_that_the_server_took_back_at_its_commit_is_tried_again_whole() {
    let failing = Failing::start().await;
    let store: Arc<dyn Store> = failing.open().await;
    let taken_back = doc! { "errorCode": 251, "errorLabels": ["TransientTransactionError"] };
    failing.fail("commitTransaction", taken_back).await;
    let committed = store.commit(batch().event("s", 1).build()).await;
    assert_eq!(failing.failed().await, 1);
    assert_eq!(committed.expect("a second transaction ends well").last, Position(1));
    let tail = store.tail(Position::START, 10).await.expect("the tail is read");
    assert_whole(&tail.head, &tail.events);
    assert_eq!(tail.events.len(), 1);
}

/// More often than the driver asks by itself.
#[tokio::test]
async fn a_commit_that_is_not_answered_is_asked_for_again_and_nothing_else() {
    const UNANSWERED: i32 = 5;
    let failing = Failing::start().await;
    let store: Arc<dyn Store> = failing.open().await;
    let before = failing.taken().await;
    let broken = doc! { "closeConnection": true };
    failing.fail_times(UNANSWERED, "commitTransaction", broken).await;
    let committed = store.commit(batch().event("s", 1).build()).await;
    assert_eq!(committed.expect("it is answered in the end").last, Position(1));
    assert_eq!(failing.failed().await, u64::from(UNANSWERED.unsigned_abs()));
    assert_eq!(failing.taken().await, before + 1);
}

/// A planned maintenance: nobody is told that the store is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_end_well_while_the_primary_gives_way() {
    let failing = Failing::start().await;
    let store: Arc<dyn Store> = failing.open().await;
    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (store, stopped) = (Arc::clone(&store), stopped.clone());
        writers.spawn(async move {
            let (name, mut version) = (format!("w{number}"), 0);
            while !*stopped.borrow() {
                version += 1;
                let committed = store.commit(batch().by(&name).event(&name, version).build()).await;
                committed.unwrap_or_else(|error| panic!("{name}, {version}: {error}"));
            }
            version
        });
    }
    for _ in 0..STEP_DOWNS {
        sleep(Duration::from_millis(500)).await;
        failing.tell(doc! { "replSetStepDown": AWAY_S, "force": true }).await;
        failing.elected().await;
    }
    sleep(Duration::from_millis(500)).await;
    stop.send_replace(true);
    let written: u64 = writers.join_all().await.iter().sum();
    let tail = store.tail(Position::START, usize::MAX).await.expect("the tail is read");
    assert_whole(&tail.head, &tail.events);
    assert_eq!(tail.head.position.0, written, "an event is missing, or is there twice");
}

/// The first statement of a transaction is the one after which the driver would forget that it has begun.
#[tokio::test]
async fn a_load_or_an_insert_whose_caller_goes_away_leaves_no_transaction_open() {
    let failing = Failing::start().await;
    let opened = failing.open().await;
    let load = Load {
        head: opened.tail(Position::START, 0).await.expect("the head is read").head,
        events: Vec::new(),
        documents: None,
    };
    let held_up = doc! { "blockConnection": true, "blockTimeMS": HELD_UP_MS };
    failing.fail("findAndModify", held_up.clone()).await;
    let loaded = timeout(GOES_AWAY, opened.load(load)).await;
    loaded.expect_err("the caller has gone away");
    sleep(2 * GOES_AWAY).await;
    failing.none_of(&["transactions", "currentOpen"]).await;

    failing.fail("insert", held_up).await;
    let rows = vec![batch().event("s", 1).build()];
    let inserted = timeout(GOES_AWAY, opened.insert(rows, Position(40))).await;
    inserted.expect_err("the caller has gone away");
    sleep(2 * GOES_AWAY).await;
    failing.none_of(&["transactions", "currentOpen"]).await;
    assert_eq!(failing.failed().await, 2);
}

#[tokio::test]
async fn reads_whose_callers_go_away_leave_no_cursor_open_and_connections_for_others() {
    let failing = Failing::start().await;
    let store: Arc<dyn Store> = failing.open().await;
    let mut many = batch();
    for number in 0..NOTES_IN_TWO_ANSWERS {
        many = many.put_note(&format!("n{number:05}"), "{}", Expect::Absent);
    }
    many.commit(&store).await;
    failing.none_of(&["metrics", "cursor", "open", "total"]).await;
    let held_up = doc! { "blockConnection": true, "blockTimeMS": HELD_UP_MS };
    for (command, count) in [("find", NOTES_IN_ONE_ANSWER), ("getMore", NOTES_IN_TWO_ANSWERS)] {
        let all = Query::all(&NOTES, count);
        // More than there are connections.
        for _ in 0..CONNECTIONS + 2 {
            failing.fail(command, held_up.clone()).await;
            let read = timeout(GOES_AWAY, store.query(&all)).await;
            read.expect_err("the caller has gone away");
        }
        let found = timeout(GONE_MAX, store.query(&all))
            .await
            .expect("there are connections");
        assert_eq!(found.expect("the notes are read").len(), count);
        failing.none_of(&["metrics", "cursor", "open", "total"]).await;
    }
}
