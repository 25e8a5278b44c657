//! MongoDB against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::{Opened, Schema};
use servers::Kind;
use store_mongodb::{MongodbOptions, MongodbStore};
use testkit::store_suite::carrying::OpenedFactory;
use testkit::store_suite::{fixture, refused};
use uuid::Uuid;

async fn open(database: &str, schema: Schema) -> Arc<MongodbStore> {
    let url = Kind::Mongodb.shared();
    let options = MongodbOptions::new(&url, database, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    let options = options.expect("the server has a URL");
    Arc::new(MongodbStore::open(options).await.expect("the store opens"))
}

/// A database of its own.
struct Mongodb(String);

#[async_trait]
impl OpenedFactory for Mongodb {
    async fn open(&self) -> Arc<dyn Opened> {
        open(&self.0, fixture::schema()).await
    }
}

mod mongodb {
    use super::*;

    testkit::store_suite!(Mongodb(servers::unique_name()));
    testkit::carrying_suite!(Mongodb(servers::unique_name()));

    /// It takes no document of more than 16 MiB.
    #[tokio::test]
    async fn only_the_command_that_brings_what_it_does_not_take_is_refused() {
        let store = open(&servers::unique_name(), refused::remarks()).await;
        refused::only_the_command_that_brings_it_is_refused(store, &"x".repeat(9 << 20)).await;
    }
}
