//! SQLite against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::store::{Opened, Store};
use store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;
use testkit::store_suite::carrying::OpenedFactory;
use testkit::store_suite::{StoreFactory, fixture};
use uuid::Uuid;

struct Sqlite(TempDir);

/// The same, for obligations that open no second handle beside the first.
struct Alone(TempDir);

#[async_trait]
impl OpenedFactory for Sqlite {
    async fn open(&self) -> Arc<dyn Opened> {
        open(&self.0, false)
    }
}

#[async_trait]
impl StoreFactory for Alone {
    async fn open(&self) -> Arc<dyn Store> {
        open(&self.0, true)
    }
}

fn open(directory: &TempDir, alone: bool) -> Arc<SqliteStore> {
    let path = directory.path().join("store.db");
    let mut options = SqliteOptions::new(path, fixture::schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    options.alone = alone;
    Arc::new(SqliteStore::open(options).expect("the store opens"))
}

mod sqlite {
    use super::*;

    testkit::store_suite!(Sqlite(TempDir::new().expect("a directory for the test")));
    testkit::carrying_suite!(Sqlite(TempDir::new().expect("a directory for the test")));
}

mod alone {
    use super::*;

    testkit::store_suite! { @tests Alone(TempDir::new().expect("a directory for the test"));
        commits: a_batch_is_there_whole_when_commit_returns;
        commits: the_same_batch_again_answers_alike_and_writes_nothing;
        journal: an_empty_store_has_a_head;
        journal: positions_are_dense_in_commit_order;
        journal: a_refused_batch_gives_its_positions_back;
        journal: each_event_names_its_predecessor_in_its_lane;
        journal: events_come_back_as_they_were_committed;
        journal: the_largest_event_is_kept;
        journal: the_tail_is_read_in_pieces;
        journal: a_tail_ends_with_the_event_that_fills_it;
        restart: everything_is_there_after_a_restart;
        restart: a_restarted_writer_settles_its_latest_batch;
    }
}
