//! PostgreSQL against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::{Opened, Schema};
use servers::Kind;
use store_sql::{PostgresOptions, PostgresStore};
use testkit::store_suite::carrying::OpenedFactory;
use testkit::store_suite::{fixture, refused};
use uuid::Uuid;

async fn open(namespace: &str, schema: Schema) -> Arc<PostgresStore> {
    let url = Kind::Postgres.shared();
    let options = PostgresOptions::new(&url, namespace, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    let options = options.expect("the server has a URL");
    Arc::new(PostgresStore::open(options).await.expect("the store opens"))
}

/// A schema of its own.
struct Postgres(String);

#[async_trait]
impl OpenedFactory for Postgres {
    async fn open(&self) -> Arc<dyn Opened> {
        open(&self.0, fixture::schema()).await
    }
}

mod postgres {
    use super::*;

    testkit::store_suite!(Postgres(servers::unique_name()));
    testkit::carrying_suite!(Postgres(servers::unique_name()));

    /// It takes no text with U+0000, which nothing from outside can have.
    #[tokio::test]
    async fn only_the_command_that_brings_what_it_does_not_take_is_refused() {
        let store = open(&servers::unique_name(), refused::remarks()).await;
        refused::only_the_command_that_brings_it_is_refused(store, "a\0b").await;
    }
}
