//! How fast the store commits to a MongoDB on this machine.
//!
//! `cargo run --release -p store-mongodb --example commit_rate [URL] [events in all]`
//!
//! Each event comes with one new document of a collection with two indexes, about as an order does. Commits follow one
//! another, as the writer of a service sends them. Without a URL a private server is started, on this disk.

use std::borrow::Cow;
use std::sync::Arc;

use contracts::EventId;
use jiff::Timestamp;
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::document::{Collection, Column, ColumnType, Index, Key, Kind};
use kernel::event::{Lane, Meta, NewEvent, Position, StreamId};
use kernel::store::Opened as _;
use kernel::store::{Batch, Expect, Put, Schema, Store};
use serde_json::value::RawValue;
use servers::Server;
use store_mongodb::{MongodbOptions, MongodbStore};

const LANES: u16 = 8;
const BATCH_SIZES: [usize; 3] = [1, 25, 100];

static ORDERS: Collection = Collection {
    name: "orders",
    kind: Kind::View,
    columns: &[
        Column {
            name: "user_id",
            column_type: ColumnType::Text,
        },
        Column {
            name: "placed_at",
            column_type: ColumnType::Integer,
        },
        Column {
            name: "status",
            column_type: ColumnType::Text,
        },
    ],
    indexes: &[
        Index {
            name: "by_user",
            columns: &["user_id", "placed_at"],
        },
        Index {
            name: "by_status",
            columns: &["status", "placed_at"],
        },
    ],
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = tempfile::tempdir().expect("a directory for a server");
    let mut server = None;
    let url = arguments.next().filter(|url| !url.is_empty()).unwrap_or_else(|| {
        let started = Server::start(servers::Kind::Mongodb, directory.path()).expect("a server starts");
        server.insert(started).url()
    });
    let events: usize = arguments
        .next()
        .map_or(20_000, |count| count.parse().expect("a number of events"));
    let clock = SystemClock::new();
    println!(
        "{:>8} {:>10} {:>10} {:>9} {:>9} {:>9}",
        "batch", "events/s", "commits/s", "p50", "p99", "max"
    );
    for size in BATCH_SIZES {
        // Small batches are slow: fewer of them say as much.
        measure(&url, size, events.min(size * 1_000), &clock).await;
    }
    beside(&url, 25, &clock).await;
}

/// Two replicas that write as fast as they can, for as long as it takes the first of them.
async fn beside(url: &str, size: usize, clock: &SystemClock) {
    const COMMITS: usize = 400;
    let database = format!("commit_rate_{}_beside", std::process::id());
    let ids = Arc::new(Ids::from_seed(2));
    let (now, start) = (clock.now(), clock.monotonic());
    let mut replicas = tokio::task::JoinSet::new();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for number in 0..2 {
        let store = open(url, &database, &ids, clock).await;
        let (ids, done) = (Arc::clone(&ids), Arc::clone(&done));
        replicas.spawn(async move {
            let mut commits = 0;
            while commits < COMMITS && !done.load(std::sync::atomic::Ordering::Relaxed) {
                // Both have the time of the beginning: the later of two would be refused to the earlier.
                let mut batch = batch(size, &ids, now);
                let writer = Arc::get_mut(&mut batch).expect("nobody else has it");
                writer.writer = format!("orders-{number}").into();
                match store.commit(batch).await {
                    Ok(_) => commits += 1,
                    Err(error) => println!("replica {number}: {error}"),
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            commits
        });
    }
    let commits = replicas.join_all().await;
    println!(
        "two replicas at once, {size} a batch: {commits:?} commits in {:.1?}",
        clock.monotonic() - start
    );
}

async fn open(url: &str, database: &str, ids: &Ids, clock: &SystemClock) -> MongodbStore {
    let schema = Schema {
        collections: vec![&ORDERS],
        lanes: LANES,
    };
    let options = MongodbOptions::new(url, database, schema, ids.uuid(clock.now()), clock.now());
    MongodbStore::open(options.expect("a URL"))
        .await
        .expect("the store opens")
}

async fn measure(url: &str, size: usize, events: usize, clock: &SystemClock) {
    let ids = Ids::from_seed(1);
    let database = format!("commit_rate_{}_{size}", std::process::id());
    let store = open(url, &database, &ids, clock).await;
    let batches: Vec<_> = (0..events / size).map(|_| batch(size, &ids, clock.now())).collect();

    let mut latencies = Vec::with_capacity(batches.len());
    let start = clock.monotonic();
    for batch in batches {
        let sent = clock.monotonic();
        store.commit(batch).await.expect("the batch is committed");
        latencies.push(clock.monotonic() - sent);
    }
    let seconds = (clock.monotonic() - start).as_secs_f64();
    let commits = latencies.len();
    latencies.sort();
    let at = |percent: usize| latencies[(commits - 1) * percent / 100];
    let head = store.tail(Position::START, 0).await.expect("the head is read").head;
    let rate = |count: u64| u32::try_from(count).map(f64::from).expect("fewer than four billion") / seconds;
    println!(
        "{size:>8} {:>10.0} {:>10.0} {:>9.2?} {:>9.2?} {:>9.2?}",
        rate(head.position.0),
        rate(commits as u64),
        at(50),
        at(99),
        at(100)
    );
    store.close().await;
}

fn batch(size: usize, ids: &Ids, now: Timestamp) -> Arc<Batch> {
    let (mut events, mut puts) = (Vec::with_capacity(size), Vec::with_capacity(size));
    for _ in 0..size {
        let order = format!("ord_{}", ids.uuid(now).simple());
        let user = format!("usr_{}", ids.uuid(now).simple());
        let stream = StreamId::new(order.as_str());
        let lines = r#"[{"sku":"HAT-RED-XL","quantity":2,"unit_price":1999},{"sku":"MUG-BLUE","quantity":1,"unit_price":1250}]"#;
        let data =
            format!(r#"{{"order_id":"{order}","user_id":"{user}","lines":{lines},"total":5248,"currency":"EUR"}}"#);
        let document =
            format!(r#"{{"id":"{order}","user_id":"{user}","status":"pending","lines":{lines},"total":5248}}"#);
        events.push(NewEvent {
            id: EventId::from_uuid(ids.uuid(now)),
            lane: Lane::of(&stream, LANES),
            stream,
            version: 1,
            event_type: Cow::Borrowed("order.placed"),
            time: now,
            data: RawValue::from_string(data).expect("the data is JSON"),
            meta: Arc::new(Meta {
                schema: 1,
                actor: user.as_str().into(),
                correlation: ids.uuid(now).to_string().into(),
                causation: None,
                trace: None,
            }),
        });
        puts.push(Put {
            key: Key {
                collection: ORDERS.name,
                id: order.into(),
            },
            document: document.into(),
            columns: vec![user.into(), now.into(), "pending".into()],
            expect: Expect::Absent,
        });
    }
    Arc::new(Batch {
        id: ids.uuid(now),
        writer: "orders".into(),
        time: now,
        events,
        puts,
        deletes: Vec::new(),
        reads: Vec::new(),
    })
}
