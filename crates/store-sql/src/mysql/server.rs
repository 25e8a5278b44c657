//! What kind of server it is, and what its connections are told.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::document::ColumnType;
use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use crate::dialect::Dialect;
use crate::open::OpenError;

/// MariaDB's words.
const MARIADB: Dialect = dialect(" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin");
/// MySQL's own words.
const MYSQL: Dialect = dialect(" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin");

/// Text compares by code point, which is the order of its bytes, and to its end: most of their collations leave out spaces
/// there, and each of the two has a name of its own for one that does not.
///
/// A key of 255 characters takes 1020 bytes in an index, which has 3072: enough for two of them, numbers, and the id.
const fn dialect(table_options: &'static str) -> Dialect {
    Dialect {
        create_table: "CREATE TABLE IF NOT EXISTS",
        unless_there: " ON DUPLICATE KEY UPDATE one = 1",
        number: "BIGINT",
        key: "VARCHAR(255)",
        text: "LONGTEXT",
        holds: |name, column_type| match column_type {
            ColumnType::Integer => name == "bigint",
            ColumnType::Text => name == "varchar" || name == "longtext",
        },
        table_options,
        small_table_options: table_options,
        has_partial_indexes: false,
        compares_rows: false,
        indexes_belong_to_tables: true,
        rewords_indexes: false,
        walk_index: |name| format!(" FORCE INDEX ({name})"),
        no_index: "",
        parameter: |_| "?".to_owned(),
        contains: |column, part| format!("LOCATE({part}, {column}) > 0"),
    }
}

/// How statements are written.
pub(super) const SQL_MODE: &str = "sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// A server as it was found.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) dialect: &'static Dialect,
    collation: &'static str,
    /// The longest message that it takes.
    pub(super) packet_bytes_max: usize,
    /// What its connections can be told of timeouts.
    timeouts: Vec<&'static str>,
}

/// Timeouts that only one of the two has: a statement must not run for ever.
const TIMEOUTS: [(&str, &str); 2] = [
    ("max_statement_time", "max_statement_time = 15"),
    ("max_execution_time", "max_execution_time = 15000"),
];
/// A transaction whose client has gone must not keep the head row: the limit that MariaDB has for that.
const IDLE_TRANSACTION: (&str, &str) = ("idle_transaction_timeout", "idle_transaction_timeout = 15");
/// The one that MySQL has, for connections in a transaction and others alike.
const IDLE_CONNECTION: &str = "wait_timeout = 20";
/// How long a connection is kept without use: the client closes it before the server does.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(8);

impl Server {
    /// Asks for what differs between servers, and warns if a commit that returned is not on the disk.
    pub(super) async fn ask(connection: &mut MySqlConnection) -> Result<Self, OpenError> {
        let collations = pairs(connection, "SHOW COLLATION LIKE 'utf8mb4%bin'").await?;
        let known = [("utf8mb4_nopad_bin", &MARIADB), ("utf8mb4_0900_bin", &MYSQL)];
        let found = known.into_iter().find(|(name, _)| collations.contains_key(*name));
        let (collation, dialect) = found
            .ok_or_else(|| OpenError::Database("it is neither MariaDB 10.6 nor MySQL 8.0.17, nor later".into()))?;
        let variables = pairs(connection, "SHOW SESSION VARIABLES").await?;
        warn_of_lost_commits(&variables);
        let packet = variables.get("max_allowed_packet").map(|bytes| bytes.parse());
        Ok(Self {
            dialect,
            collation,
            packet_bytes_max: packet.and_then(Result::ok).unwrap_or(1 << 20),
            timeouts: timeouts(&variables),
        })
    }

    /// What each connection is told when it begins.
    ///
    /// Reads see what was committed before each statement: a commit that waited for the head row must see what whoever had
    /// it left. Values that do not fit are refused instead of cut.
    pub(super) fn settings(&self) -> String {
        let timeouts: String = self.timeouts.iter().map(|setting| format!(", {setting}")).collect();
        format!(
            "{}; SET SESSION innodb_lock_wait_timeout = 10, lock_wait_timeout = 10{timeouts}; \
             SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            self.words()
        )
    }

    /// The part of the settings that opening needs too, which may take its time.
    pub(super) fn words(&self) -> String {
        format!(
            "SET NAMES utf8mb4 COLLATE {}; SET SESSION autocommit = 1, {SQL_MODE}",
            self.collation
        )
    }
}

/// Names with their values, of a statement that shows such.
async fn pairs(
    connection: &mut MySqlConnection,
    statement: &'static str,
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let rows = sqlx::raw_sql(statement).fetch_all(connection).await?;
    // Some servers give such text the type of bytes.
    let pairs = rows
        .iter()
        .map(|row| Ok((row.try_get_unchecked(0)?, row.try_get_unchecked(1)?)));
    pairs.collect()
}

fn timeouts(variables: &BTreeMap<String, String>) -> Vec<&'static str> {
    let has = |name: &str| variables.contains_key(name);
    let known = TIMEOUTS.iter().filter(|(name, _)| has(name));
    let (name, setting) = IDLE_TRANSACTION;
    let idle = if has(name) { setting } else { IDLE_CONNECTION };
    known.map(|(_, setting)| *setting).chain([idle]).collect()
}

fn warn_of_lost_commits(variables: &BTreeMap<String, String>) {
    let is = |name: &str, value: &str| variables.get(name).is_none_or(|found| found == value);
    if !is("innodb_flush_log_at_trx_commit", "1") {
        tracing::warn!("the server may lose commits when it stops: set innodb_flush_log_at_trx_commit to 1");
    }
    // With a binary log, recovery rolls back what is not in it.
    if is("log_bin", "ON") && !is("sync_binlog", "1") {
        tracing::warn!("the server may lose commits when it stops: set sync_binlog to 1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts_of(names: &[&str]) -> Vec<&'static str> {
        let variables = names.iter().map(|name| ((*name).to_owned(), "0".to_owned()));
        timeouts(&variables.collect())
    }

    /// A transaction whose client has vanished ends by itself on either server.
    #[test]
    fn each_server_is_told_how_long_a_transaction_may_stand_still() {
        assert_eq!(
            timeouts_of(&["max_statement_time", "idle_transaction_timeout", "wait_timeout"]),
            ["max_statement_time = 15", "idle_transaction_timeout = 15"]
        );
        assert_eq!(
            timeouts_of(&["max_execution_time", "wait_timeout"]),
            ["max_execution_time = 15000", "wait_timeout = 20"]
        );
    }
}
