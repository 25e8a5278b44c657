//! PostgreSQL: a schema for each service, and a pool of connections.

mod failure;
mod open;
mod statements;
mod transaction;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use kernel::document::{ColumnType, Key, Value};
use kernel::event::{Position, Recorded, StreamId};
use kernel::store::carry::{Load, Snapshot};
use kernel::store::{
    Batch, CommitError, Committed, Found, Opened, Query, Schema, Store, StoreError, Stored, TAIL_BYTES_MAX, Tail,
};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::network::{self, Reading, unavailable};
use crate::open::OpenError;
use crate::packets;
use crate::postgres::statements::Statements;
use crate::postgres::transaction::PostgresTransaction;
use crate::reach;
use crate::rows;
use crate::statements::{Page, Parameter, Section};

/// PostgreSQL's own words.
pub(crate) const POSTGRES: Dialect = Dialect {
    create_table: "CREATE TABLE",
    unless_there: "",
    number: "BIGINT",
    key: "TEXT COLLATE \"C\"",
    text: "TEXT COLLATE \"C\"",
    holds: |name, column_type| match column_type {
        ColumnType::Integer => name == "bigint",
        ColumnType::Text => name == "text",
    },
    table_options: "",
    small_table_options: "",
    has_partial_indexes: true,
    compares_rows: true,
    indexes_belong_to_tables: false,
    rewords_indexes: true,
    // Its planner has statistics, and no hints.
    walk_index: |_| String::new(),
    no_index: "",
    parameter: |place| format!("${place}"),
    contains: |column, part| format!("strpos({column}, {part}) > 0"),
};

/// As its makers call it.
const SERVER: &str = "PostgreSQL";
/// How long a call waits for a connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);
/// What each connection is told when it begins. A transaction whose client has gone must not keep the head row, a
/// statement must not run for ever, and a commit that returned is on the disk whatever the server's default is.
const SETTINGS: [(&str, &str); 4] = [
    ("synchronous_commit", "on"),
    ("lock_timeout", "10s"),
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "15s"),
];

/// Begins a transaction whose reads are all of one moment, and that may take its time between them.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

/// Where a store is and what it holds.
#[derive(Clone)]
pub struct PostgresOptions {
    /// How to connect, with the password.
    connect: PgConnectOptions,
    /// The database's schema that has the service's tables; made if it is not there.
    pub namespace: String,
    /// What the service keeps.
    pub schema: Schema,
    /// The epoch of the journal, should it be made now.
    pub new_epoch: Uuid,
    /// The time of opening, for the list of migrations.
    pub now: Timestamp,
    /// Connections at most.
    pub connections: u32,
    /// Collections to empty; see [`crate::SqliteOptions::rebuild`].
    pub rebuild: Vec<&'static str>,
}

impl PostgresOptions {
    /// The usual: eight connections, nothing to rebuild.
    pub fn new(url: &str, namespace: &str, schema: Schema, new_epoch: Uuid, now: Timestamp) -> Result<Self, OpenError> {
        let parsed = PgConnectOptions::from_str(url).map_err(|error| reach::of_url(SERVER, "postgres", &error))?;
        let connect = parsed
            .application_name(&format!("tradewind {namespace}"))
            .options([("search_path", namespace)])
            .options(SETTINGS)
            .disable_statement_logging();
        Ok(Self {
            connect,
            namespace: namespace.to_owned(),
            schema,
            new_epoch,
            now,
            connections: 8,
            rebuild: Vec::new(),
        })
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PostgresOptions");
        shown.field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// A service's store in one schema of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    schema: Schema,
    statements: Arc<Statements>,
    pool: PgPool,
}

impl PostgresStore {
    /// Opens the store or makes it, with whatever the schema declares.
    pub async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        options.schema.check().map_err(OpenError::Schema)?;
        open::declare(&options).await?;
        let pool = pool(&options.connect, options.connections);
        let pool = pool.connect_lazy_with(options.connect);
        Ok(Self {
            statements: Arc::new(Statements::new(&options.schema)),
            schema: options.schema,
            pool,
        })
    }

    /// The statements that [`PostgresStore::open`] would run in one transaction, in order. Changes nothing.
    pub async fn plan(options: &PostgresOptions) -> Result<Vec<String>, OpenError> {
        options.schema.check().map_err(OpenError::Schema)?;
        open::plan(options).await
    }

    async fn read(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, StoreError> {
        self.pool.acquire().await.map_err(|error| unavailable(&error))
    }
}

fn pool(connect: &PgConnectOptions, connections: u32) -> PgPoolOptions {
    let port = connect.get_port();
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_MAX)
        .after_connect(move |_, _| {
            packets::send_at_once(port);
            Box::pin(async { Ok(()) })
        })
}

async fn commit(pool: PgPool, statements: Arc<Statements>, batch: Arc<Batch>) -> Result<Committed, CommitError> {
    let begun = pool.begin().await.map_err(|error| unavailable(&error))?;
    network::commit(PostgresTransaction::new(begun, statements), &batch).await
}

#[async_trait]
impl Opened for PostgresStore {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let opened = async {
            let mut connection = self.pool.connect_options().connect().await?;
            sqlx::raw_sql(BEGIN_SNAPSHOT).execute(&mut connection).await?;
            PostgresSnapshot::of(connection, &POSTGRES, statements::HEAD).await
        };
        Ok(Box::new(opened.await.map_err(|error| unavailable(&error))?))
    }

    async fn load(&self, load: Load) -> Result<(), CommitError> {
        let begun = self.pool.begin().await.map_err(|error| unavailable(&error))?;
        network::load(PostgresTransaction::new(begun, Arc::clone(&self.statements)), &load).await
    }

    async fn insert(&self, batches: Vec<Arc<Batch>>, mut after: Position) -> Result<(), CommitError> {
        let connect = self.pool.connect_options();
        let one = pool(&connect, 1).test_before_acquire(false);
        let one = one.connect_lazy_with((*connect).clone());
        for batch in batches {
            let begun = one.begin().await.map_err(|error| unavailable(&error))?;
            let transaction = PostgresTransaction::new(begun, Arc::clone(&self.statements));
            after = network::insert(transaction, &batch, after).await?;
        }
        one.close().await;
        Ok(())
    }

    async fn finish_rebuild(&self) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE head SET rebuilding = NULL").execute(&self.pool);
        done.await.map(drop).map_err(|error| unavailable(&error))
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        batch.check(&self.schema)?;
        // In a task of its own: whoever stops waiting must not leave a transaction half way.
        let task = tokio::spawn(commit(self.pool.clone(), Arc::clone(&self.statements), batch));
        task.await
            .unwrap_or_else(|error| Err(CommitError::Unknown(format!("the commit did not finish: {error}"))))
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        let wanted = network::wanted(&self.schema, keys)?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        // One statement is one snapshot, so that documents that were committed together are seen together.
        let text = statements::of_each(&wanted, "version, doc");
        let mut select = sqlx::query(AssertSqlSafe(text));
        for ids in wanted.values() {
            select = select.bind(ids);
        }
        let rows = select
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| unavailable(&error))?;
        let found = network::by_key(&rows, &wanted, |row| network::stored(row, 2))?;
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        query.check()?;
        let sections = Section::of(query);
        let mut page = Reading::new(query);
        if let [section] = sections {
            read_section(&mut *self.read().await?, query, *section, &mut page).await?;
        } else if !sections.is_empty() {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            let begun = self.pool.begin_with(begin).await;
            let mut snapshot = begun.map_err(|error| unavailable(&error))?;
            for section in sections {
                read_section(&mut snapshot, query, *section, &mut page).await?;
            }
        }
        Ok(page.finish())
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let select = sqlx::query(statements::STREAM)
            .bind(id.as_str())
            .bind(i64::try_from(from_version).unwrap_or(i64::MAX))
            .bind(rows::limit(limit));
        let rows = select
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| unavailable(&error))?;
        rows.iter().map(rows::event).collect()
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        let mut connection = self.read().await?;
        let mut events = Vec::new();
        if limit > 0 {
            let select = sqlx::query(statements::TAIL)
                .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
                .bind(rows::limit(limit))
                .bind(i64::try_from(TAIL_BYTES_MAX).unwrap_or(i64::MAX));
            let rows = select.fetch_all(&mut *connection).await;
            let rows = rows.map_err(|error| unavailable(&error))?;
            events = rows.iter().map(rows::event).collect::<Result<_, _>>()?;
        }
        // Read after the events, so the head is at or beyond them without a transaction around both.
        let row = sqlx::query(statements::HEAD).fetch_one(&mut *connection).await;
        let head = rows::head(&row.map_err(|error| unavailable(&error))?)?;
        Ok(Tail { head, events })
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn read_section(
    connection: &mut PgConnection,
    query: &Query,
    section: Section,
    page: &mut Reading<'_>,
) -> Result<(), StoreError> {
    if page.is_full() {
        return Ok(());
    }
    let text = Page::new(&POSTGRES, query, section);
    let mut select = sqlx::query(AssertSqlSafe(text.text));
    for parameter in text.parameters {
        select = match parameter {
            Parameter::Text(text) => select.bind(text),
            Parameter::Value(Value::Text(text)) => select.bind(&**text),
            Parameter::Value(Value::Integer(number)) => select.bind(*number),
            Parameter::Value(Value::Null) => select.bind(None::<&str>),
        };
    }
    let mut rows = select.bind(page.missing()).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| unavailable(&error))? {
        page.take(&row)?;
        if page.is_full() {
            break;
        }
    }
    Ok(())
}

network::readable!(PgRow);
network::snapshot!(PostgresSnapshot, PgConnection, statements::TAIL);
