//! A server whose host vanishes without a word: connections stay open, and nothing comes any more. Every call ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kernel::event::{Position, StreamId};
use kernel::store::carry::Load;
use kernel::store::{CommitError, Expect, Opened, Query, Store, StoreError};
use servers::Kind;
use store_mongodb::{MongodbOptions, MongodbStore, OpenError};
use testkit::store_suite::fixture::{NOTES, batch, note, schema};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;

/// What any call may take at most, longer than the longest of the store's own limits.
const CALL_MAX: Duration = Duration::from_secs(45);
/// What a start takes at most until it is given up: less than the driver alone, which is busy with finding out for 20 s.
const OPEN_MAX: Duration = Duration::from_secs(18);
const PIECE_BYTES: usize = 4096;

/// Stands between the store and the server, and passes on so many bytes of the server's as it is told.
struct Proxy {
    address: SocketAddr,
    left: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(left: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let proxy = Self {
            address: listener.local_addr().expect("it has an address"),
            left: Arc::new(AtomicUsize::new(left)),
        };
        let left = Arc::clone(&proxy.left);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, Arc::clone(&left)));
            }
        });
        proxy
    }

    fn be_silent(&self) {
        self.left.store(0, Ordering::Relaxed);
    }

    /// Of the server behind it. Directly, since the replica set names the server itself.
    fn options(&self, database: &str) -> MongodbOptions {
        let url = format!("mongodb://{}/?directConnection=true", self.address);
        let options = MongodbOptions::new(&url, database, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        options.expect("the URL is one")
    }
}

async fn pass(client: TcpStream, left: Arc<AtomicUsize>) {
    let url = Kind::Mongodb.shared();
    let server = url.trim_start_matches("mongodb://").split('/').next();
    let server = TcpStream::connect(server.expect("a URL has an address")).await;
    let (mut from_server, mut to_server) = server.expect("the server is there").into_split();
    let (mut from_client, mut to_client) = client.into_split();
    // What the client says arrives, or not, but is never refused.
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match from_server.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        let take = |left: usize| left.checked_sub(read);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            left.store(0, Ordering::Relaxed);
            // Without a word: the connection is neither closed nor answered.
            std::future::pending::<()>().await;
        }
        if to_client.write_all(&piece[..read]).await.is_err() {
            break;
        }
    }
}

async fn ends<T>(what: &str, call: impl Future<Output = T>) -> T {
    timeout(CALL_MAX, call)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
}

async fn fails<T>(what: &str, call: impl Future<Output = Result<T, StoreError>>) {
    assert!(ends(what, call).await.is_err(), "{what} was answered");
}

async fn is_not_committed<T>(what: &str, call: impl Future<Output = Result<T, CommitError>>) {
    match ends(what, call).await {
        Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) => {}
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what} was answered"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_when_the_server_falls_silent() {
    let proxy = Proxy::start(usize::MAX).await;
    let opened = MongodbStore::open(proxy.options(&servers::unique_name())).await;
    let opened = Arc::new(opened.expect("the store opens"));
    let store: Arc<dyn Store> = Arc::clone(&opened) as _;
    batch()
        .event("s", 1)
        .put_note("a", "{}", Expect::Absent)
        .commit(&store)
        .await;
    let mut of_events = opened.snapshot().await.expect("there is a snapshot");
    let mut of_documents = opened.snapshot().await.expect("there is a snapshot");
    let load = Load {
        head: of_events.head().clone(),
        events: Vec::new(),
        documents: None,
    };
    proxy.be_silent();

    let (stream, keys, query) = (StreamId::new("s"), [note("a")], Query::all(&NOTES, 1));
    tokio::join!(
        fails("a get", store.get(&keys)),
        fails("a query", store.query(&query)),
        fails("a stream", store.stream(&stream, 1, 1)),
        fails("a tail", store.tail(Position::START, 1)),
        fails("a snapshot", async { opened.snapshot().await.map(drop) }),
        fails("a snapshot's events", of_events.events(Position::START)),
        fails("a snapshot's documents", of_documents.documents(&NOTES, None)),
        fails("the end of a rebuild", opened.finish_rebuild()),
        is_not_committed("a commit", store.commit(batch().event("s", 2).build())),
        is_not_committed("a load", opened.load(load)),
        is_not_committed(
            "an insert",
            opened.insert(vec![batch().event("t", 1).build()], Position(9))
        ),
    );
    ends("closing", opened.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_ends_wherever_the_server_falls_silent() {
    // From before the first word to within the last ones.
    let starts = [0, 500, 2_000, 4_000, 8_000, 12_000].map(|left| async move {
        let proxy = Proxy::start(left).await;
        let opened = timeout(OPEN_MAX, MongodbStore::open(proxy.options(&servers::unique_name()))).await;
        (left, proxy.left.load(Ordering::Relaxed), opened)
    });
    for start in starts.map(tokio::spawn) {
        let (left, unused, opened) = start.await.expect("it ends well");
        let opened = opened.unwrap_or_else(|_| panic!("a start that is told {left} bytes does not end"));
        match opened {
            Ok(_) => assert!(unused > 0, "{left} bytes are too few"),
            Err(OpenError::Unreachable(_)) => {}
            Err(error) => panic!("after {left} bytes: {error}"),
        }
    }
}
