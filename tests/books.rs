//! What a shop keeps: the journals and documents of all services, wherever their stores are, and the ledger of the payment
//! provider.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]
#![allow(dead_code, reason = "each file of tests uses another part of it")]
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[path = "books/database.rs"]
mod database;
#[path = "books/file.rs"]
mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contracts::Service;
use kernel::document::{Collection, Kind};
use rusqlite::Connection;
use serde_json::Value;
use testkit::books::Event;
use tradewind::config::Config;
use tradewind::data::DataDirectory;
use tradewind::stores::Place;

use self::database::Database;
use self::file::StoreFile;
use crate::support::Server;

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

/// A document: its version and its text.
pub type Stored = (u64, String);
/// The documents of each collection, by id.
pub type Documents = BTreeMap<String, BTreeMap<String, Stored>>;

/// A shop's stores and its ledger. The server may run; then every question has an answer of its own moment.
#[derive(Debug)]
pub struct Books {
    ledger: PathBuf,
    stores: BTreeMap<&'static str, Store>,
}

#[derive(Debug)]
enum Store {
    File(StoreFile),
    Database(Database),
}

impl Books {
    /// Where the server's configuration says.
    pub fn of(server: &Server) -> Self {
        let config = Config::read(None, b"", server.environment().clone()).unwrap();
        Self::configured(&config, &DataDirectory::imagine(&server.data()).unwrap())
    }

    /// Where this file of settings says, of processes that run in its directory.
    pub fn of_settings(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let mut config = Config::read(Some((file, &text)), b"", BTreeMap::new()).unwrap();
        let place = file.parent().unwrap();
        config.simulated_ledger = config.simulated_ledger.map(|ledger| place.join(ledger));
        Self::configured(&config, &DataDirectory::imagine(place).unwrap())
    }

    fn configured(config: &Config, data: &DataDirectory) -> Self {
        let stores = Service::ALL.iter().map(|&service| {
            let place = Place::of(service, config, data);
            let store = match place.file() {
                Some(path) => Store::File(StoreFile(path.to_owned())),
                None => Store::Database(Database::open(service.as_str(), place)),
            };
            (service.as_str(), store)
        });
        Self {
            ledger: config.ledger(data),
            stores: stores.collect(),
        }
    }

    /// Files, all in this directory.
    fn in_directory(data: &Path) -> Self {
        let file = |service: &str| Store::File(StoreFile(data.join(format!("{service}.sqlite"))));
        Self {
            ledger: data.join("payment-ledger.jsonl"),
            stores: SERVICES.map(|(service, _)| (service, file(service))).into(),
        }
    }

    fn store(&self, service: &str) -> &Store {
        &self.stores[service]
    }

    /// The services whose stores are on database servers.
    pub fn on_servers(&self) -> impl Iterator<Item = &'static str> {
        let stores = self.stores.iter();
        stores.filter_map(|(service, store)| matches!(store, Store::Database(_)).then_some(*service))
    }

    /// All documents of a service.
    pub fn documents(&self, service: &str) -> Documents {
        let collections = match self.store(service) {
            Store::File(store) => store.collections(),
            Store::Database(store) => store.collections(),
        };
        let documents = collections.into_iter().map(|name| {
            let stored = self.stored(service, &name);
            (name, stored)
        });
        documents.collect()
    }

    fn stored(&self, service: &str, collection: &str) -> BTreeMap<String, Stored> {
        match self.store(service) {
            Store::File(store) => store.documents(collection),
            Store::Database(store) => store.documents(collection),
        }
    }

    /// What each event of a service says, and of whom it came.
    pub fn told(&self, service: &str) -> Vec<String> {
        match self.store(service) {
            Store::File(store) => store.told(),
            Store::Database(store) => store.told(),
        }
    }
}

impl testkit::books::Books for Books {
    fn journal(&self, service: &str) -> Vec<Event> {
        match self.store(service) {
            Store::File(store) => store.journal(),
            Store::Database(store) => store.journal(),
        }
    }

    fn head(&self, service: &str) -> (u64, Vec<u64>) {
        match self.store(service) {
            Store::File(store) => store.head(),
            Store::Database(store) => store.head(),
        }
    }

    fn collection(&self, service: &str, name: &str) -> BTreeMap<String, Value> {
        let stored = self.stored(service, name).into_iter();
        stored
            .map(|(id, (_, text))| (id, serde_json::from_str(&text).unwrap()))
            .collect()
    }

    fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.ledger).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// P8: `tradewind rebuild`, on a copy whose views were damaged, gives every document as it was, byte for byte. The server
/// is stopped. What is not in files is copied into some by `tradewind copy`.
pub fn assert_views_equal_the_fold(server: &Server) {
    let (moved, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stores = || server.environment().keys().filter(|name| name.ends_with("_STORE"));
    let data = match stores().next().is_some() {
        true => {
            let to = format!("sqlite:{}", moved.path().display());
            succeeds(server.command().args(["copy", "--to", &to]));
            moved.path().to_owned()
        }
        false => server.data(),
    };
    for entry in std::fs::read_dir(&data).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    damage(copy.path());
    let mut rebuild = server.command();
    for name in stores() {
        rebuild.env_remove(name);
    }
    succeeds(rebuild.arg("rebuild").env("TRADEWIND_DATA", copy.path()));
    assert_same(&Books::in_directory(&data), &Books::in_directory(copy.path()));
}

fn succeeds(command: &mut std::process::Command) {
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn damage(data: &Path) {
    let mut damaged = 0;
    for (service, collections) in SERVICES {
        let connection = Connection::open(data.join(format!("{service}.sqlite"))).unwrap();
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
}

fn assert_same(before: &Books, after: &Books) {
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
