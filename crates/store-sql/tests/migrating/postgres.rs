//! PostgreSQL: a schema of the database that tests share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::document::{Collection, Kind as Keeps};
use kernel::store::Opened;
use servers::Kind;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use store_sql::{OpenError, PostgresOptions, PostgresStore};
use uuid::Uuid;

use crate::{Place, Wanted};

/// What the statements of an open store may take at most.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(15);
static SOMETHING: Collection = Collection {
    name: "things",
    kind: Keeps::View,
    columns: &[],
    indexes: &[],
};

/// Its name, and the URL of the database.
pub(crate) struct Namespace(String, String);

impl Namespace {
    fn options(&self, wanted: Wanted) -> PostgresOptions {
        let options = PostgresOptions::new(
            &self.1,
            &self.0,
            wanted.schema,
            Uuid::from_u128(1),
            Timestamp::UNIX_EPOCH,
        );
        let mut options = options.expect("the server has a URL");
        options.rebuild = wanted.rebuild;
        options
    }

    /// For a user who may not make a schema.
    pub(crate) async fn without_rights() -> Self {
        let Self(name, url) = Self::new();
        let place = Self(name.clone(), url.replace("postgres@", &format!("{name}@")));
        place.shell(&format!("CREATE ROLE {name} LOGIN")).await;
        place
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
        Self(servers::unique_name(), Kind::Postgres.shared())
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

/// The timeouts that keep a shop answering are not for opening, where an index may take hours and other replicas wait.
#[tokio::test]
async fn opening_waits_for_another_replica_longer_than_a_statement_may_take() {
    let place = Namespace::new();
    let mut other = connection().await;
    let lock = "SELECT pg_advisory_lock(hashtext('tradewind'), hashtext($1))";
    let locked = sqlx::query(lock).bind(&place.0).execute(&mut other).await;
    locked.expect("nobody has the lock");
    let opening = place.open(Wanted::of(&SOMETHING));
    let mut opening = std::pin::pin!(opening);
    let early = tokio::time::timeout(STATEMENT_TIME_MAX + Duration::from_secs(1), &mut opening).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    drop(other);
    opening.await.expect("the store opens");
}

#[tokio::test]
async fn a_schema_that_a_user_may_not_look_into_is_not_taken_for_an_empty_one() {
    let place = Namespace::without_rights().await;
    place.shell_inside("SELECT 1").await;
    for refused in [
        place.plan(Wanted::of(&SOMETHING)).await.map(drop),
        place.open(Wanted::of(&SOMETHING)).await.map(drop),
    ] {
        let refused = refused.expect_err("it may not be used");
        assert!(
            matches!(&refused, OpenError::Unusable { namespace } if *namespace == place.0),
            "{refused}"
        );
    }
}
