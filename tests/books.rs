//! What is on the disk: the journals and documents of all services, and the ledger of the payment provider.
//!
//! Everything is read without the binary's own code, the way an auditor would.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]
#![allow(dead_code, reason = "each file of tests uses another part of it")]
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernel::document::{Collection, Kind};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use testkit::books::Event;

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
}

impl testkit::books::Books for Books {
    fn journal(&self, service: &str) -> Vec<Event> {
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

    fn head(&self, service: &str) -> (u64, Vec<u64>) {
        let (position, lanes): (u64, String) = self
            .open(service)
            .query_row("SELECT position, lanes FROM head", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        (position, serde_json::from_str(&lanes).unwrap())
    }

    fn collection(&self, service: &str, name: &str) -> BTreeMap<String, Value> {
        let documents = documents(&self.open(service), name);
        documents
            .into_iter()
            .map(|(id, (_, text))| (id, serde_json::from_str(&text).unwrap()))
            .collect()
    }

    fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.data.join("payment-ledger.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn documents(connection: &Connection, table: &str) -> BTreeMap<String, Stored> {
    let mut select = connection
        .prepare(&format!("SELECT id, version, doc FROM \"{table}\""))
        .unwrap();
    let documents = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    documents.unwrap().map(Result::unwrap).collect()
}

/// P8: `tradewind rebuild`, on a copy whose views were damaged, gives every document as it was, byte for byte.
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
