//! A commit under way.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::document::{ColumnType, Key, Value};
use kernel::event::{Recorded, StreamId};
use kernel::store::serial::{Keys, Latest, Row, Transaction};
use kernel::store::{CommitError, Head, StoreError};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Error, Postgres};

use crate::network::{self, BEGIN, Held, signed};
use crate::postgres::failure::{is_transient, of_commit, of_statement};
use crate::postgres::statements::{self, Statements};
use crate::rows::{self, Cells as _};

pub(super) struct PostgresTransaction {
    held: Held<Postgres>,
    statements: Arc<Statements>,
    /// That the server has rolled back, or would have to, for others' sake.
    is_rolled_back: bool,
}

impl PostgresTransaction {
    pub(super) async fn begin(pool: &PgPool, statements: Arc<Statements>) -> Result<Self, StoreError> {
        let held = Held::begin(pool, BEGIN).await?;
        Ok(Self {
            held,
            statements,
            is_rolled_back: false,
        })
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
        let head = sqlx::query(statements::TAKE_HEAD).fetch_one(&mut *self.held).await;
        let head = rows::head(&head.map_err(|error| self.of_statement(&error))?)?;
        let latest = sqlx::query(statements::LATEST).bind(writer);
        let latest = latest.fetch_optional(&mut *self.held).await;
        let latest = latest.map_err(|error| self.of_statement(&error))?;
        let latest = latest.as_ref().map(network::latest).transpose()?;
        Ok((head, latest))
    }

    async fn versions(&mut self, keys: &Keys<'_>) -> Result<HashMap<Key, u64>, CommitError> {
        let mut select = sqlx::query(AssertSqlSafe(statements::of_each(keys, "version")));
        for ids in keys.values() {
            select = select.bind(ids);
        }
        let found = select.fetch_all(&mut *self.held).await;
        let found = found.map_err(|error| self.of_statement(&error))?;
        Ok(network::by_key(&found, keys, |row| rows::count(row, 2))?)
    }

    async fn stream_versions(&mut self, streams: &[&StreamId]) -> Result<HashMap<StreamId, u64>, CommitError> {
        let ids: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
        let select = sqlx::query(statements::STREAM_VERSIONS).bind(ids);
        let found = select.fetch_all(&mut *self.held).await;
        let found = found.map_err(|error| self.of_statement(&error))?;
        let versions = found
            .iter()
            .map(|row| Ok((StreamId::new(row.text(0)?), rows::count(row, 1)?)));
        versions.collect()
    }

    async fn append(&mut self, events: &[Recorded]) -> Result<(), CommitError> {
        let meta = events
            .iter()
            .map(|event| serde_json::to_string(&event.meta).expect("metadata is plain text and numbers"));
        let numbers = |of: fn(&Recorded) -> u64| -> Vec<i64> { events.iter().map(|event| signed(of(event))).collect() };
        let insert = sqlx::query(statements::APPEND)
            .bind(numbers(|event| event.position.0))
            .bind(numbers(|event| event.prev.0))
            .bind(events.iter().map(|event| event.stream.as_str()).collect::<Vec<_>>())
            .bind(numbers(|event| event.version))
            .bind(numbers(|event| u64::from(event.lane.0)))
            .bind(events.iter().map(|event| event.id.to_string()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| &*event.event_type).collect::<Vec<_>>())
            .bind(
                events
                    .iter()
                    .map(|event| event.time.as_microsecond())
                    .collect::<Vec<_>>(),
            )
            .bind(events.iter().map(|event| event.data.get()).collect::<Vec<_>>())
            .bind(meta.collect::<Vec<_>>());
        self.run(insert).await
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

    async fn leave(&mut self, head: &Head, writer: &str, latest: Latest) -> Result<(), CommitError> {
        let lanes = serde_json::to_string(&head.lanes).expect("a list of numbers is JSON");
        let leave = sqlx::query(statements::LEAVE)
            .bind(signed(head.position.0))
            .bind(head.time.as_microsecond())
            .bind(lanes)
            .bind(writer)
            .bind(latest.batch.to_string())
            .bind(signed(latest.last.0))
            .bind(head.epoch.0.to_string());
        self.run(leave).await
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

    async fn run(
        &mut self,
        statement: sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<(), CommitError> {
        let done = statement.execute(&mut *self.held).await;
        done.map(drop).map_err(|error| self.of_statement(&error))
    }
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
