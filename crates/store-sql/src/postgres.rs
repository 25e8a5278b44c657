//! PostgreSQL: a schema for each service, and a pool of connections.

mod failure;
mod open;
mod statements;
mod transaction;
mod writing;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

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
use crate::network::{self, Held, READ_MAX, Reading, unavailable};
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
/// What the driver reads in a URL.
const URL_OPTIONS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "statement-cache-capacity",
    "options",
];
/// What each connection is told when it begins. A transaction whose client has gone must not keep the head row, a
/// statement must not run for ever, and a commit that returned is on the disk whatever the server's default is.
const SETTINGS: [(&str, &str); 4] = [
    ("synchronous_commit", "on"),
    ("lock_timeout", "10s"),
    ("statement_timeout", "15s"),
    ("idle_in_transaction_session_timeout", "15s"),
];

/// Begins a transaction whose reads are all of one moment.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The same, of one that may take its time between them.
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
        reach::check_options(SERVER, url, &URL_OPTIONS)?;
        let parsed = PgConnectOptions::from_str(url).map_err(|error| reach::of_url(SERVER, "postgres", &error))?;
        let connect = parsed
            .application_name(&format!("tradewind {namespace}"))
            .options([("search_path", namespace)])
            .options(SETTINGS)
            .statement_cache_capacity(statements::PREPARED_MAX)
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
}

/// Connections whose packets are sent at once.
fn pool(connect: &PgConnectOptions, connections: u32) -> PgPoolOptions {
    let port = connect.get_port();
    network::pool(connections).after_connect(move |_, _| {
        packets::send_at_once(port);
        Box::pin(async { Ok(()) })
    })
}

#[async_trait]
impl Opened for PostgresStore {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let opened = async {
            let mut connection = self.pool.connect_options().connect().await?;
            sqlx::raw_sql(BEGIN_SNAPSHOT).execute(&mut connection).await?;
            PostgresSnapshot::of(connection, &POSTGRES, statements::HEAD).await
        };
        let opened = async { opened.await.map_err(|error| unavailable(&error)) };
        Ok(Box::new(network::within(READ_MAX, opened).await?))
    }

    async fn load(&self, load: Load) -> Result<(), CommitError> {
        let (pool, statements) = (self.pool.clone(), Arc::clone(&self.statements));
        network::write(async move {
            let begin = PostgresTransaction::new(&pool, statements);
            network::load(begin, &load).await
        })
        .await
    }

    async fn insert(&self, batches: Vec<Arc<Batch>>, mut after: Position) -> Result<(), CommitError> {
        let connect = self.pool.connect_options();
        let one = pool(&connect, 1).connect_lazy_with((*connect).clone());
        for batch in batches {
            let transaction = PostgresTransaction::alone(&one, Arc::clone(&self.statements)).await?;
            after = network::insert(transaction, &batch, after).await?;
        }
        one.close().await;
        Ok(())
    }

    async fn finish_rebuild(&self) -> Result<(), StoreError> {
        let pool = self.pool.clone();
        network::read(async move {
            let mut held = Held::of(&pool).await?;
            let done = sqlx::query("UPDATE head SET rebuilding = NULL").execute(&mut *held);
            done.await.map_err(|error| unavailable(&error))?;
            held.give_back();
            Ok(())
        })
        .await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        batch.check(&self.schema)?;
        let (pool, statements) = (self.pool.clone(), Arc::clone(&self.statements));
        network::write(async move {
            let begin = || PostgresTransaction::new(&pool, Arc::clone(&statements));
            network::commit(begin, &batch).await
        })
        .await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        network::check(&self.schema, keys)?;
        let (pool, keys) = (self.pool.clone(), keys.to_vec());
        network::read(async move { get(&pool, &keys).await }).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        query.check()?;
        let (pool, query) = (self.pool.clone(), query.clone());
        network::read(async move { self::query(&pool, &query).await }).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let (pool, id) = (self.pool.clone(), id.clone());
        network::read(async move {
            let mut held = Held::of(&pool).await?;
            let select = sqlx::query(statements::STREAM)
                .bind(id.as_str())
                .bind(i64::try_from(from_version).unwrap_or(i64::MAX))
                .bind(rows::limit(limit));
            let rows = select.fetch_all(&mut *held).await;
            let rows = rows.map_err(|error| unavailable(&error))?;
            held.give_back();
            rows.iter().map(rows::event).collect()
        })
        .await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        let pool = self.pool.clone();
        network::read(async move { tail(&pool, after, limit).await }).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn get(pool: &PgPool, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
    let wanted = network::by_collection(keys);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    // One statement is one snapshot, so that documents that were committed together are seen together.
    let text = statements::of_each(&wanted, "version, doc");
    let mut select = sqlx::query(AssertSqlSafe(text));
    for ids in wanted.values() {
        select = select.bind(ids);
    }
    let mut held = Held::of(pool).await?;
    let rows = select.fetch_all(&mut *held).await;
    let rows = rows.map_err(|error| unavailable(&error))?;
    held.give_back();
    let found = network::by_key(&rows, &wanted, |row| network::stored(row, 2))?;
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

async fn query(pool: &PgPool, query: &Query) -> Result<Vec<Found>, StoreError> {
    let sections = Section::of(query);
    let mut page = Reading::new(query);
    let mut held = match sections {
        [] => return Ok(page.finish()),
        [_] => Held::of(pool).await?,
        _ => Held::begun(pool, BEGIN_READING).await?,
    };
    for section in sections {
        read_section(&mut held, query, *section, &mut page).await?;
    }
    held.give_back();
    Ok(page.finish())
}

async fn tail(pool: &PgPool, after: Position, limit: usize) -> Result<Tail, StoreError> {
    let mut held = Held::of(pool).await?;
    let mut events = Vec::new();
    if limit > 0 {
        let select = sqlx::query(statements::TAIL)
            .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
            .bind(rows::limit(limit))
            .bind(rows::limit(TAIL_BYTES_MAX));
        let rows = select.fetch_all(&mut *held).await;
        let rows = rows.map_err(|error| unavailable(&error))?;
        events = rows.iter().map(rows::event).collect::<Result<_, _>>()?;
    }
    // Read after the events, so the head is at or beyond them without a transaction around both.
    let row = sqlx::query(statements::HEAD).fetch_one(&mut *held).await;
    let row = row.map_err(|error| unavailable(&error))?;
    held.give_back();
    let head = rows::head(&row)?;
    Ok(Tail { head, events })
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
