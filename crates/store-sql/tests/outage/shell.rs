//! What another session does on a server.

use std::time::Duration;

use servers::Kind;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::time::timeout;

/// How long it may take until there is so much as is waited for.
const COUNT_TIME_MAX: Duration = Duration::from_secs(30);
/// MariaDB looks for locks anew only when nobody has asked for a tenth of a second.
const POLL: Duration = Duration::from_millis(200);

/// A session beside the store, in its schema or database.
pub(crate) enum Shell {
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

impl Shell {
    pub(crate) async fn on(url: &str, kind: Kind, name: &str) -> Self {
        let mut shell = match kind {
            Kind::Postgres => Self::Postgres(PgConnection::connect(url).await.expect("the server answers")),
            _ => Self::Mysql(MySqlConnection::connect(url).await.expect("the server answers")),
        };
        let choose = if kind == Kind::Postgres {
            "SET search_path TO"
        } else {
            "SET sql_mode = 'ANSI_QUOTES'; USE"
        };
        shell.run(&format!("{choose} {name}")).await;
        shell
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        let text = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = match self {
            Self::Postgres(connection) => text.execute(connection).await.map(drop),
            Self::Mysql(connection) => text.execute(connection).await.map(drop),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Those of the store that this session is about.
    pub(crate) async fn close_others(&mut self) {
        match self {
            Self::Postgres(_) => {
                let others = "application_name = 'tradewind ' || current_schema()";
                self.run(&format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"
                ))
                .await;
            }
            Self::Mysql(connection) => {
                let others =
                    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
                let others: Vec<i64> = sqlx::query_scalar(others)
                    .fetch_all(connection)
                    .await
                    .expect("they are listed");
                for other in others {
                    self.run(&format!("KILL {other}")).await;
                }
            }
        }
    }

    /// Until this counts so many.
    pub(crate) async fn wait_for(&mut self, count: i64, sql: &'static str) {
        let counted = async {
            loop {
                let found: i64 = match self {
                    Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
                    Self::Mysql(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
                }
                .expect("it is counted");
                if found >= count {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        timeout(COUNT_TIME_MAX, counted).await.expect("it comes to so many");
    }
}

/// Transactions that wait for a lock, of the store with this name.
pub(crate) fn waiting(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => {
            "SELECT count(*) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND application_name = 'tradewind ' || current_schema()"
        }
        _ => {
            "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist
             ON trx_mysql_thread_id = id WHERE trx_state = 'LOCK WAIT' AND db = DATABASE()"
        }
    }
}
