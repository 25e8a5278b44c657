//! MariaDB against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::{Opened, Schema, Store};
use servers::Kind;
use store_sql::{MysqlOptions, MysqlStore};
use testkit::store_suite::carrying::OpenedFactory;
use testkit::store_suite::{fixture, refused};
use uuid::Uuid;

async fn open(database: &str, schema: Schema) -> Arc<MysqlStore> {
    let url = Kind::Mariadb.shared();
    let options = MysqlOptions::new(&url, database, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    let options = options.expect("the server has a URL");
    Arc::new(MysqlStore::open(options).await.expect("the store opens"))
}

/// A database of its own.
struct Mariadb(String);

#[async_trait]
impl OpenedFactory for Mariadb {
    async fn open(&self) -> Arc<dyn Opened> {
        open(&self.0, fixture::schema()).await
    }
}

mod mariadb {
    use super::*;

    testkit::store_suite!(Mariadb(servers::unique_name()));
    testkit::carrying_suite!(Mariadb(servers::unique_name()));

    /// It takes no text of more than 255 characters that is looked up.
    #[tokio::test]
    async fn only_the_command_that_brings_what_it_does_not_take_is_refused() {
        let store = open(&servers::unique_name(), refused::remarks()).await;
        refused::only_the_command_that_brings_it_is_refused(store, &"x".repeat(256)).await;
    }
}

/// Which databases are opened, what is added to them, and what is refused.
mod opening {
    use kernel::document::{Collection, Column, ColumnType, Index, Kind as Keeps, Value};
    use kernel::store::{CommitError, Expect, Query};
    use sqlx::mysql::MySqlConnection;
    use sqlx::{AssertSqlSafe, Connection as _};
    use store_sql::OpenError;
    use testkit::store_suite::fixture::{NOTES, batch, get, ids, note, thing};

    use super::*;

    const OWNER: Column = Column {
        name: "owner",
        column_type: ColumnType::Text,
    };
    const BY_WHAT: Index = Index {
        name: "by_what",
        columns: &["owner"],
    };
    const PLAIN: Collection = Collection {
        name: "things",
        kind: Keeps::View,
        columns: &[OWNER],
        indexes: &[],
    };
    static UNINDEXED: Collection = PLAIN;
    static INDEXED: Collection = Collection {
        indexes: &[BY_WHAT],
        ..PLAIN
    };

    struct Database(String);

    impl Database {
        fn new() -> Self {
            Self(servers::unique_name())
        }

        fn options(&self, collections: Vec<&'static Collection>) -> MysqlOptions {
            let schema = Schema { collections, lanes: 4 };
            let url = Kind::Mariadb.shared();
            let options = MysqlOptions::new(&url, &self.0, schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
            options.expect("the server has a URL")
        }

        async fn open(&self, collection: &'static Collection) -> Arc<dyn Store> {
            let opened = MysqlStore::open(self.options(vec![collection])).await;
            Arc::new(opened.expect("the store opens"))
        }

        async fn refusal(&self, options: MysqlOptions) -> OpenError {
            MysqlStore::open(options).await.expect_err("the store is refused")
        }

        async fn shell(&self, sql: &str) {
            let shell = MySqlConnection::connect(&Kind::Mariadb.shared()).await;
            let mut shell = shell.expect("the server takes connections");
            let text = format!(
                "SET sql_mode = 'ANSI_QUOTES'; CREATE DATABASE IF NOT EXISTS {0}; USE {0}; {sql}",
                self.0
            );
            let done = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut shell).await;
            done.expect("the shell does as it is told");
        }
    }

    async fn put(store: &Arc<dyn Store>, id: &str, columns: Vec<Value>) {
        batch().put(thing(id), "{}", columns, Expect::Any).commit(store).await;
    }

    #[tokio::test]
    async fn opening_goes_on_where_it_was_cut_short() {
        let made = [
            "migrations",
            "batches; DROP TABLE migrations",
            "head; DROP TABLE batches; DROP TABLE migrations",
            "head; DELETE FROM migrations",
            "things; DELETE FROM migrations; DELETE FROM head",
            "things; DELETE FROM migrations",
        ];
        for missing in made {
            let database = Database::new();
            database.open(&INDEXED).await;
            database.shell(&format!("DROP TABLE {missing}")).await;
            let store = database.open(&INDEXED).await;
            put(&store, "a", vec!["ann".into()]).await;
            assert_eq!(all(&store).await, ["a"], "without {missing}");
        }
        // An index of the table was still to be made.
        let database = Database::new();
        database.open(&INDEXED).await;
        database.shell("DROP INDEX things__by_what ON things").await;
        let store = database.open(&INDEXED).await;
        put(&store, "a", vec!["ann".into()]).await;
        assert_eq!(by_what(&store, &INDEXED).await, ["a"]);
    }

    #[tokio::test]
    async fn text_takes_what_fits_an_index_only_while_it_is_looked_up() {
        let database = Database::new();
        let long = "x".repeat(256);
        let store = database.open(&UNINDEXED).await;
        put(&store, "a", vec![long.as_str().into()]).await;
        drop(store);
        let refusal = database.refusal(database.options(vec![&INDEXED])).await;
        assert!(refusal.to_string().contains("owner"), "{refusal}");

        let store = database.open(&UNINDEXED).await;
        put(&store, "a", vec!["zoe".into()]).await;
        put(&store, "b", vec!["ann".into()]).await;
        let store = database.open(&INDEXED).await;
        assert_eq!(by_what(&store, &INDEXED).await, ["b", "a"]);
        let refused = batch().put(thing("c"), "{}", vec![long.as_str().into()], Expect::Any);
        let refused = store.commit(refused.build()).await;
        assert!(matches!(refused, Err(CommitError::Content(_))), "{refused:?}");

        let store = database.open(&UNINDEXED).await;
        put(&store, "c", vec![long.as_str().into()]).await;
        assert_eq!(all(&store).await, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_password_is_in_no_message() {
        let url = Kind::Mariadb.shared().replace("root@", "nobody:sesame@");
        let schema = fixture::schema();
        let options = MysqlOptions::new(&url, "none", schema, Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
        let options = options.expect("the server has a URL");
        assert!(!format!("{options:?}").contains("sesame"));
        let refusal = MysqlStore::open(options).await.expect_err("there is no such user");
        assert!(!format!("{refusal} {refusal:?}").contains("sesame"), "{refusal:?}");
    }

    #[tokio::test]
    async fn what_is_too_much_for_a_packet_is_sent_in_pieces_and_a_value_is_refused() {
        let database = Database::new();
        let store = MysqlStore::open(database.options(vec![&NOTES])).await;
        let store: Arc<dyn Store> = Arc::new(store.expect("the store opens"));
        let large = format!("\"{}\"", "x".repeat(7 << 20));
        let mut draft = batch();
        for id in ["a", "b", "c"] {
            draft = draft.put_note(id, &large, Expect::Absent);
        }
        draft.commit(&store).await;
        assert_eq!(&*get(&store, note("c")).await.expect("it is there").document, large);

        let larger = format!("\"{}\"", "x".repeat(17 << 20));
        let refused = store.commit(batch().put_note("d", &larger, Expect::Any).build()).await;
        assert!(
            matches!(refused, Err(CommitError::Content(_))),
            "{:?}",
            refused.map(drop)
        );
        batch().put_note("d", "{}", Expect::Absent).commit(&store).await;
    }

    async fn all(store: &Arc<dyn Store>) -> Vec<String> {
        ids(store, &Query::all(&UNINDEXED, 100)).await
    }

    async fn by_what(store: &Arc<dyn Store>, collection: &'static Collection) -> Vec<String> {
        ids(store, &Query::by(collection, "by_what", Vec::new(), 100)).await
    }
}
