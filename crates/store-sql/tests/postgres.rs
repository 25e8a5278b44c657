//! PostgreSQL against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Opened;
use servers::Kind;
use store_sql::{PostgresOptions, PostgresStore};
use testkit::store_suite::carrying::OpenedFactory;
use testkit::store_suite::fixture;
use uuid::Uuid;

/// A schema of its own.
struct Postgres(String);

#[async_trait]
impl OpenedFactory for Postgres {
    async fn open(&self) -> Arc<dyn Opened> {
        let url = Kind::Postgres.shared();
        let options = PostgresOptions::new(
            &url,
            &self.0,
            fixture::schema(),
            Uuid::from_u128(1),
            Timestamp::UNIX_EPOCH,
        );
        let options = options.expect("the server has a URL");
        Arc::new(PostgresStore::open(options).await.expect("the store opens"))
    }
}

mod postgres {
    use super::*;

    testkit::store_suite!(Postgres(servers::unique_name()));
    testkit::carrying_suite!(Postgres(servers::unique_name()));
}
