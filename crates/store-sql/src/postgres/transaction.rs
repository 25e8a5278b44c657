//! A commit under way.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::event::{Recorded, StreamId};
use kernel::store::serial::{Latest, Row, Subjects, Transaction, Versions};
use kernel::store::{CommitError, Head, StoreError};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Error, Postgres};

use crate::network::{self, BEGIN, Held};
use crate::postgres::failure::{is_transient, of_commit, of_statement};
use crate::postgres::statements::{self, Statements};
use crate::postgres::writing::Writing;
use crate::rows::{self, Cells as _};

/// What is written is sent at once with the head, so that a commit is four round trips, and not one more for each collection.
pub(super) struct PostgresTransaction {
    held: Held<Postgres>,
    statements: Arc<Statements>,
    writes: Writing,
    /// That the server has rolled back, or would have to, for others' sake.
    is_rolled_back: bool,
}

impl PostgresTransaction {
    /// Begins once it takes the head, in the same round trip.
    pub(super) async fn new(pool: &PgPool, statements: Arc<Statements>) -> Result<Self, StoreError> {
        Ok(Self {
            held: Held::of(pool).await?,
            statements,
            writes: Writing::default(),
            is_rolled_back: false,
        })
    }

    /// Begins without the head, which is not taken then.
    pub(super) async fn alone(pool: &PgPool, statements: Arc<Statements>) -> Result<Self, StoreError> {
        let mut transaction = Self::new(pool, statements).await?;
        transaction.held.begin(BEGIN).await?;
        Ok(transaction)
    }
}

#[async_trait]
impl network::Transaction for PostgresTransaction {
    async fn commit(&mut self) -> Result<(), CommitError> {
        // What was written without a head.
        if !self.writes.is_empty() {
            self.send().await?;
        }
        self.held.commit().await.map_err(|error| self.of_commit(&error))
    }

    fn is_to_begin_again(&self) -> bool {
        self.is_rolled_back
    }

    fn give_back(self) {
        self.held.give_back();
    }
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn take_head(&mut self, writer: &str) -> Result<(Head, Option<Latest>), CommitError> {
        let found = self.held.begin_reading(network::take_head(writer)).await;
        network::head_and_latest(&found.map_err(|error| self.of_statement(&error))?)
    }

    async fn versions(&mut self, of: &Subjects<'_>) -> Result<Versions, CommitError> {
        let mut select = sqlx::query(AssertSqlSafe(statements::versions(of)));
        for ids in of.documents.values() {
            select = select.bind(ids);
        }
        if !of.streams.is_empty() {
            select = select.bind(of.streams.iter().map(|stream| stream.as_str()).collect::<Vec<_>>());
        }
        let found = select.fetch_all(&mut *self.held).await;
        let mut documents = found.map_err(|error| self.of_statement(&error))?;
        let after = rows::limit(of.documents.len());
        let streams = documents.extract_if(.., |row| row.number(0).is_ok_and(|place| place == after));
        let streams = streams.map(|row| Ok((StreamId::new(row.text(1)?), rows::count(&row, 2)?)));
        Ok(Versions {
            streams: streams.collect::<Result<_, StoreError>>()?,
            documents: network::by_key(&documents, &of.documents, |row| rows::count(row, 2))?,
        })
    }

    async fn append(&mut self, events: &[Recorded]) -> Result<(), CommitError> {
        self.writes.append(events).map_err(|error| of_statement(&error))
    }

    async fn put(&mut self, collection: &'static str, rows: &[Row<'_>]) -> Result<(), CommitError> {
        let put = self.writes.put(self.statements.of(collection), rows);
        put.map_err(|error| of_statement(&error))
    }

    async fn delete(&mut self, collection: &'static str, ids: &[&str]) -> Result<(), CommitError> {
        let delete = self.writes.delete(self.statements.of(collection), ids);
        delete.map_err(|error| of_statement(&error))
    }

    async fn leave(
        &mut self,
        events: &[Recorded],
        head: &Head,
        writer: &str,
        latest: Latest,
    ) -> Result<(), CommitError> {
        if !events.is_empty() {
            self.append(events).await?;
        }
        let left = self.writes.leave(head, writer, latest);
        left.map_err(|error| of_statement(&error))?;
        self.send().await
    }
}

impl PostgresTransaction {
    fn of_statement(&mut self, error: &Error) -> CommitError {
        self.is_rolled_back = is_transient(error);
        of_statement(error)
    }

    fn of_commit(&mut self, error: &Error) -> CommitError {
        self.is_rolled_back = is_transient(error);
        of_commit(error)
    }

    /// Sends what is to be written.
    async fn send(&mut self) -> Result<(), CommitError> {
        let writes = std::mem::take(&mut self.writes).finish();
        let done = writes.execute(&mut *self.held).await;
        done.map(drop).map_err(|error| self.of_statement(&error))
    }
}
