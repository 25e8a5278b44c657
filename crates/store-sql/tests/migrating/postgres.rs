//! PostgreSQL: a schema of the database that tests share.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Opened;
use servers::Kind;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use store_sql::{OpenError, PostgresOptions, PostgresStore};
use uuid::Uuid;

use crate::{Place, Wanted};

pub(crate) struct Namespace(String);

impl Namespace {
    fn options(&self, wanted: Wanted) -> PostgresOptions {
        let url = Kind::Postgres.shared();
        let options = PostgresOptions::new(&url, &self.0, wanted.schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        let mut options = options.expect("the server has a URL");
        options.rebuild = wanted.rebuild;
        options
    }
}

async fn connection() -> PgConnection {
    let connection = PgConnection::connect(&Kind::Postgres.shared()).await;
    connection.expect("the server takes connections")
}

#[async_trait]
impl Place for Namespace {
    const FIXTURE: &'static str = "postgres.sql";

    fn new() -> Self {
        Self(servers::unique_name())
    }

    async fn plan(&self, wanted: Wanted) -> Result<Vec<String>, OpenError> {
        PostgresStore::plan(&self.options(wanted)).await
    }

    async fn open(&self, wanted: Wanted) -> Result<Arc<dyn Opened>, OpenError> {
        Ok(Arc::new(PostgresStore::open(self.options(wanted)).await?))
    }

    async fn shell(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        let done = sqlx::raw_sql(sql).execute(&mut connection().await).await;
        done.expect("the shell does as it is told");
    }

    async fn shell_inside(&self, sql: &str) {
        let chosen = format!("CREATE SCHEMA IF NOT EXISTS {0}; SET search_path TO {0}", self.0);
        self.shell(&format!("{chosen}; {sql}")).await;
    }

    async fn described(&self) -> Vec<String> {
        let mut connection = connection().await;
        let namespace = "SELECT 'a schema' FROM pg_namespace WHERE nspname = $1";
        let namespace = sqlx::query_scalar(namespace).bind(&self.0);
        let mut described: Vec<String> = namespace.fetch_all(&mut connection).await.expect("it is answered");
        if described.is_empty() {
            return described;
        }
        for select in [
            "SELECT concat_ws(' ', table_name, ordinal_position, column_name, data_type, collation_name, is_nullable,
                              column_default)
             FROM information_schema.columns WHERE table_schema = $1 ORDER BY table_name, ordinal_position",
            "SELECT concat_ws(' ', indexdef, obj_description(format('%I.%I', schemaname, indexname)::regclass, 'pg_class'))
             FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname",
            "SELECT concat_ws(' ', relname, conname, pg_get_constraintdef(pg_constraint.oid))
             FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
             WHERE connamespace = $1::regnamespace ORDER BY relname, conname",
        ] {
            let select = sqlx::query_scalar(select).bind(&self.0);
            let lines: Vec<String> = select.fetch_all(&mut connection).await.expect("it is answered");
            described.extend(lines.iter().map(|line| line.replace(&format!("{}.", self.0), "")));
        }
        let forms = format!(
            "SELECT concat_ws(' ', version, name) FROM {}.migrations ORDER BY version",
            self.0
        );
        let forms = sqlx::query_scalar(AssertSqlSafe(forms))
            .fetch_all(&mut connection)
            .await;
        described.extend::<Vec<String>>(forms.expect("it is answered"));
        described
    }
}
