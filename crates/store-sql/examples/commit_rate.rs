//! How fast the store commits on this machine, and what a bare flush of the same disk takes.
//!
//! `cargo run --release -p store-sql --example commit_rate [directory] [events in all]`
//!
//! A URL instead of the directory, with `--features mysql,postgres`, measures a server, in a schema or database of its own.
//!
//! Each event comes with one new document of a collection with two indexes, about as an order does. Commits follow one
//! another, as the writer of a service sends them.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contracts::EventId;
use jiff::Timestamp;
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::document::{Collection, Column, ColumnType, Index, Key, Kind};
use kernel::event::{Lane, Meta, NewEvent, Position, StreamId};
use kernel::store::{Batch, Expect, Put, Schema, Store};
use serde_json::value::RawValue;
use store_sql::{SqliteOptions, SqliteStore};

const LANES: u16 = 8;
const BATCH_SIZES: [usize; 4] = [1, 25, 100, 512];
const FLUSHES: u32 = 500;

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
    let place = arguments.next();
    let events: usize = arguments
        .next()
        .map_or(200_000, |count| count.parse().expect("a number of events"));
    let clock = SystemClock::new();
    let directory = tempfile::tempdir_in(parent(place.as_deref())).expect("a directory to measure in");

    let flush = bare_flushes(directory.path(), &clock) / FLUSHES;
    println!("a flush of 4 KiB takes {flush:.1?} on this disk\n");
    println!(
        "{:>8} {:>10} {:>10} {:>9} {:>9} {:>9}",
        "batch", "events/s", "commits/s", "p50", "p99", "max"
    );
    for size in BATCH_SIZES {
        let place = match &place {
            Some(url) if is_url(url) => url.clone(),
            _ => format!("{}/{size}.db", directory.path().display()),
        };
        let store = open(&place, size, &clock).await;
        // Small batches are slow: fewer of them say as much.
        measure(store, size, events.min(size * 4_000), &clock).await;
    }
}

fn is_url(place: &str) -> bool {
    place.contains("://")
}

/// Where files are written.
fn parent(place: Option<&str>) -> PathBuf {
    match place {
        Some(directory) if !is_url(directory) => directory.into(),
        _ => std::env::temp_dir(),
    }
}

/// A new store, in a file or on a server.
async fn open(place: &str, size: usize, clock: &SystemClock) -> Arc<dyn Store> {
    let (epoch, now) = (Ids::from_seed(1).uuid(clock.now()), clock.now());
    let schema = Schema {
        collections: vec![&ORDERS],
        lanes: LANES,
    };
    let name = format!("rate_{}_{size}", std::process::id());
    match place.split_once("://") {
        None => {
            let options = SqliteOptions::new(place, schema, epoch, now);
            Arc::new(SqliteStore::open(options).expect("the store opens"))
        }
        #[cfg(feature = "postgres")]
        Some(("postgres", _)) => {
            let options = store_sql::PostgresOptions::new(place, &name, schema, epoch, now);
            let options = options.expect("the URL is right");
            Arc::new(store_sql::PostgresStore::open(options).await.expect("the store opens"))
        }
        #[cfg(feature = "mysql")]
        Some(("mysql", _)) => {
            let options = store_sql::MysqlOptions::new(place, &name, schema, epoch, now);
            let options = options.expect("the URL is right");
            Arc::new(store_sql::MysqlStore::open(options).await.expect("the store opens"))
        }
        Some((kind, _)) => panic!("{name}: this was not built with the feature {kind}"),
    }
}

fn bare_flushes(directory: &Path, clock: &SystemClock) -> Duration {
    let mut file = File::create(directory.join("flushes")).expect("a file");
    let start = clock.monotonic();
    for _ in 0..FLUSHES {
        file.write_all(&[7; 4096]).expect("the disk has room");
        file.sync_data().expect("the disk flushes");
    }
    clock.monotonic() - start
}

async fn measure(store: Arc<dyn Store>, size: usize, events: usize, clock: &SystemClock) {
    let ids = Ids::from_seed(1);
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
