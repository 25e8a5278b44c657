//! A connection that one call has to itself.

use std::ops::{Deref, DerefMut};

use kernel::store::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Executor, Pool};

use super::unavailable;

/// Begins a transaction that writes.
pub(crate) const BEGIN: &str = "BEGIN";

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
        let acquired = pool.acquire().await.map_err(|error| unavailable(&error))?;
        Ok(Self {
            connection: Some(acquired),
            has_begun: false,
        })
    }

    /// With a transaction, which this statement begins.
    pub(crate) async fn begin(pool: &Pool<DB>, statement: &'static str) -> Result<Self, StoreError> {
        let mut held = Self::of(pool).await?;
        let begun = held.execute(statement).await;
        begun.map_err(|error| unavailable(&error))?;
        held.has_begun = true;
        Ok(held)
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        self.has_begun = false;
        self.give_back();
        Ok(())
    }

    /// To the pool, with what was begun rolled back. Nobody waits for that.
    pub(crate) fn give_back(mut self) {
        tokio::spawn(async move {
            if self.has_begun && self.execute("ROLLBACK").await.is_err() {
                return;
            }
            self.connection.take();
        });
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
