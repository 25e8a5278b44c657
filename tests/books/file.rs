//! A store in an SQLite file, read without the binary's own code, the way an auditor would.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};
use testkit::books::Event;

use super::Stored;

/// Tables that are no collections.
const JOURNAL_TABLES: [&str; 4] = ["journal", "head", "batches", "migrations"];

/// Opened anew for each question.
#[derive(Debug)]
pub(super) struct StoreFile(pub(super) PathBuf);

impl StoreFile {
    fn open(&self) -> Connection {
        let connection = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY);
        connection.unwrap_or_else(|error| panic!("{}: {error}", self.0.display()))
    }

    pub(super) fn journal(&self) -> Vec<Event> {
        let connection = self.open();
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

    /// What each event says, and of whom it came.
    pub(super) fn told(&self) -> Vec<String> {
        let connection = self.open();
        let mut select = connection
            .prepare("SELECT data || coalesce(meta, '') FROM journal")
            .unwrap();
        let events = select.query_map([], |row| row.get(0));
        events.unwrap().map(Result::unwrap).collect()
    }

    pub(super) fn head(&self) -> (u64, Vec<u64>) {
        let (position, lanes): (u64, String) = self
            .open()
            .query_row("SELECT position, lanes FROM head", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        (position, serde_json::from_str(&lanes).unwrap())
    }

    /// The names of its collections.
    pub(super) fn collections(&self) -> Vec<String> {
        let connection = self.open();
        let mut select = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .unwrap();
        let tables = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap);
        tables
            .filter(|table: &String| !JOURNAL_TABLES.contains(&table.as_str()))
            .collect()
    }

    pub(super) fn documents(&self, collection: &str) -> BTreeMap<String, Stored> {
        let connection = self.open();
        let mut select = connection
            .prepare(&format!("SELECT id, version, doc FROM \"{collection}\""))
            .unwrap();
        let documents = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
        documents.unwrap().map(Result::unwrap).collect()
    }
}
