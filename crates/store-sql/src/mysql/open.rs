//! Making the database and its tables, and bringing them in line with what the schema declares.
//!
//! Each statement about a table is committed by itself, so everything here is done under a lock, and in steps each of
//! which leaves behind what opening again goes on from.

mod existing;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::mysql::open::existing::Found;
use crate::mysql::server::{SQL_MODE, Server};
use crate::mysql::{MysqlOptions, SERVER, failure};
use crate::open::OpenError;
use crate::plan::Declared;
use crate::reach::{self, Meaning, Target};
use crate::schema;

/// How long replicas that start at once wait for one another, in seconds.
const LOCK_SECONDS_MAX: i64 = 60;

/// Makes what is missing; what the server is.
pub(super) async fn declare(options: &MysqlOptions) -> Result<Server, OpenError> {
    let target = target(options);
    let (mut connection, server) = connect(&target, options).await?;
    let declared = migrate(&mut connection, &server, options).await;
    declared.map_err(|error| reach::refusal_of(&target, error, failure::meaning))?;
    connection.close().await?;
    Ok(server)
}

/// What [`declare`] would run.
pub(super) async fn plan(options: &MysqlOptions) -> Result<Vec<String>, OpenError> {
    let target = target(options);
    let (mut connection, server) = connect(&target, options).await?;
    let found = Found::read(&mut connection, options).await;
    let found = found.map_err(|error| reach::refusal_of(&target, error, failure::meaning))?;
    connection.close().await?;
    statements(&found, &server, options)
}

fn target(options: &MysqlOptions) -> Target {
    Target {
        server: SERVER,
        address: format!("{}:{}", options.connect.get_host(), options.connect.get_port()),
        database: options.database.clone(),
    }
}

/// A connection that has been told how statements are written.
async fn connect(target: &Target, options: &MysqlOptions) -> Result<(MySqlConnection, Server), OpenError> {
    let connecting = async {
        let mut connection = enter(options).await?;
        let server = Server::ask(&mut connection).await?;
        run(&mut connection, server.words()).await?;
        Ok((connection, server))
    };
    reach::connect(target, connecting, failure::meaning).await
}

/// In the database if it is there, and else only on the server.
async fn enter(options: &MysqlOptions) -> Result<MySqlConnection, sqlx::Error> {
    let there: MySqlConnectOptions = options.connect.clone().database(&options.database);
    match MySqlConnection::connect_with(&there).await {
        Err(error) if failure::meaning(&error) == Some(Meaning::NoDatabase) => {
            MySqlConnection::connect_with(&options.connect).await
        }
        connected => connected,
    }
}

async fn migrate(connection: &mut MySqlConnection, server: &Server, options: &MysqlOptions) -> Result<(), OpenError> {
    // The server drops the lock with the connection.
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(LEFT(CONCAT('tradewind ', ?), 64), ?)")
        .bind(&options.database)
        .bind(LOCK_SECONDS_MAX)
        .fetch_one(&mut *connection)
        .await?;
    if locked != Some(1) {
        return Err(OpenError::Database(
            "another process has been opening it for too long".into(),
        ));
    }
    let found = Found::read(connection, options).await?;
    for statement in statements(&found, server, options)? {
        run(connection, statement).await?;
    }
    Ok(())
}

/// With the words and the database chosen first, so that they mean the same to another connection.
fn statements(found: &Found, server: &Server, options: &MysqlOptions) -> Result<Vec<String>, OpenError> {
    let declared = Declared {
        schema: &options.schema,
        rebuild: &options.rebuild,
        epoch: options.new_epoch,
        now: options.now,
    };
    let plan = found.existing.plan(server.dialect, &declared)?;
    if plan.is_empty() {
        return Ok(plan);
    }
    let database = schema::quoted(&options.database);
    // Only if it is not there: whoever is given a database may not be allowed to make one.
    let make = (!found.has_database).then(|| format!("CREATE DATABASE IF NOT EXISTS {database}"));
    let words = format!("SET SESSION {SQL_MODE}");
    let chosen = std::iter::once(words).chain(make).chain([use_database(options)]);
    Ok(chosen.chain(plan).collect())
}

fn use_database(options: &MysqlOptions) -> String {
    format!("USE {}", schema::quoted(&options.database))
}

async fn run(connection: &mut MySqlConnection, text: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.map(drop)
}
