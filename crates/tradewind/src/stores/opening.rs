//! A store by the driver that opens it, or says what opening it would run.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kernel::clock::{Clock, Ids};
use kernel::engine::schema;
use kernel::store::Opened;
use store_sql::{SqliteOptions, SqliteStore};

#[cfg(any(feature = "postgres", feature = "mysql", feature = "mongodb"))]
use crate::stores::Driver;
use crate::stores::{Place, StoreUrl};
use crate::system::Described;

/// What a driver needs to know of a store.
pub(super) enum Opening {
    Sqlite(SqliteOptions),
    #[cfg(feature = "postgres")]
    Postgres(Box<store_sql::PostgresOptions>),
    #[cfg(feature = "mysql")]
    Mysql(Box<store_sql::MysqlOptions>),
    #[cfg(feature = "mongodb")]
    Mongodb(Box<store_mongodb::MongodbOptions>),
}

impl Opening {
    pub(super) fn of(
        place: &Place,
        described: &Described,
        rebuild: Vec<&'static str>,
        ids: &Ids,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let now = clock.now();
        let (schema, epoch) = (schema(described.collections), ids.uuid(now));
        Ok(match &place.url {
            StoreUrl::Sqlite(path) => {
                let mut options = SqliteOptions::new(path, schema, epoch, now);
                options.alone = true;
                options.rebuild = rebuild;
                Self::Sqlite(options)
            }
            #[cfg(feature = "postgres")]
            StoreUrl::Server(Driver::Postgres, url) => {
                let mut options = store_sql::PostgresOptions::new(&url.reveal(), place.name, schema, epoch, now)?;
                options.rebuild = rebuild;
                Self::Postgres(Box::new(options))
            }
            #[cfg(feature = "mysql")]
            StoreUrl::Server(Driver::Mysql, url) => {
                let mut options = store_sql::MysqlOptions::new(&url.reveal(), &url.database, schema, epoch, now)?;
                options.rebuild = rebuild;
                Self::Mysql(Box::new(options))
            }
            #[cfg(feature = "mongodb")]
            StoreUrl::Server(Driver::Mongodb, url) => {
                let mut options = store_mongodb::MongodbOptions::new(&url.reveal(), &url.database, schema, epoch, now)?;
                options.rebuild = rebuild;
                Self::Mongodb(Box::new(options))
            }
            #[cfg(not(feature = "full"))]
            StoreUrl::Server(driver, _) => anyhow::bail!("the driver {} is not built in", driver.feature()),
        })
    }

    pub(super) async fn open(self) -> Result<Arc<dyn Opened>> {
        Ok(match self {
            Self::Sqlite(options) => {
                make_directory(&options.path)?;
                tokio::task::spawn_blocking(|| SqliteStore::open(options).map(Arc::new)).await??
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => Arc::new(store_sql::PostgresStore::open(*options).await?),
            #[cfg(feature = "mysql")]
            Self::Mysql(options) => Arc::new(store_sql::MysqlStore::open(*options).await?),
            #[cfg(feature = "mongodb")]
            Self::Mongodb(options) => Arc::new(store_mongodb::MongodbStore::open(*options).await?),
        })
    }

    pub(super) async fn plan(self) -> Result<Vec<String>> {
        Ok(match self {
            Self::Sqlite(options) => tokio::task::spawn_blocking(move || SqliteStore::plan(&options)).await??,
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => store_sql::PostgresStore::plan(&options).await?,
            #[cfg(feature = "mysql")]
            Self::Mysql(options) => store_sql::MysqlStore::plan(&options).await?,
            #[cfg(feature = "mongodb")]
            Self::Mongodb(options) => store_mongodb::MongodbStore::plan(&options).await?,
        })
    }
}

/// The one that a file is to be in, for its owner alone.
fn make_directory(path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make {}", directory.display()))
}
