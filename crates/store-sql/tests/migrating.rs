//! From what is there to what is declared: plans, and stores of each form that a released version had.

#[cfg(feature = "mysql")]
#[path = "migrating/mysql.rs"]
mod mysql;
#[path = "migrating/planned.rs"]
mod planned;
#[cfg(feature = "postgres")]
#[path = "migrating/postgres.rs"]
mod postgres;
#[path = "migrating/released.rs"]
mod released;
#[path = "migrating/sqlite.rs"]
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kernel::document::Collection;
use kernel::store::{Opened, Schema};
use store_sql::OpenError;

/// What a store is to be.
#[derive(Clone, Debug)]
struct Wanted {
    schema: Schema,
    rebuild: Vec<&'static str>,
}

impl Wanted {
    fn of(collection: &'static Collection) -> Self {
        let schema = Schema {
            collections: vec![collection],
            lanes: 4,
        };
        let rebuild = Vec::new();
        Self { schema, rebuild }
    }
}

/// Where one store is or will be.
#[async_trait]
trait Place: Sync {
    /// The file with what a released version left on this database.
    const FIXTURE: &'static str;

    /// Where nothing is.
    fn new() -> Self
    where
        Self: Sized;

    async fn plan(&self, wanted: Wanted) -> Result<Vec<String>, OpenError>;

    async fn open(&self, wanted: Wanted) -> Result<Arc<dyn Opened>, OpenError>;

    /// What a person does with a shell of their own, who has chosen no schema or database.
    async fn shell(&self, sql: &str);

    /// The same, where the schema or the database is chosen, and made if it is not there.
    async fn shell_inside(&self, sql: &str);

    /// All that the database says about the store's tables, in lines; nothing where there is none.
    async fn described(&self) -> Vec<String>;
}

/// The tests of one kind of place.
macro_rules! on {
    ($database:ident, $place:ty) => {
        mod $database {
            use super::{Place, planned, released};

            #[tokio::test]
            async fn a_plan_makes_nothing_and_is_all_that_it_takes() {
                planned::a_plan_makes_nothing_and_is_all_that_it_takes::<$place>().await;
            }

            #[tokio::test]
            async fn a_plan_has_only_what_is_missing_or_differs() {
                planned::a_plan_has_only_what_is_missing_or_differs(<$place>::new()).await;
            }

            #[tokio::test]
            async fn a_plan_is_read_while_the_store_is_open() {
                planned::a_plan_is_read_while_the_store_is_open(<$place>::new()).await;
            }

            #[tokio::test]
            async fn what_opening_refuses_a_plan_refuses_in_the_same_words() {
                planned::what_opening_refuses_a_plan_refuses_in_the_same_words::<$place>().await;
            }

            #[tokio::test]
            async fn a_store_of_each_released_form_is_opened_and_goes_on() {
                released::a_store_of_each_released_form_is_opened_and_goes_on::<$place>().await;
            }
        }
    };
}

on!(on_sqlite, crate::sqlite::File);
#[cfg(feature = "postgres")]
on!(on_postgres, crate::postgres::Namespace);
#[cfg(feature = "mysql")]
on!(on_mariadb, crate::mysql::Database);
