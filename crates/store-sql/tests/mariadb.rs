//! MariaDB against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Store;
use servers::Kind;
use store_sql::{MysqlOptions, MysqlStore};
use testkit::store_suite::{StoreFactory, fixture};
use uuid::Uuid;

/// A database of its own.
struct Mariadb(String);

#[async_trait]
impl StoreFactory for Mariadb {
    async fn open(&self) -> Arc<dyn Store> {
        let url = Kind::Mariadb.shared();
        let options = MysqlOptions::new(
            &url,
            &self.0,
            fixture::schema(),
            Uuid::from_u128(1),
            Timestamp::UNIX_EPOCH,
        );
        let options = options.expect("the server has a URL");
        Arc::new(MysqlStore::open(options).await.expect("the store opens"))
    }
}

mod mariadb {
    use super::*;

    testkit::store_suite!(Mariadb(servers::unique_name()));
}
