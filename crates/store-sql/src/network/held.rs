//! A connection that one call has to itself.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use kernel::store::StoreError;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor, Pool};
use tokio::time::timeout;

use super::unavailable;

/// Begins a transaction that writes.
pub(crate) const BEGIN: &str = "BEGIN";

/// How long a call waits for a connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);
/// A connection that was used within so long is there still, or the call finds out that it is not.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// How long another may take to answer a ping before a new one is opened in its place.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// How long a connection may take to go back to its pool, beyond which it is closed.
const RETURN_MAX: Duration = Duration::from_secs(2);

/// Connections whose host may vanish without a word.
pub(crate) fn pool<DB: Database>(connections: u32) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_MAX)
        // The driver's own test has no limit but that of waiting for a connection.
        .test_before_acquire(false)
        .before_acquire(|connection: &mut DB::Connection, found| {
            Box::pin(async move {
                let probed = async { timeout(PROBE_MAX, connection.ping()).await };
                Ok(found.idle_for < PROBE_AFTER || matches!(probed.await, Ok(Ok(()))))
            })
        })
}

/// A connection of a pool, which gets it back only at the end of the call. One that is dropped before is closed: on it may be
/// a transaction or half an answer, of which the driver does not know in each case, and the next call would meet that.
pub(crate) struct Held<DB: Database> {
    /// There until it is given back.
    connection: Option<PoolConnection<DB>>,
    has_begun: bool,
}

impl<DB: Database> Held<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    pub(crate) async fn of(pool: &Pool<DB>) -> Result<Self, StoreError> {
        let acquired = Box::pin(pool.acquire()).await.map_err(|error| unavailable(&error))?;
        Ok(Self {
            connection: Some(acquired),
            has_begun: false,
        })
    }

    /// With a transaction, which this statement begins.
    pub(crate) async fn begun(pool: &Pool<DB>, statement: &'static str) -> Result<Self, StoreError> {
        let mut held = Self::of(pool).await?;
        held.begin(statement).await?;
        Ok(held)
    }

    /// Begins a transaction by this statement.
    pub(crate) async fn begin(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.has_begun = true;
        let begun = self.execute(statement).await;
        begun.map(drop).map_err(|error| unavailable(&error))
    }

    /// Begins a transaction by the first of some statements, which are sent at once, and gives the rows of all.
    pub(crate) async fn begin_reading(&mut self, statements: String) -> Result<Vec<DB::Row>, sqlx::Error> {
        self.has_begun = true;
        self.fetch_all(sqlx::raw_sql(AssertSqlSafe(statements))).await
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        self.has_begun = false;
        Ok(())
    }

    /// To the pool, with what was begun rolled back. Nobody waits for that.
    pub(crate) fn give_back(mut self) {
        let returned = async move {
            if self.has_begun && self.execute("ROLLBACK").await.is_err() {
                return;
            }
            // What its drop would do without a limit: it waits for a ping.
            if let Some(mut connection) = self.connection.take() {
                connection.return_to_pool().await;
            }
        };
        tokio::spawn(timeout(RETURN_MAX, returned));
    }
}

impl<DB: Database> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect("it was not given back")
    }
}

impl<DB: Database> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect("it was not given back")
    }
}

impl<DB: Database> Drop for Held<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
