//! Making the tables, and bringing them in line with what the schema declares: in one transaction, under a lock.

mod existing;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::open::OpenError;
use crate::plan::Declared;
use crate::postgres::open::existing::Found;
use crate::postgres::{BEGIN_READING, POSTGRES, PostgresOptions, SERVER, failure};
use crate::reach::{self, Target};
use crate::schema;

/// Begins the transaction that migrates, which takes its time: replicas wait for one another, and an index of a large table
/// is made in one statement.
const BEGIN_MIGRATING: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";

/// Makes what is missing. Replicas that start at once do so one after another.
pub(super) async fn declare(options: &PostgresOptions) -> Result<(), OpenError> {
    let target = target(options);
    let mut connection = connect(&target, options).await?;
    let declared = migrate(&mut connection, options).await;
    declared.map_err(|error| reach::refusal_of(&target, error, failure::meaning))?;
    connection.close().await?;
    Ok(())
}

/// What [`declare`] would run.
pub(super) async fn plan(options: &PostgresOptions) -> Result<Vec<String>, OpenError> {
    let target = target(options);
    let mut connection = connect(&target, options).await?;
    let planned = read(&mut connection, options).await;
    let planned = planned.map_err(|error| reach::refusal_of(&target, error, failure::meaning))?;
    connection.close().await?;
    Ok(planned)
}

fn target(options: &PostgresOptions) -> Target {
    Target {
        server: SERVER,
        address: format!("{}:{}", options.connect.get_host(), options.connect.get_port()),
        database: options.connect.get_database().unwrap_or_default().to_owned(),
    }
}

async fn connect(target: &Target, options: &PostgresOptions) -> Result<PgConnection, OpenError> {
    let connecting = async { Ok(PgConnection::connect_with(&options.connect).await?) };
    reach::connect(target, connecting, failure::meaning).await
}

async fn migrate(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), OpenError> {
    let mut transaction = connection.begin_with(BEGIN_MIGRATING).await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtext('tradewind'), hashtext($1))");
    lock.bind(&options.namespace).execute(&mut *transaction).await?;
    let found = Found::read(&mut transaction, options).await?;
    for statement in statements(&found, options)? {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

async fn read(connection: &mut PgConnection, options: &PostgresOptions) -> Result<Vec<String>, OpenError> {
    let mut transaction = connection.begin_with(BEGIN_READING).await?;
    let found = Found::read(&mut transaction, options).await?;
    transaction.rollback().await?;
    statements(&found, options)
}

/// With the schema chosen first, so that they mean the same to another connection.
fn statements(found: &Found, options: &PostgresOptions) -> Result<Vec<String>, OpenError> {
    let declared = Declared {
        schema: &options.schema,
        rebuild: &options.rebuild,
        epoch: options.new_epoch,
        now: options.now,
    };
    let mut plan = found.existing.plan(&POSTGRES, &declared)?;
    if !plan.is_empty() {
        let namespace = schema::quoted(&options.namespace);
        plan.insert(0, format!("SET search_path TO {namespace}"));
        // Only if it is not there: whoever is given a schema may not be allowed to make one.
        if !found.has_namespace {
            plan.insert(0, format!("CREATE SCHEMA {namespace}"));
        }
    }
    Ok(plan)
}
