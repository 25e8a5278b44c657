//! MariaDB: a database.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::Opened;
use servers::Kind;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use store_sql::{MysqlOptions, MysqlStore, OpenError};
use uuid::Uuid;

use crate::{Place, Wanted};

/// Its name, and the URL of the server.
pub(crate) struct Database(String, String);

impl Database {
    fn options(&self, wanted: Wanted) -> MysqlOptions {
        let options = MysqlOptions::new(
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

    /// For a user who may not make a database of that name. Those that begin with `test_` are everybody's.
    pub(crate) async fn without_rights() -> Self {
        let Self(name, url) = Self::new();
        let place = Self(format!("guarded_{name}"), url.replace("root@", &format!("{name}@")));
        place.shell(&format!("CREATE USER {name}")).await;
        place
    }
}

async fn connection() -> MySqlConnection {
    let connection = MySqlConnection::connect(&Kind::Mariadb.shared()).await;
    connection.expect("the server takes connections")
}

/// A column of what a statement answers.
async fn answers(connection: &mut MySqlConnection, statement: String, place: usize) -> Vec<String> {
    let rows = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(connection).await;
    let rows = rows.expect("it is answered");
    let texts = rows.iter().map(|row| row.try_get_unchecked(place));
    texts.collect::<Result<_, _>>().expect("it is text")
}

#[async_trait]
impl Place for Database {
    const FIXTURE: &'static str = "mysql.sql";

    fn new() -> Self {
        Self(servers::unique_name(), Kind::Mariadb.shared())
    }

    async fn plan(&self, wanted: Wanted) -> Result<Vec<String>, OpenError> {
        MysqlStore::plan(&self.options(wanted)).await
    }

    async fn open(&self, wanted: Wanted) -> Result<Arc<dyn Opened>, OpenError> {
        Ok(Arc::new(MysqlStore::open(self.options(wanted)).await?))
    }

    async fn shell(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        let done = sqlx::raw_sql(sql).execute(&mut connection().await).await;
        done.expect("the shell does as it is told");
    }

    async fn shell_inside(&self, sql: &str) {
        let chosen = format!("CREATE DATABASE IF NOT EXISTS {0}; USE {0}", self.0);
        self.shell(&format!("{chosen}; SET SESSION sql_mode = 'ANSI_QUOTES'; {sql}"))
            .await;
    }

    async fn described(&self) -> Vec<String> {
        let mut connection = connection().await;
        let database = format!("SHOW DATABASES LIKE '{}'", self.0);
        if answers(&mut connection, database, 0).await.is_empty() {
            return Vec::new();
        }
        let mut described = vec!["a database".to_owned()];
        for table in answers(&mut connection, format!("SHOW TABLES FROM {}", self.0), 0).await {
            let create = format!("SHOW CREATE TABLE {}.`{table}`", self.0);
            described.extend(answers(&mut connection, create, 1).await);
        }
        let forms = format!(
            "SELECT CONCAT(version, ' ', name) FROM {}.migrations ORDER BY version",
            self.0
        );
        described.extend(answers(&mut connection, forms, 0).await);
        described
    }
}
