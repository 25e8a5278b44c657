//! From what is there to what is declared: plans, and stores of each form that a released version had.

#[cfg(feature = "mysql")]
#[path = "migrating/mysql.rs"]
mod mysql;
#[cfg(any(feature = "postgres", feature = "mysql"))]
#[path = "migrating/opening.rs"]
mod opening;
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

/// The tests of one kind of server, beside those above; a file has more to refuse (`opening.rs`).
#[cfg(any(feature = "postgres", feature = "mysql"))]
macro_rules! opening_on {
    ($database:ident, $place:ty) => {
        mod $database {
            use super::{Place as _, opening};

            #[tokio::test]
            async fn another_number_of_lanes_is_refused() {
                opening::another_number_of_lanes_is_refused(<$place>::new()).await;
            }

            #[tokio::test]
            async fn a_store_of_a_newer_form_is_refused() {
                opening::a_store_of_a_newer_form_is_refused(<$place>::new()).await;
            }

            #[tokio::test]
            async fn an_index_is_added_to_what_is_there_and_made_again_when_it_changes() {
                opening::an_index_is_added_to_what_is_there_and_made_again_when_it_changes(<$place>::new()).await;
            }

            #[tokio::test]
            async fn a_rebuild_empties_a_collection_and_must_be_finished() {
                opening::a_rebuild_empties_a_collection_and_must_be_finished(<$place>::new()).await;
            }

            #[tokio::test]
            async fn replicas_that_start_at_once_open_one_store() {
                opening::replicas_that_start_at_once_open_one_store(<$place>::new()).await;
            }

            #[tokio::test]
            async fn what_a_user_may_not_make_is_refused_by_name() {
                opening::what_a_user_may_not_make_is_refused_by_name(<$place>::without_rights().await).await;
            }
        }
    };
}

#[cfg(feature = "postgres")]
opening_on!(opening_on_postgres, crate::postgres::Namespace);
#[cfg(feature = "mysql")]
opening_on!(opening_on_mariadb, crate::mysql::Database);
