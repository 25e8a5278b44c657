//! MySQL and MariaDB: a database for each service, and a pool of connections.
//!
//! Tested on MariaDB 10.11. The statements are kept to what MySQL 8.0.17 takes too, which no test has run on. MySQL's own
//! way of asking for passwords, `caching_sha2_password`, needs a connection with TLS, which both it and the driver use
//! unless they are told otherwise.

mod failure;
mod open;
mod server;
mod statements;
mod transaction;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use kernel::document::Key;
use kernel::event::{Position, Recorded, StreamId};
use kernel::store::carry::{Load, Snapshot};
use kernel::store::serial::Keys;
use kernel::store::{
    Batch, CommitError, Committed, Found, Opened, Query, Schema, Store, StoreError, Stored, TAIL_BYTES_MAX, Tail,
};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::mysql::server::{IDLE_MAX, Server};
use crate::mysql::statements::Statements;
use crate::mysql::transaction::MysqlTransaction;
use crate::network::{self, Held, READ_MAX, Reading, unavailable};
use crate::open::OpenError;
use crate::packets;
use crate::reach;
use crate::rows;
use crate::statements::{Page, Parameter, Section};

/// Either of both.
const SERVER: &str = "MySQL";
/// What the driver reads in a URL.
const URL_OPTIONS: [&str; 14] = [
    "ssl-mode",
    "sslmode",
    "ssl-ca",
    "sslca",
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "socket",
    "charset",
    "collation",
    "statement-cache-capacity",
    "timezone",
    "time-zone",
];
/// Begins a transaction whose reads are all of one moment.
const BEGIN_SNAPSHOT: &str =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// Where a store is and what it holds.
#[derive(Clone)]
pub struct MysqlOptions {
    /// How to connect, with the password.
    connect: MySqlConnectOptions,
    /// The database that has the service's tables; made if it is not there.
    pub database: String,
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

impl MysqlOptions {
    /// The usual: eight connections, nothing to rebuild.
    pub fn new(url: &str, database: &str, schema: Schema, new_epoch: Uuid, now: Timestamp) -> Result<Self, OpenError> {
        reach::check_options(SERVER, url, &URL_OPTIONS)?;
        let parsed = MySqlConnectOptions::from_str(url).map_err(|error| reach::of_url(SERVER, "mysql", &error))?;
        let connect = parsed
            // What a connection is told when it begins, `Server` says.
            .set_names(false)
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .statement_cache_capacity(statements::PREPARED_MAX)
            .disable_statement_logging();
        Ok(Self {
            connect,
            database: database.to_owned(),
            schema,
            new_epoch,
            now,
            connections: 8,
            rebuild: Vec::new(),
        })
    }
}

impl fmt::Debug for MysqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MysqlOptions");
        shown.field("database", &self.database).finish_non_exhaustive()
    }
}

/// A service's store in one database of a MySQL or MariaDB server.
#[derive(Debug)]
pub struct MysqlStore {
    schema: Schema,
    server: Server,
    statements: Arc<Statements>,
    pool: MySqlPool,
}

impl MysqlStore {
    /// Opens the store or makes it, with whatever the schema declares.
    pub async fn open(options: MysqlOptions) -> Result<Self, OpenError> {
        options.schema.check().map_err(OpenError::Schema)?;
        let server = open::declare(&options).await?;
        let pool = pool(&server, &options.connect, options.connections);
        let pool = pool.connect_with(options.connect.database(&options.database)).await?;
        Ok(Self {
            statements: Arc::new(Statements::new(&options.schema, server.packet_bytes_max)),
            schema: options.schema,
            server,
            pool,
        })
    }

    /// The statements that [`MysqlStore::open`] would run, in order. Changes nothing.
    pub async fn plan(options: &MysqlOptions) -> Result<Vec<String>, OpenError> {
        options.schema.check().map_err(OpenError::Schema)?;
        open::plan(options).await
    }
}

/// Connections that are told what a connection is to be like.
fn pool(server: &Server, connect: &MySqlConnectOptions, connections: u32) -> MySqlPoolOptions {
    let settings: Arc<str> = server.settings().into();
    let port = connect.get_port();
    network::pool(connections)
        .idle_timeout(IDLE_MAX)
        .after_connect(move |connection, _| {
            packets::send_at_once(port);
            let settings = AssertSqlSafe(Arc::clone(&settings));
            Box::pin(async move { sqlx::raw_sql(settings).execute(connection).await.map(drop) })
        })
}

#[async_trait]
impl Opened for MysqlStore {
    async fn finish_rebuild(&self) -> Result<(), StoreError> {
        let pool = self.pool.clone();
        network::read(async move {
            let mut held = Held::of(&pool).await?;
            let done = sqlx::query("UPDATE head SET rebuilding = NULL WHERE one = 1").execute(&mut *held);
            done.await.map_err(|error| unavailable(&error))?;
            held.give_back();
            Ok(())
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let opened = async {
            let mut connection = self.pool.connect_options().connect().await?;
            // Without the timeouts: it may take its time between two reads.
            let begin = format!("{}; {BEGIN_SNAPSHOT}", self.server.words());
            sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
            MysqlSnapshot::of(connection, self.server.dialect, statements::HEAD).await
        };
        let opened = async { opened.await.map_err(|error| unavailable(&error)) };
        Ok(Box::new(Box::pin(network::within(READ_MAX, opened)).await?))
    }

    async fn load(&self, load: Load) -> Result<(), CommitError> {
        let (pool, statements) = (self.pool.clone(), Arc::clone(&self.statements));
        network::write(async move {
            let begin = MysqlTransaction::new(&pool, statements);
            network::load(begin, &load).await
        })
        .await
    }

    async fn insert(&self, batches: Vec<Arc<Batch>>, mut after: Position) -> Result<(), CommitError> {
        let connect = self.pool.connect_options();
        let one = pool(&self.server, &connect, 1).connect_lazy_with((*connect).clone());
        for batch in batches {
            let transaction = MysqlTransaction::alone(&one, Arc::clone(&self.statements)).await?;
            after = network::insert(transaction, &batch, after).await?;
        }
        one.close().await;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Store for MysqlStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        batch.check(&self.schema)?;
        let (pool, statements) = (self.pool.clone(), Arc::clone(&self.statements));
        network::write(async move {
            let begin = || MysqlTransaction::new(&pool, Arc::clone(&statements));
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
        let (pool, query, dialect) = (self.pool.clone(), query.clone(), self.server.dialect);
        network::read(async move { self::query(&pool, dialect, &query).await }).await
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

async fn get(pool: &MySqlPool, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
    let wanted = network::by_collection(keys);
    let groups = statements::groups(&wanted);
    let mut held = match &*groups {
        [] => return Ok(Vec::new()),
        // One statement is one snapshot, so that documents that were committed together are seen together.
        [_] => Held::of(pool).await?,
        _ => Held::begun(pool, BEGIN_SNAPSHOT).await?,
    };
    let mut found = HashMap::new();
    for group in &groups {
        get_group(&mut held, group, &mut found).await?;
    }
    held.give_back();
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

async fn query(pool: &MySqlPool, dialect: &'static Dialect, query: &Query) -> Result<Vec<Found>, StoreError> {
    let sections = Section::of(query);
    let mut page = Reading::new(query);
    let mut held = match sections {
        [] => return Ok(page.finish()),
        [_] => Held::of(pool).await?,
        _ => Held::begun(pool, BEGIN_SNAPSHOT).await?,
    };
    for section in sections {
        read_section(&mut held, dialect, query, *section, &mut page).await?;
    }
    held.give_back();
    Ok(page.finish())
}

async fn tail(pool: &MySqlPool, after: Position, limit: usize) -> Result<Tail, StoreError> {
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
    connection: &mut MySqlConnection,
    dialect: &'static Dialect,
    query: &Query,
    section: Section,
    page: &mut Reading<'_>,
) -> Result<(), StoreError> {
    if page.is_full() {
        return Ok(());
    }
    let text = Page::new(dialect, query, section);
    let mut select = sqlx::query(AssertSqlSafe(text.text));
    for parameter in text.parameters {
        select = match parameter {
            Parameter::Text(text) => select.bind(text),
            Parameter::Value(value) => transaction::bind(select, value),
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

async fn get_group(
    connection: &mut MySqlConnection,
    keys: &Keys<'_>,
    found: &mut HashMap<Key, Stored>,
) -> Result<(), StoreError> {
    let mut select = sqlx::query(AssertSqlSafe(statements::of_each(keys, "version, doc")));
    for id in keys.values().flatten() {
        select = select.bind(id);
    }
    let rows = select.fetch_all(connection).await;
    let rows = rows.map_err(|error| unavailable(&error))?;
    found.extend(network::by_key(&rows, keys, |row| network::stored(row, 2))?);
    Ok(())
}

network::readable!(MySqlRow);
network::snapshot!(MysqlSnapshot, MySqlConnection, statements::TAIL);

#[cfg(test)]
mod tests;
