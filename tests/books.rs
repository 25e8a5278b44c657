//! What is on the disk: the journals and documents of all services, and the ledger of the payment provider.
//!
//! Everything is read without the binary's own code, the way an auditor would.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]
#![allow(dead_code, reason = "each file of tests uses another part of it")]
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use contracts::{EventData as _, PublicEvent};
use kernel::document::{Collection, Kind};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The services, each with its own store.
pub const SERVICES: [(&str, &[&Collection]); 7] = [
    ("users", users::COLLECTIONS),
    ("catalog", catalog::COLLECTIONS),
    ("inventory", inventory::COLLECTIONS),
    ("orders", orders::COLLECTIONS),
    ("payments", payments::COLLECTIONS),
    ("notifications", notifications::COLLECTIONS),
    ("events", events::COLLECTIONS),
];
/// Tables that are no collections.
const JOURNAL_TABLES: [&str; 4] = ["journal", "head", "batches", "migrations"];

/// An event as it stands in a journal.
#[derive(Clone, Debug)]
pub struct Event {
    pub position: u64,
    pub prev: u64,
    pub stream: String,
    pub version: u64,
    pub lane: usize,
    pub id: String,
    pub event_type: String,
    pub time: i64,
    pub data: Value,
}

/// A document: its version and its text.
pub type Stored = (u64, String);
/// The documents of each collection, by id.
pub type Documents = BTreeMap<String, BTreeMap<String, Stored>>;

/// A data directory. The server may run; then every question has an answer of its own moment.
#[derive(Debug)]
pub struct Books {
    data: PathBuf,
}

impl Books {
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    fn open(&self, service: &str) -> Connection {
        let path = self.data.join(format!("{service}.sqlite"));
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        connection.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A service's journal.
    pub fn journal(&self, service: &str) -> Vec<Event> {
        let connection = self.open(service);
        let sql = "SELECT position, prev, stream, version, lane, id, type, time, data FROM journal ORDER BY position";
        let mut select = connection.prepare(sql).unwrap();
        let events = select.query_map([], |row| {
            let data: String = row.get(8)?;
            Ok(Event {
                position: row.get(0)?,
                prev: row.get(1)?,
                stream: row.get(2)?,
                version: row.get(3)?,
                lane: row.get(4)?,
                id: row.get(5)?,
                event_type: row.get(6)?,
                time: row.get(7)?,
                data: serde_json::from_str(&data).unwrap(),
            })
        });
        events.unwrap().map(Result::unwrap).collect()
    }

    /// The last position of a service's journal, and of each of its lanes.
    pub fn head(&self, service: &str) -> (u64, Vec<u64>) {
        let (position, lanes): (u64, String) = self
            .open(service)
            .query_row("SELECT position, lanes FROM head", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        (position, serde_json::from_str(&lanes).unwrap())
    }

    /// All documents of a service.
    pub fn documents(&self, service: &str) -> Documents {
        let connection = self.open(service);
        let mut select = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .unwrap();
        let tables: Vec<String> = select
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let collections = tables
            .into_iter()
            .filter(|table| !JOURNAL_TABLES.contains(&table.as_str()));
        collections
            .map(|table| (table.clone(), documents(&connection, &table)))
            .collect()
    }

    /// The documents of one collection.
    pub fn collection(&self, service: &str, name: &str) -> BTreeMap<String, Value> {
        let documents = documents(&self.open(service), name);
        documents
            .into_iter()
            .map(|(id, (_, text))| (id, serde_json::from_str(&text).unwrap()))
            .collect()
    }

    /// The provider's ledger, line by line.
    pub fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.data.join("payment-ledger.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What is still to be done by anybody but a customer: consumers that are behind, calls without an outcome, dead
    /// letters.
    pub fn unsettled(&self) -> Vec<String> {
        let mut left = Vec::new();
        let heads: BTreeMap<&str, Vec<u64>> = SERVICES.map(|(name, _)| (name, self.head(name).1)).into();
        for (service, _) in SERVICES {
            let effects = self.collection(service, "effects");
            left.extend(
                effects
                    .keys()
                    .map(|intent| format!("{service} has not finished {intent}")),
            );
            let letters = self.collection(service, "dead_letters");
            left.extend(
                letters
                    .values()
                    .map(|letter| format!("{service} has a dead letter: {letter}")),
            );
            let checkpoints = self.collection(service, "checkpoints");
            for group in groups(&checkpoints) {
                let source = group.split_once('/').unwrap().1;
                for (lane, head) in heads[source].iter().enumerate() {
                    let at = checkpoints
                        .get(&format!("{group}/{lane}"))
                        .map_or(0, |it| it["position"].as_u64().unwrap());
                    if at < *head {
                        left.push(format!("{service}'s {group} is at {at} of {head} in lane {lane}"));
                    }
                }
            }
        }
        left
    }
}

/// The consumers of a service and their sources, as `log/orders`.
fn groups(checkpoints: &BTreeMap<String, Value>) -> BTreeSet<&str> {
    checkpoints.keys().map(|id| id.rsplit_once('/').unwrap().0).collect()
}

fn documents(connection: &Connection, table: &str) -> BTreeMap<String, Stored> {
    let mut select = connection
        .prepare(&format!("SELECT id, version, doc FROM \"{table}\""))
        .unwrap();
    let documents = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    documents.unwrap().map(Result::unwrap).collect()
}

/// The number of things of each sort.
pub fn counted<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}

/// [P3] Positions are dense, each event names its lane's previous one, streams count from 1, and time does not run back.
pub fn assert_journals_are_sound(books: &Books) {
    for (service, _) in SERVICES {
        let (mut lanes, mut streams, mut ids) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (mut last, mut time) = (0, i64::MIN);
        for event in books.journal(service) {
            assert_eq!(event.position, last + 1, "{service}: {event:?}");
            assert_eq!(
                event.prev,
                lanes.insert(event.lane, event.position).unwrap_or(0),
                "{service}: {event:?}"
            );
            let version = streams.insert(event.stream.clone(), event.version).unwrap_or(0);
            assert_eq!(event.version, version + 1, "{service}: {event:?}");
            assert!(event.time >= time, "{service}: {event:?}");
            assert!(ids.insert(event.id.clone()), "{service}: {event:?}");
            (last, time) = (event.position, event.time);
        }
        let (position, heads) = books.head(service);
        let lanes: Vec<u64> = (0..heads.len())
            .map(|lane| lanes.get(&lane).copied().unwrap_or(0))
            .collect();
        assert_eq!((position, heads), (last, lanes), "{service}");
    }
}

/// [P10] Each consumer has applied every event of its sources, each once.
pub fn assert_consumers_applied_everything(books: &Books) {
    let in_lane: BTreeMap<(&str, usize), usize> = SERVICES
        .iter()
        .flat_map(|(service, _)| counted(books.journal(service).iter().map(|it| (*service, it.lane))))
        .collect();
    let mut consumers = 0;
    for (service, _) in SERVICES {
        let checkpoints = books.collection(service, "checkpoints");
        consumers += groups(&checkpoints).len();
        for (id, checkpoint) in &checkpoints {
            let parts: Vec<&str> = id.split('/').collect();
            let lane: usize = parts[2].parse().unwrap();
            let source = SERVICES.iter().find(|(name, _)| *name == parts[1]).unwrap().0;
            let count = |name: &str| checkpoint[name].as_u64().unwrap();
            let found = (count("applied"), count("parked"), count("discarded"));
            assert_eq!(
                found,
                (in_lane[&(source, lane)] as u64, 0, 0),
                "{service} {id}: {checkpoint}"
            );
        }
    }
    assert!(
        consumers > SERVICES.len(),
        "{consumers} consumers are too few to prove anything"
    );
}

/// The log of the events service holds every public event of the other services, once, and nothing else.
pub fn assert_the_log_is_complete(books: &Books) {
    let public: BTreeSet<&str> = PublicEvent::TYPES.iter().map(|kind| kind.name).collect();
    let sources = SERVICES
        .iter()
        .filter(|(name, _)| *name != "events")
        .flat_map(|(name, _)| books.journal(name));
    let told = sources.filter(|event| public.contains(event.event_type.as_str()));
    let (ids, types): (Vec<String>, Vec<String>) = told.map(|event| (event.id, event.event_type)).unzip();
    let log = books.journal("events");
    assert_eq!(
        counted(log.iter().map(|event| event.event_type.clone())),
        counted(types)
    );
    assert_eq!(counted(log.into_iter().map(|event| event.id)), counted(ids));
}

/// [P6] What the provider took for each order, less what it gave back, in minor units; no payment was captured twice.
pub fn kept_by_order(books: &Books) -> BTreeMap<String, i64> {
    let payments: BTreeMap<String, Value> = books
        .journal("payments")
        .into_iter()
        .filter(|event| event.event_type == "payment.initiated")
        .map(|event| (event.data["payment_id"].as_str().unwrap().to_owned(), event.data))
        .collect();
    let mut kept = BTreeMap::new();
    let mut captured = BTreeSet::new();
    for entry in books.ledger() {
        let payment = entry["payment"].as_str().unwrap();
        let asked = payments
            .get(payment)
            .unwrap_or_else(|| panic!("the shop does not know of {entry}"));
        let order = asked["order_id"].as_str().unwrap().to_owned();
        let change = match (entry["request"].as_str(), entry["answer"].as_str()) {
            (Some("capture"), Some("captured")) => {
                assert!(captured.insert(payment.to_owned()), "captured twice: {entry}");
                asked["amount"]["amount"].as_i64().unwrap()
            }
            (Some("refund"), Some("refunded")) => -entry["amount"]["amount"].as_i64().unwrap(),
            _ => 0,
        };
        *kept.entry(order).or_default() += change;
    }
    kept
}

/// [P8] `tradewind rebuild`, on a copy whose views were damaged, gives every document as it was, byte for byte.
pub fn assert_views_equal_the_fold(data: &Path, mut rebuild: std::process::Command) {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let mut damaged = 0;
    for (service, collections) in SERVICES {
        let connection = Connection::open(copy.path().join(format!("{service}.sqlite"))).unwrap();
        for view in collections.iter().filter(|collection| collection.kind == Kind::View) {
            let name = view.name;
            let sql = format!(
                "UPDATE \"{name}\" SET doc = '{{}}' WHERE rowid % 2; DELETE FROM \"{name}\" WHERE rowid % 3 = 0"
            );
            connection.execute_batch(&sql).unwrap();
            damaged += 1;
        }
    }
    assert!(
        damaged >= SERVICES.len(),
        "{damaged} views are too few to prove anything"
    );
    let done = rebuild
        .arg("rebuild")
        .env("TRADEWIND_DATA", copy.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (before, after) = (Books::of(data), Books::of(copy.path()));
    for (service, collections) in SERVICES {
        let (before, mut after) = (before.documents(service), after.documents(service));
        for (name, documents) in before {
            let rebuilt = after
                .remove(&name)
                .unwrap_or_else(|| panic!("{service} has lost its {name}"));
            let is_view = collections.iter().any(|it| it.name == name && it.kind == Kind::View);
            let what = if is_view { "view" } else { "record" };
            assert_eq!(documents.len(), rebuilt.len(), "{service}: the {what} {name}");
            for ((id, (version, text)), (rebuilt_id, (rebuilt_version, rebuilt_text))) in documents.iter().zip(&rebuilt)
            {
                assert_eq!((id, text), (rebuilt_id, rebuilt_text), "{service}: the {what} {name}");
                assert!(
                    is_view || version == rebuilt_version,
                    "{service}: the {what} {name} {id}"
                );
            }
        }
        assert!(after.is_empty(), "{service} has something new: {after:?}");
    }
}
