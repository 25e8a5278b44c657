//! What is in a schema before it is opened.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::open::OpenError;
use crate::plan::{Existing, Head};
use crate::postgres::PostgresOptions;
use crate::schema;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Whether the schema is there.
    pub(super) has_namespace: bool,
    /// What is in it.
    pub(super) existing: Existing,
}

impl Found {
    /// Reads it, in the transaction that the caller has begun.
    pub(super) async fn read(connection: &mut PgConnection, options: &PostgresOptions) -> Result<Self, OpenError> {
        let namespace: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_namespace WHERE nspname = $1")
            .bind(&options.namespace)
            .fetch_optional(&mut *connection)
            .await?;
        let mut existing = Existing::default();
        if namespace.is_some() {
            check_usable(connection, options).await?;
            read_journal(connection, &mut existing).await?;
            read_columns(connection, &mut existing, options).await?;
            read_indexes(connection, &mut existing, options).await?;
        }
        Ok(Self {
            has_namespace: namespace.is_some(),
            existing,
        })
    }
}

/// Without the right to use it a schema looks as if it were empty.
async fn check_usable(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), OpenError> {
    let usable: bool = sqlx::query_scalar("SELECT has_schema_privilege($1, 'USAGE')")
        .bind(&options.namespace)
        .fetch_one(connection)
        .await?;
    match usable {
        true => Ok(()),
        false => Err(OpenError::Unusable {
            namespace: options.namespace.clone(),
        }),
    }
}

async fn read_journal(connection: &mut PgConnection, existing: &mut Existing) -> Result<(), OpenError> {
    let journal: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'journal'",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if journal.is_some() {
        let form = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM migrations");
        existing.form = form.fetch_one(&mut *connection).await?;
        let head = sqlx::query("SELECT lanes, rebuilding FROM head").fetch_one(connection);
        let head = head.await?;
        existing.head = Some(Head::read(head.try_get(0)?, head.try_get(1)?)?);
    }
    Ok(())
}

async fn read_columns(
    connection: &mut PgConnection,
    existing: &mut Existing,
    options: &PostgresOptions,
) -> Result<(), OpenError> {
    let columns = sqlx::query(
        "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
         WHERE table_schema = current_schema()",
    );
    for row in columns.fetch_all(&mut *connection).await? {
        if let Some(collection) = options.schema.collection(row.try_get(0)?) {
            let table = existing.table(collection);
            table.columns.insert(row.try_get(1)?, row.try_get(2)?);
        }
    }
    for (name, table) in &mut existing.tables {
        let any = format!("SELECT 1 FROM {} LIMIT 1", schema::quoted(name));
        let any = sqlx::query(AssertSqlSafe(any)).fetch_optional(&mut *connection);
        table.is_empty = any.await?.is_none();
    }
    Ok(())
}

/// What an index was made by is its comment, since the database words its definition anew.
async fn read_indexes(
    connection: &mut PgConnection,
    existing: &mut Existing,
    options: &PostgresOptions,
) -> Result<(), OpenError> {
    let indexes = sqlx::query(
        "SELECT owner.relname::text, made.relname::text, coalesce(obj_description(made.oid, 'pg_class'), '')
         FROM pg_index
         JOIN pg_class AS made ON made.oid = indexrelid
         JOIN pg_class AS owner ON owner.oid = indrelid
         JOIN pg_namespace ON pg_namespace.oid = owner.relnamespace
         WHERE nspname = current_schema()",
    );
    for row in indexes.fetch_all(connection).await? {
        if let Some(collection) = options.schema.collection(row.try_get(0)?) {
            let table = existing.table(collection);
            table.indexes.insert(row.try_get(1)?, row.try_get(2)?);
        }
    }
    Ok(())
}
