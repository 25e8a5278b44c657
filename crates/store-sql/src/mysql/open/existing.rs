//! What is in a database before it is opened.

use std::collections::BTreeMap;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::mysql::MysqlOptions;
use crate::mysql::open::{run, use_database};
use crate::open::OpenError;
use crate::plan::{Existing, Head};
use crate::schema;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Whether the database is there.
    pub(super) has_database: bool,
    /// What is in it.
    pub(super) existing: Existing,
}

impl Found {
    /// Reads it. A database that another replica has made a moment ago is entered for that.
    pub(super) async fn read(connection: &mut MySqlConnection, options: &MysqlOptions) -> Result<Self, OpenError> {
        let database = sqlx::query("SELECT 1 FROM information_schema.schemata WHERE schema_name = ?");
        let database = database
            .bind(&options.database)
            .fetch_optional(&mut *connection)
            .await?;
        let mut existing = Existing::default();
        if database.is_some() {
            run(connection, use_database(options)).await?;
            existing.form = form(connection).await?;
            existing.head = head(connection).await?;
            read_columns(connection, &mut existing, options).await?;
            read_indexes(connection, &mut existing, options).await?;
        }
        Ok(Self {
            has_database: database.is_some(),
            existing,
        })
    }
}

/// The form of the tables, which is noted when all of them are made; 0 before.
async fn form(connection: &mut MySqlConnection) -> Result<i64, OpenError> {
    if !has_table(connection, "migrations").await? {
        return Ok(0);
    }
    let form = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM migrations");
    Ok(form.fetch_one(connection).await?)
}

async fn head(connection: &mut MySqlConnection) -> Result<Option<Head>, OpenError> {
    if !has_table(connection, "head").await? {
        return Ok(None);
    }
    let head = sqlx::query("SELECT lanes, rebuilding FROM head WHERE one = 1").fetch_optional(connection);
    match head.await? {
        Some(row) => Ok(Some(Head::read(row.try_get(0)?, row.try_get(1)?)?)),
        None => Ok(None),
    }
}

async fn has_table(connection: &mut MySqlConnection, name: &str) -> Result<bool, sqlx::Error> {
    let found =
        sqlx::query("SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?");
    let found = found.bind(name).fetch_optional(connection).await?;
    Ok(found.is_some())
}

async fn read_columns(
    connection: &mut MySqlConnection,
    existing: &mut Existing,
    options: &MysqlOptions,
) -> Result<(), OpenError> {
    let columns = "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR), CAST(data_type AS CHAR)
                   FROM information_schema.columns WHERE table_schema = DATABASE()";
    for [table, column, data_type] in texts(connection, columns).await? {
        if let Some(collection) = options.schema.collection(&table) {
            existing.table(collection).columns.insert(column, data_type);
        }
    }
    for (name, table) in &mut existing.tables {
        let any = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(name));
        let any = sqlx::query(AssertSqlSafe(any)).fetch_optional(&mut *connection);
        table.is_empty = any.await?.is_none();
    }
    Ok(())
}

/// The database keeps no statements: what would have made an index is worded from its columns.
async fn read_indexes(
    connection: &mut MySqlConnection,
    existing: &mut Existing,
    options: &MysqlOptions,
) -> Result<(), OpenError> {
    let columns = "SELECT CAST(table_name AS CHAR), CAST(index_name AS CHAR), CAST(column_name AS CHAR)
                   FROM information_schema.statistics WHERE table_schema = DATABASE()
                   ORDER BY table_name, index_name, seq_in_index";
    let mut indexes: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for [table, index, column] in texts(connection, columns).await? {
        indexes.entry((table, index)).or_default().push(column);
    }
    for ((table, index), columns) in indexes {
        if let Some(collection) = options.schema.collection(&table) {
            let statement = schema::index_over(&table, &index, &columns);
            existing.table(collection).indexes.insert(index, statement);
        }
    }
    Ok(())
}

/// Of MySQL's own tables some text has the type of bytes, unless it is asked for as characters.
async fn texts(connection: &mut MySqlConnection, statement: &'static str) -> Result<Vec<[String; 3]>, sqlx::Error> {
    let rows = sqlx::query(statement).fetch_all(connection).await?;
    let texts = |row: &MySqlRow| Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?]);
    rows.iter().map(texts).collect()
}
