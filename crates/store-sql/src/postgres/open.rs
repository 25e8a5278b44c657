//! Making the tables, and bringing them in line with what the schema declares: in one transaction, under a lock.

use std::collections::BTreeMap;

use kernel::document::Collection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use crate::open::{self, OpenError};
use crate::postgres::{POSTGRES, PostgresOptions, SERVER, failure};
use crate::reach::{self, Target};
use crate::schema;

/// Makes what is missing. Replicas that start at once do so one after another.
pub(super) async fn declare(options: &PostgresOptions) -> Result<(), OpenError> {
    let target = Target {
        server: SERVER,
        address: format!("{}:{}", options.connect.get_host(), options.connect.get_port()),
        database: options.connect.get_database().unwrap_or_default().to_owned(),
    };
    let connecting = PgConnection::connect_with(&options.connect);
    let mut connection = reach::connect(&target, connecting, failure::meaning).await?;
    let declared = declare_tables(&mut connection, options).await;
    declared.map_err(|error| match error {
        OpenError::Database(error) => match error.downcast() {
            Ok(error) => reach::refusal(&target, *error, failure::meaning),
            Err(other) => OpenError::Database(other),
        },
        error => error,
    })?;
    connection.close().await?;
    Ok(())
}

async fn declare_tables(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), OpenError> {
    let mut transaction = connection.begin().await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtext('tradewind'), hashtext($1))");
    lock.bind(&options.namespace).execute(&mut *transaction).await?;
    let connection = &mut *transaction;
    make_namespace(connection, &options.namespace).await?;
    let journal: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'journal'",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if journal.is_none() {
        make_journal(connection, options).await?;
    }
    let form: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM migrations")
        .fetch_one(&mut *connection)
        .await?;
    open::check_form(form)?;
    let head = sqlx::query("SELECT lanes, rebuilding FROM head").fetch_one(&mut *connection);
    let head = head.await?;
    let lanes: Vec<u64> = serde_json::from_str(head.try_get(0)?).map_err(kernel::store::StoreError::new)?;
    open::check_lanes(lanes.len(), options.schema.lanes)?;
    if let Some(list) = open::rebuilding(head.try_get(1)?, &options.rebuild)? {
        let mark = sqlx::query("UPDATE head SET rebuilding = $1").bind(list);
        mark.execute(&mut *connection).await?;
    }
    for collection in &options.schema.collections {
        if options.rebuild.contains(&collection.name) {
            run(connection, schema::drop_table(collection)).await?;
        }
        declare_collection(connection, collection).await?;
    }
    Ok(transaction.commit().await?)
}

/// Only if it is not there: whoever is given a schema may not be allowed to make one.
async fn make_namespace(connection: &mut PgConnection, namespace: &str) -> Result<(), OpenError> {
    let found: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_namespace WHERE nspname = $1")
        .bind(namespace)
        .fetch_optional(&mut *connection)
        .await?;
    if found.is_none() {
        run(connection, format!("CREATE SCHEMA {}", schema::quoted(namespace))).await?;
    }
    Ok(())
}

async fn make_journal(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), OpenError> {
    for table in schema::journal(&POSTGRES) {
        run(connection, table).await?;
    }
    let lanes = serde_json::json!(vec![0; usize::from(options.schema.lanes)]).to_string();
    sqlx::query("INSERT INTO head (one, epoch, position, time, lanes) VALUES (1, $1, 0, 0, $2)")
        .bind(options.new_epoch.to_string())
        .bind(lanes)
        .execute(&mut *connection)
        .await?;
    for (version, name) in (1_i64..).zip(schema::MIGRATIONS) {
        sqlx::query("INSERT INTO migrations (version, name, applied_at) VALUES ($1, $2, $3)")
            .bind(version)
            .bind(name)
            .bind(options.now.to_string())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn declare_collection(connection: &mut PgConnection, collection: &'static Collection) -> Result<(), OpenError> {
    let columns = sqlx::query(
        "SELECT column_name::text, data_type::text FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = $1",
    );
    let columns = columns.bind(collection.name).fetch_all(&mut *connection).await?;
    let columns = columns.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let columns: BTreeMap<String, String> = columns.collect::<Result<_, sqlx::Error>>()?;
    if columns.is_empty() {
        run(connection, schema::create_table(&POSTGRES, collection)).await?;
    } else {
        let any = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(collection.name));
        let any = sqlx::query(AssertSqlSafe(any)).fetch_optional(&mut *connection).await?;
        for column in open::columns_to_add(&POSTGRES, collection, &columns, any.is_none())? {
            run(connection, schema::add_column(&POSTGRES, collection, column)).await?;
        }
    }
    declare_indexes(connection, collection).await
}

/// An index is made from the table, so one that differs from its declaration is simply made again. What it was made by
/// is its comment, since the database words its definition anew.
async fn declare_indexes(connection: &mut PgConnection, collection: &Collection) -> Result<(), OpenError> {
    for index in collection.indexes {
        let wanted = schema::create_index(&POSTGRES, collection, index);
        let name = schema::index_name(collection, index);
        let existing: Option<Option<String>> = sqlx::query_scalar(
            "SELECT obj_description(pg_class.oid) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE nspname = current_schema() AND relname = $1 AND relkind = 'i'",
        )
        .bind(name.trim_matches('"'))
        .fetch_optional(&mut *connection)
        .await?;
        match existing {
            Some(Some(existing)) if existing == wanted => continue,
            Some(_) => run(connection, schema::drop_index(&POSTGRES, collection, &name)).await?,
            None => {}
        }
        run(connection, format!("{wanted}; COMMENT ON INDEX {name} IS '{wanted}'")).await?;
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, text: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.map(drop)
}
