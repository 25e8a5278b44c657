//! MongoDB against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Opened;
use servers::Kind;
use store_mongodb::{MongodbOptions, MongodbStore};
use testkit::store_suite::carrying::OpenedFactory;
use testkit::store_suite::fixture;
use uuid::Uuid;

/// A database of its own.
struct Mongodb(String);

#[async_trait]
impl OpenedFactory for Mongodb {
    async fn open(&self) -> Arc<dyn Opened> {
        let url = Kind::Mongodb.shared();
        let schema = fixture::schema();
        let options = MongodbOptions::new(&url, &self.0, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        let options = options.expect("the server has a URL");
        Arc::new(MongodbStore::open(options).await.expect("the store opens"))
    }
}

mod mongodb {
    use super::*;

    testkit::store_suite!(Mongodb(servers::unique_name()));
    testkit::carrying_suite!(Mongodb(servers::unique_name()));
}
