//! A commit under way.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::document::{Key, Value};
use kernel::event::{Recorded, StreamId};
use kernel::store::serial::{Keys, Latest, Row, Subjects, Transaction, Versions};
use kernel::store::{CommitError, Head, StoreError};
use sqlx::mysql::{MySqlArguments, MySqlPool};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Error, MySql};

use crate::mysql::failure::{is_transient, of_commit, of_statement};
use crate::mysql::statements::{self, EVENT_CELLS, ROWS_MAX, Statements};
use crate::network::{self, BEGIN, Held, signed};
use crate::rows::{self, Cells as _};

/// An event's stream, id and type at most: three keys.
const EVENT_TEXT_BYTES: usize = 3 * 1020;

pub(super) struct MysqlTransaction {
    held: Held<MySql>,
    statements: Arc<Statements>,
    /// That the server has rolled back, or would have to, for others' sake.
    is_rolled_back: bool,
}

impl MysqlTransaction {
    /// Begins once it takes the head, in the same round trip.
    pub(super) async fn new(pool: &MySqlPool, statements: Arc<Statements>) -> Result<Self, StoreError> {
        Ok(Self {
            held: Held::of(pool).await?,
            statements,
            is_rolled_back: false,
        })
    }

    /// Begins without the head, which is not taken then.
    pub(super) async fn alone(pool: &MySqlPool, statements: Arc<Statements>) -> Result<Self, StoreError> {
        let mut transaction = Self::new(pool, statements).await?;
        transaction.held.begin(BEGIN).await?;
        Ok(transaction)
    }

    async fn document_versions(&mut self, keys: &Keys<'_>) -> Result<HashMap<Key, u64>, CommitError> {
        let mut versions = HashMap::new();
        for group in statements::groups(keys) {
            let mut select = sqlx::query(AssertSqlSafe(statements::of_each(&group, "version")));
            for id in group.values().flatten() {
                select = select.bind(id);
            }
            let found = select.fetch_all(&mut *self.held).await;
            let found = found.map_err(|error| self.of_statement(&error))?;
            versions.extend(network::by_key(&found, &group, |row| rows::count(row, 2))?);
        }
        Ok(versions)
    }

    async fn stream_versions(&mut self, streams: &[&StreamId]) -> Result<HashMap<StreamId, u64>, CommitError> {
        let mut versions = HashMap::new();
        for streams in streams.chunks(ROWS_MAX) {
            let ids: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
            let ids = statements::rounded(&ids, 1);
            let mut select = sqlx::query(AssertSqlSafe(statements::stream_versions(ids.len())));
            for id in &ids {
                select = select.bind(id);
            }
            let found = select.fetch_all(&mut *self.held).await;
            for row in &found.map_err(|error| self.of_statement(&error))? {
                let place = usize::try_from(row.number(0)?).map_err(rows::damaged)?;
                match rows::count(row, 1)? {
                    0 => None,
                    version => versions.insert(StreamId::new(ids[place]), version),
                };
            }
        }
        Ok(versions)
    }
}

#[async_trait]
impl network::Transaction for MysqlTransaction {
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
impl Transaction for MysqlTransaction {
    async fn take_head(&mut self, writer: &str) -> Result<(Head, Option<Latest>), CommitError> {
        let found = self.held.begin_reading(network::take_head(writer)).await;
        network::head_and_latest(&found.map_err(|error| self.of_statement(&error))?)
    }

    async fn versions(&mut self, of: &Subjects<'_>) -> Result<Versions, CommitError> {
        Ok(Versions {
            documents: self.document_versions(&of.documents).await?,
            streams: self.stream_versions(&of.streams).await?,
        })
    }

    async fn append(&mut self, events: &[Recorded]) -> Result<(), CommitError> {
        let meta = |event: &Recorded| serde_json::to_string(&event.meta).expect("metadata is plain text and numbers");
        let events: Vec<_> = events.iter().map(|event| (event, meta(event))).collect();
        let bytes = |(event, meta): &(&Recorded, String)| event.data.get().len() + meta.len() + EVENT_TEXT_BYTES;
        let statements = Arc::clone(&self.statements);
        for events in statements.pieces(&events, EVENT_CELLS, bytes)? {
            let mut insert = sqlx::query(AssertSqlSafe(statements::append(events.len())));
            for (event, meta) in events {
                insert = insert
                    .bind(signed(event.position.0))
                    .bind(signed(event.prev.0))
                    .bind(event.stream.as_str())
                    .bind(signed(event.version))
                    .bind(i64::from(event.lane.0))
                    .bind(event.id.to_string())
                    .bind(&*event.event_type)
                    .bind(event.time.as_microsecond())
                    .bind(event.data.get())
                    .bind(meta);
            }
            self.run(insert).await?;
        }
        Ok(())
    }

    async fn put(&mut self, collection: &'static str, rows: &[Row<'_>]) -> Result<(), CommitError> {
        let statements = Arc::clone(&self.statements);
        let writes = statements.of(collection);
        for rows in statements.pieces(rows, writes.cells, text_bytes)? {
            let mut insert = sqlx::query(AssertSqlSafe(writes.put(rows.len())));
            for row in rows {
                insert = insert.bind(row.id).bind(signed(row.version)).bind(row.document);
                insert = row.columns.iter().fold(insert, bind);
            }
            self.run(insert).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, collection: &'static str, ids: &[&str]) -> Result<(), CommitError> {
        let statements = Arc::clone(&self.statements);
        for ids in ids.chunks(ROWS_MAX) {
            let ids = statements::rounded(ids, 1);
            let mut delete = sqlx::query(AssertSqlSafe(statements.of(collection).delete(ids.len())));
            for id in ids {
                delete = delete.bind(id);
            }
            self.run(delete).await?;
        }
        Ok(())
    }

    async fn leave(
        &mut self,
        events: &[Recorded],
        head: &Head,
        writer: &str,
        latest: Latest,
    ) -> Result<(), CommitError> {
        self.append(events).await?;
        let lanes = serde_json::to_string(&head.lanes).expect("a list of numbers is JSON");
        let advance = sqlx::query(statements::ADVANCE)
            .bind(head.epoch.0.to_string())
            .bind(signed(head.position.0))
            .bind(head.time.as_microsecond())
            .bind(lanes);
        self.run(advance).await?;
        let leave = sqlx::query(statements::LEAVE_BATCH)
            .bind(writer)
            .bind(latest.batch.to_string())
            .bind(signed(latest.last.0));
        self.run(leave).await
    }
}

impl MysqlTransaction {
    fn of_statement(&mut self, error: &Error) -> CommitError {
        self.is_rolled_back = is_transient(error);
        of_statement(error)
    }

    fn of_commit(&mut self, error: &Error) -> CommitError {
        self.is_rolled_back = is_transient(error);
        of_commit(error)
    }

    async fn run(&mut self, statement: Query<'_, MySql, MySqlArguments>) -> Result<(), CommitError> {
        let done = statement.execute(&mut *self.held).await;
        done.map(drop).map_err(|error| self.of_statement(&error))
    }
}

/// Binds the value of a column.
pub(super) fn bind<'q>(statement: Query<'q, MySql, MySqlArguments>, value: &Value) -> Query<'q, MySql, MySqlArguments> {
    match value {
        Value::Null => statement.bind(None::<&str>),
        Value::Integer(number) => statement.bind(*number),
        Value::Text(text) => statement.bind(&**text),
    }
}

/// What the values of a document's row come to.
fn text_bytes(row: &Row<'_>) -> usize {
    let columns = row.columns.iter().map(|value| match value {
        Value::Text(text) => text.len(),
        _ => 0,
    });
    row.id.len() + row.document.len() + columns.sum::<usize>()
}
