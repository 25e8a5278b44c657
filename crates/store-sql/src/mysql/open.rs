//! Making the database and its tables, and bringing them in line with what the schema declares.
//!
//! Each statement about a table is committed by itself, so everything here is done under a lock, and step by step so that
//! opening again goes on where it was cut short.

use std::collections::BTreeMap;

use kernel::document::{Collection, ColumnType};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use crate::dialect::Dialect;
use crate::mysql::server::Server;
use crate::mysql::{MysqlOptions, SERVER, failure};
use crate::open::{self, OpenError};
use crate::reach::{self, Meaning, Target};
use crate::schema;

/// How long replicas that start at once wait for one another, in seconds.
const LOCK_SECONDS_MAX: i64 = 60;

/// Makes what is missing; what the server is.
pub(super) async fn declare(options: &MysqlOptions) -> Result<Server, OpenError> {
    let target = Target {
        server: SERVER,
        address: format!("{}:{}", options.connect.get_host(), options.connect.get_port()),
        database: options.database.clone(),
    };
    let mut connection = reach::connect(&target, connect(options), failure::meaning).await?;
    let server = Server::ask(&mut connection).await?;
    run(&mut connection, server.words()).await?;
    // The server drops the lock with the connection.
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(LEFT(CONCAT('tradewind ', ?), 64), ?)")
        .bind(&options.database)
        .bind(LOCK_SECONDS_MAX)
        .fetch_one(&mut connection)
        .await?;
    if locked != Some(1) {
        return Err(OpenError::Database(
            "another process has been opening it for too long".into(),
        ));
    }
    declare_tables(&mut connection, server.dialect, options).await?;
    connection.close().await?;
    Ok(server)
}

/// The database is made only if it is not there: whoever is given one may not be allowed to make one.
async fn connect(options: &MysqlOptions) -> Result<MySqlConnection, sqlx::Error> {
    let there: MySqlConnectOptions = options.connect.clone().database(&options.database);
    match MySqlConnection::connect_with(&there).await {
        Err(error) if failure::meaning(&error) == Some(Meaning::NoDatabase) => {}
        connected => return connected,
    }
    let mut connection = MySqlConnection::connect_with(&options.connect).await?;
    // In MySQL's own quotes, since the session has not been told of others.
    let name = options.database.replace('`', "``");
    let make = format!("CREATE DATABASE IF NOT EXISTS `{name}`");
    run(&mut connection, make).await?;
    connection.close().await?;
    MySqlConnection::connect_with(&there).await
}

async fn declare_tables(
    connection: &mut MySqlConnection,
    dialect: &Dialect,
    options: &MysqlOptions,
) -> Result<(), OpenError> {
    let form = form(connection).await?;
    open::check_form(form)?;
    if form == 0 {
        make_journal(connection, dialect, options).await?;
    }
    let head = sqlx::query("SELECT lanes, rebuilding FROM head WHERE one = 1").fetch_one(&mut *connection);
    let head = head.await?;
    let lanes: Vec<u64> = serde_json::from_str(head.try_get(0)?).map_err(kernel::store::StoreError::new)?;
    open::check_lanes(lanes.len(), options.schema.lanes)?;
    if let Some(list) = open::rebuilding(head.try_get(1)?, &options.rebuild)? {
        let mark = sqlx::query("UPDATE head SET rebuilding = ? WHERE one = 1").bind(list);
        mark.execute(&mut *connection).await?;
    }
    for collection in &options.schema.collections {
        if options.rebuild.contains(&collection.name) {
            run(connection, schema::drop_table(collection)).await?;
        }
        declare_collection(connection, dialect, collection).await?;
    }
    Ok(())
}

/// The form of the tables, which is noted when all of them are made; 0 before.
async fn form(connection: &mut MySqlConnection) -> Result<i64, sqlx::Error> {
    let migrations = sqlx::query(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'migrations'",
    );
    if migrations.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(0);
    }
    let form = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM migrations");
    form.fetch_one(connection).await
}

async fn make_journal(
    connection: &mut MySqlConnection,
    dialect: &Dialect,
    options: &MysqlOptions,
) -> Result<(), OpenError> {
    for table in schema::journal(dialect) {
        run(connection, table).await?;
    }
    let lanes = serde_json::json!(vec![0; usize::from(options.schema.lanes)]).to_string();
    // Never reset: it may be that only the note below was lost.
    let head = "INSERT INTO head (one, epoch, position, time, lanes) VALUES (1, ?, 0, 0, ?)
                ON DUPLICATE KEY UPDATE one = 1";
    sqlx::query(head)
        .bind(options.new_epoch.to_string())
        .bind(lanes)
        .execute(&mut *connection)
        .await?;
    for (version, name) in (1_i64..).zip(schema::MIGRATIONS) {
        sqlx::query("INSERT INTO migrations (version, name, applied_at) VALUES (?, ?, ?)")
            .bind(version)
            .bind(name)
            .bind(options.now.to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn declare_collection(
    connection: &mut MySqlConnection,
    dialect: &Dialect,
    collection: &'static Collection,
) -> Result<(), OpenError> {
    // Of MySQL's own tables some text has the type of bytes.
    let columns = sqlx::query(
        "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) FROM information_schema.columns
         WHERE table_schema = DATABASE() AND table_name = ?",
    );
    let columns = columns.bind(collection.name).fetch_all(&mut *connection).await?;
    let columns = columns.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let columns: BTreeMap<String, String> = columns.collect::<Result<_, sqlx::Error>>()?;
    if columns.is_empty() {
        run(connection, schema::create_table(dialect, collection)).await?;
    } else {
        let any = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(collection.name));
        let any = sqlx::query(AssertSqlSafe(any)).fetch_optional(&mut *connection).await?;
        for column in open::columns_to_add(dialect, collection, &columns, any.is_none())? {
            run(connection, schema::add_column(dialect, collection, column)).await?;
        }
    }
    declare_indexes(connection, dialect, collection, &columns).await
}

/// An index is made from the table, so one that differs from its declaration is simply made again, and one that is no
/// longer declared is dropped: it would hold the type of its columns.
async fn declare_indexes(
    connection: &mut MySqlConnection,
    dialect: &Dialect,
    collection: &'static Collection,
    columns: &BTreeMap<String, String>,
) -> Result<(), OpenError> {
    let mut existing = indexes(connection, collection).await?;
    let declared = |index: &kernel::document::Index| {
        let name = schema::index_name(collection, index);
        (name, [index.columns, &["id"]].concat())
    };
    let declared: BTreeMap<String, Vec<&str>> = collection.indexes.iter().map(declared).collect();
    for (name, _) in existing.extract_if(.., |name, columns| declared.get(name).is_none_or(|it| it != columns)) {
        run(connection, schema::drop_index(dialect, collection, &name)).await?;
    }
    change_columns(connection, dialect, collection, columns).await?;
    for index in collection.indexes {
        if !existing.contains_key(&schema::index_name(collection, index)) {
            run(connection, schema::create_index(dialect, collection, index)).await?;
        }
    }
    Ok(())
}

/// The collection's own indexes that are there, with their columns; by their quoted names.
async fn indexes(
    connection: &mut MySqlConnection,
    collection: &Collection,
) -> Result<BTreeMap<String, Vec<String>>, sqlx::Error> {
    let columns = sqlx::query(
        "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR) FROM information_schema.statistics
         WHERE table_schema = DATABASE() AND table_name = ? ORDER BY index_name, seq_in_index",
    );
    let mut indexes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let ours = format!("{}__", collection.name);
    for row in columns.bind(collection.name).fetch_all(connection).await? {
        let name: &str = row.try_get(0)?;
        if name.starts_with(&ours) {
            indexes.entry(schema::quoted(name)).or_default().push(row.try_get(1)?);
        }
    }
    Ok(indexes)
}

/// Text has a type with a length only where it is looked up, which a new declaration may change.
async fn change_columns(
    connection: &mut MySqlConnection,
    dialect: &Dialect,
    collection: &'static Collection,
    existing: &BTreeMap<String, String>,
) -> Result<(), OpenError> {
    let texts = collection
        .columns
        .iter()
        .filter(|column| column.column_type == ColumnType::Text);
    for column in texts {
        let wanted = schema::column_type(dialect, collection, column).to_lowercase();
        if existing
            .get(column.name)
            .is_some_and(|found| !wanted.starts_with(&**found))
        {
            run(connection, schema::change_column(dialect, collection, column)).await?;
        }
    }
    Ok(())
}

async fn run(connection: &mut MySqlConnection, text: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.map(drop)
}
