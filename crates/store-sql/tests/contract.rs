//! SQLite against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Store;
use store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;
use testkit::store_suite::{StoreFactory, fixture};
use uuid::Uuid;

struct Sqlite(TempDir);

#[async_trait]
impl StoreFactory for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        let path = self.0.path().join("store.db");
        let options = SqliteOptions::new(path, fixture::schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        Arc::new(SqliteStore::open(options).expect("the store opens"))
    }
}

testkit::store_suite!(Sqlite(TempDir::new().expect("a directory for the test")));
