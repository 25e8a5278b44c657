//! SQLite: a file.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Opened;
use rusqlite::Connection;
use store_sql::{OpenError, SqliteOptions, SqliteStore};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{Place, Wanted};

pub(crate) struct File(TempDir);

impl File {
    fn path(&self) -> PathBuf {
        self.0.path().join("store.db")
    }

    fn options(&self, wanted: Wanted) -> SqliteOptions {
        let new = SqliteOptions::new(self.path(), wanted.schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        SqliteOptions {
            rebuild: wanted.rebuild,
            ..new
        }
    }
}

#[async_trait]
impl Place for File {
    const FIXTURE: &'static str = "sqlite.sql";

    fn new() -> Self {
        Self(TempDir::new().expect("a directory for the test"))
    }

    async fn plan(&self, wanted: Wanted) -> Result<Vec<String>, OpenError> {
        SqliteStore::plan(&self.options(wanted))
    }

    async fn open(&self, wanted: Wanted) -> Result<Arc<dyn Opened>, OpenError> {
        Ok(Arc::new(SqliteStore::open(self.options(wanted))?))
    }

    async fn shell(&self, sql: &str) {
        let shell = Connection::open(self.path());
        let done = shell.and_then(|shell| shell.execute_batch(sql));
        done.expect("the shell does as it is told");
    }

    async fn shell_inside(&self, sql: &str) {
        self.shell(sql).await;
    }

    async fn described(&self) -> Vec<String> {
        if fs::read_dir(self.0.path())
            .expect("the directory is read")
            .next()
            .is_none()
        {
            return Vec::new();
        }
        let shell = Connection::open(self.path()).expect("the file opens");
        let mut described = Vec::new();
        for select in [
            "SELECT 'application ' || application_id FROM pragma_application_id",
            "SELECT concat_ws(' ', type, name, 'of', tbl_name, sql) FROM sqlite_schema ORDER BY type, name",
            "SELECT version || ' ' || name FROM migrations ORDER BY version",
        ] {
            let mut select = shell.prepare(select).expect(select);
            let rows = select.query_map([], |row| row.get(0)).expect("it is answered");
            described.extend(rows.map(|row| row.expect("it is text")));
        }
        described
    }
}
