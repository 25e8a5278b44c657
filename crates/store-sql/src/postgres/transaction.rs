//! A commit under way.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::document::{ColumnType, Value};
use kernel::event::{Recorded, StreamId};
use kernel::store::serial::{Latest, Row, Subjects, Transaction, Versions};
use kernel::store::{CommitError, Head, StoreError};
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Error, Postgres};

use crate::network::{self, BEGIN, Held, signed};
use crate::postgres::failure::{is_transient, of_commit, of_statement};
use crate::postgres::statements::{self, Statements};
use crate::rows::{self, Cells as _};

type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

pub(super) struct PostgresTransaction {
    held: Held<Postgres>,
    statements: Arc<Statements>,
    /// That the server has rolled back, or would have to, for others' sake.
    is_rolled_back: bool,
}

impl PostgresTransaction {
    /// Begins once it takes the head, in the same round trip.
    pub(super) async fn new(pool: &PgPool, statements: Arc<Statements>) -> Result<Self, StoreError> {
        Ok(Self {
            held: Held::of(pool).await?,
            statements,
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
        self.run(bind(sqlx::query(statements::APPEND), events)).await
    }

    async fn put(&mut self, collection: &'static str, rows: &[Row<'_>]) -> Result<(), CommitError> {
        let statements = Arc::clone(&self.statements);
        let writes = statements.of(collection);
        let mut insert = sqlx::query(AssertSqlSafe(writes.put.clone()))
            .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| signed(row.version)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.document).collect::<Vec<_>>());
        for (place, column_type) in writes.columns.iter().enumerate() {
            let values = rows.iter().map(|row| &row.columns[place]);
            insert = match column_type {
                ColumnType::Integer => insert.bind(values.map(number).collect::<Vec<_>>()),
                ColumnType::Text => insert.bind(values.map(text).collect::<Vec<_>>()),
            };
        }
        self.run(insert).await
    }

    async fn delete(&mut self, collection: &'static str, ids: &[&str]) -> Result<(), CommitError> {
        let text = self.statements.of(collection).delete.clone();
        self.run(sqlx::query(AssertSqlSafe(text)).bind(ids)).await
    }

    async fn leave(
        &mut self,
        events: &[Recorded],
        head: &Head,
        writer: &str,
        latest: Latest,
    ) -> Result<(), CommitError> {
        let lanes = serde_json::to_string(&head.lanes).expect("a list of numbers is JSON");
        let text = match events {
            [] => statements::LEAVE,
            _ => statements::APPEND_AND_LEAVE,
        };
        let leave = sqlx::query(text)
            .bind(head.epoch.0.to_string())
            .bind(signed(head.position.0))
            .bind(head.time.as_microsecond())
            .bind(lanes)
            .bind(writer)
            .bind(latest.batch.to_string())
            .bind(signed(latest.last.0));
        match events {
            [] => self.run(leave).await,
            _ => self.run(bind(leave, events)).await,
        }
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

    async fn run(&mut self, statement: PostgresQuery<'_>) -> Result<(), CommitError> {
        let done = statement.execute(&mut *self.held).await;
        done.map(drop).map_err(|error| self.of_statement(&error))
    }
}

/// Binds the columns of events, a list for each.
fn bind<'q>(statement: PostgresQuery<'q>, events: &[Recorded]) -> PostgresQuery<'q> {
    let meta = events
        .iter()
        .map(|event| serde_json::to_string(&event.meta).expect("metadata is plain text and numbers"));
    let numbers = |of: fn(&Recorded) -> u64| -> Vec<i64> { events.iter().map(|event| signed(of(event))).collect() };
    let times = events.iter().map(|event| event.time.as_microsecond());
    statement
        .bind(numbers(|event| event.position.0))
        .bind(numbers(|event| event.prev.0))
        .bind(events.iter().map(|event| event.stream.as_str()).collect::<Vec<_>>())
        .bind(numbers(|event| event.version))
        .bind(numbers(|event| u64::from(event.lane.0)))
        .bind(events.iter().map(|event| event.id.to_string()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| &*event.event_type).collect::<Vec<_>>())
        .bind(times.collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.data.get()).collect::<Vec<_>>())
        .bind(meta.collect::<Vec<_>>())
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
