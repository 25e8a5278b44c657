//! Reading a whole store that takes longer than the server remembers.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::carry::Snapshot;
use kernel::store::{Expect, Opened, Store};
use mongodb::error::ErrorKind;
use mongodb::{Client, ClientSession};
use servers::{Kind, Server};
use store_mongodb::{MongodbOptions, MongodbStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{NOTES, batch, schema};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How long the server may take to forget what is a second old.
const FORGOTTEN_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// The code of what was forgotten.
const SNAPSHOT_TOO_OLD: i32 = 239;

/// A server that remembers a second, and a store of one event and one note.
struct Forgetful {
    opened: Arc<MongodbStore>,
    store: Arc<dyn Store>,
    client: Client,
    _server: Server,
    _directory: TempDir,
}

impl Forgetful {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory for the test");
        let server = Server::start(Kind::Mongodb, directory.path()).expect("a server starts");
        let client = Client::with_uri_str(server.url()).await.expect("the server has a URL");
        let window = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": 1 };
        let told = client.database("admin").run_command(window).await;
        told.expect("the server does as it is told");
        let options = MongodbOptions::new(
            &server.url(),
            "shop",
            schema(),
            Uuid::from_u128(1),
            Timestamp::UNIX_EPOCH,
        );
        let opened = MongodbStore::open(options.expect("the server has a URL")).await;
        let opened = Arc::new(opened.expect("the store opens"));
        let store: Arc<dyn Store> = Arc::clone(&opened) as _;
        let first = batch().event("s", 1).put_note("a", "1", Expect::Absent);
        first.commit(&store).await;
        Self {
            opened,
            store,
            client,
            _server: server,
            _directory: directory,
        }
    }

    async fn snapshot(&self) -> Box<dyn Snapshot> {
        self.opened.snapshot().await.expect("there is a snapshot")
    }

    /// Writes elsewhere until the server has forgotten the present.
    async fn forget(&self) {
        let elsewhere = self.client.database("elsewhere").collection::<Document>("any");
        let write = async || elsewhere.insert_one(doc! {}).await.expect("nothing speaks against it");
        write().await;
        let mut session = self.client.start_session().snapshot(true).await.expect("there is one");
        let read = async |session: &mut ClientSession| match elsewhere
            .find_one(doc! {})
            .session(session)
            .await
            .map_err(|error| *error.kind)
        {
            Err(ErrorKind::Command(failed)) if failed.code == SNAPSHOT_TOO_OLD => false,
            read => read.map(|_| true).expect("nothing else speaks against it"),
        };
        let forgotten = timeout(FORGOTTEN_MAX, async {
            while read(&mut session).await {
                write().await;
                sleep(POLL).await;
            }
        });
        forgotten.await.expect("the server forgets in time");
    }
}

async fn events(snapshot: &mut dyn Snapshot) -> usize {
    snapshot
        .events(Position::START)
        .await
        .expect("the events are read")
        .len()
}

/// As the source of a copy does, and a service in which nothing happens during a backup.
#[tokio::test]
async fn a_store_that_stands_still_is_read_whole_however_long_it_takes() {
    let forgetful = Forgetful::start().await;
    let mut snapshot = forgetful.snapshot().await;
    for _ in 0..2 {
        forgetful.forget().await;
        assert_eq!(events(snapshot.as_mut()).await, 1);
        let notes = snapshot.documents(&NOTES, None).await.expect("nothing has changed");
        assert_eq!(notes.len(), 1);
    }
}

#[tokio::test]
async fn documents_that_changed_since_the_server_forgot_are_refused_with_the_remedy() {
    let forgetful = Forgetful::start().await;
    let mut snapshot = forgetful.snapshot().await;
    // A change of documents alone: the journal does not tell.
    let second = batch().put_note("a", "2", Expect::Version(1));
    second.commit(&forgetful.store).await;
    let notes = snapshot.documents(&NOTES, None).await.expect("it is remembered");
    assert_eq!(&*notes[0].document, "1");
    forgetful.forget().await;
    let refusal = snapshot
        .documents(&NOTES, None)
        .await
        .expect_err("it is forgotten")
        .to_string();
    assert!(refusal.contains("minSnapshotHistoryWindowInSeconds"), "{refusal}");
    assert!(!refusal.contains('\n'), "{refusal}");
}

#[tokio::test]
async fn the_journal_is_read_as_far_as_it_went_whatever_the_server_remembers() {
    let forgetful = Forgetful::start().await;
    let mut snapshot = forgetful.snapshot().await;
    batch().event("s", 2).commit(&forgetful.store).await;
    forgetful.forget().await;
    assert_eq!(events(snapshot.as_mut()).await, 1, "the second came after it");
}
