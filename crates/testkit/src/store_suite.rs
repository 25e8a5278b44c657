//! The contract suite of the [`Store`] port: every adapter passes all of it, on the real database.
//!
//! An adapter's test says how to get a store and nothing more:
//!
//! ```ignore
//! testkit::store_suite!(Factory::new());
//! ```
//!
//! which makes one test of each obligation, each on a fresh factory. An obligation is an async function over a
//! [`StoreFactory`]; `expected` is what the port's documentation says, never what some adapter happens to do.

pub mod carrying;
pub mod commits;
pub mod concurrency;
pub mod conflicts;
pub mod documents;
pub mod fixture;
pub mod journal;
pub mod machine;
pub mod model;
pub mod outage;
pub mod pages;
pub mod queries;
pub mod refused;
pub mod restart;
pub mod tailing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::store::Store;

/// Opens stores over [`fixture::schema`], all on one database of its own that is empty at first.
#[async_trait]
pub trait StoreFactory: Send + Sync {
    /// A handle as one process would have it. Called again it opens what is there: beside the first handle like a
    /// second replica, or after that one was dropped like a restarted process.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each obligation about whole stores, given an expression for a new [`carrying::OpenedFactory`].
#[macro_export]
macro_rules! carrying_suite {
    ($factory:expr) => {
        $crate::store_suite! { @tests $factory;
            carrying: a_snapshot_stays_as_it_was_whatever_is_committed;
            carrying: a_store_is_carried_in_pieces;
            carrying: rows_are_inserted_and_nothing_else;
        }
        $crate::store_suite! { @anew $factory, $crate::store_suite::carrying::OpenedFactory;
            carrying: what_is_carried_into_an_empty_store_is_the_same_there;
        }
    };
}

/// What an obligation takes at most; one that hangs has failed.
pub const OBLIGATION_TIME_MAX: Duration = Duration::from_secs(180);

/// Makes a test of each obligation, given an expression for a new [`StoreFactory`] (it may `.await`).
#[macro_export]
macro_rules! store_suite {
    ($factory:expr) => {
        $crate::store_suite! { @tests $factory;
            commits: a_batch_is_there_whole_when_commit_returns;
            commits: a_refused_batch_can_be_committed_once_its_condition_holds;
            commits: the_same_batch_again_answers_alike_and_writes_nothing;
            commits: each_writer_has_its_own_latest_batch;
            commits: a_batch_of_nothing_ends_at_the_head;
            commits: a_batch_that_does_not_fit_the_schema_is_refused_for_its_content;
            commits: time_never_runs_back;
            commits: a_dropped_commit_leaves_no_transaction_open;
            commits: a_dropped_read_leaves_no_transaction_open;
            conflicts: an_unexpected_version_refuses_a_put_and_its_whole_batch;
            conflicts: an_unexpected_version_refuses_a_delete_and_its_whole_batch;
            conflicts: what_must_be_absent_and_is_not_refuses_the_whole_batch;
            conflicts: what_was_read_and_has_changed_refuses_the_whole_batch;
            conflicts: a_version_that_a_stream_already_has_refuses_the_whole_batch;
            conflicts: a_gap_in_a_stream_refuses_the_whole_batch;
            conflicts: every_conflict_is_named_once;
            conflicts: conditions_that_hold_are_no_conflict;
            documents: versions_count_puts_and_start_again_after_a_delete;
            documents: documents_come_back_byte_for_byte;
            documents: ids_compare_as_bytes;
            documents: a_mebibyte_of_document_comes_back;
            documents: documents_are_given_in_the_order_of_their_keys;
            journal: an_empty_store_has_a_head;
            journal: positions_are_dense_in_commit_order;
            journal: a_refused_batch_gives_its_positions_back;
            journal: each_event_names_its_predecessor_in_its_lane;
            journal: events_come_back_as_they_were_committed;
            journal: the_largest_event_is_kept;
            journal: a_stream_is_read_from_a_version_up_to_a_limit;
            journal: the_tail_is_read_in_pieces;
            journal: a_tail_ends_with_the_event_that_fills_it;
            queries: pages_by_a_column_are_ordered_by_it_and_then_by_id;
            queries: a_page_ends_with_the_document_that_fills_it;
            queries: an_index_leaves_documents_out_whose_first_column_is_null;
            queries: null_in_a_later_column_sorts_first_and_lies_in_no_range;
            queries: ranges_include_or_exclude_their_bounds;
            queries: numbers_sort_over_their_whole_range;
            queries: text_sorts_and_matches_as_bytes;
            queries: contained_text_is_taken_literally;
            queries: a_put_moves_a_document_in_its_indexes_and_a_delete_removes_it;
            queries: a_query_that_does_not_fit_the_declaration_is_refused;
            pages: random_queries_give_what_a_plain_filter_gives;
            pages: pages_are_stable_beside_a_writer;
            pages: a_cursor_outlives_the_document_it_names;
            concurrency: concurrent_committers_share_one_dense_order;
            concurrency: of_many_claims_to_one_key_exactly_one_wins;
            concurrency: no_update_is_lost;
            concurrency: of_two_batches_that_read_what_the_other_writes_one_is_refused;
            concurrency: a_commit_is_seen_by_whoever_reads_after_it;
            tailing: a_tailer_beside_slow_and_fast_writers_skips_nothing;
            tailing: an_event_that_is_seen_has_its_documents;
            restart: everything_is_there_after_a_restart;
            restart: a_restarted_writer_settles_its_latest_batch;
        }
        $crate::store_suite! { @anew $factory, $crate::store_suite::StoreFactory;
            machine: whatever_is_committed_a_store_holds_what_its_model_holds;
        }
    };
    // Of obligations that make many stores, each on a factory of its own.
    (@anew $factory:expr, $Factory:path; $($module:ident: $name:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let new = async || Box::new($factory) as Box<dyn $Factory>;
            let obligation = $crate::store_suite::$module::$name(new);
            let outcome = tokio::time::timeout($crate::store_suite::OBLIGATION_TIME_MAX, obligation).await;
            outcome.expect("an obligation is met in time");
        }
    )+};
    (@tests $factory:expr; $($module:ident: $name:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let obligation = async {
                let factory = $factory;
                $crate::store_suite::$module::$name(&factory).await;
            };
            let outcome = tokio::time::timeout($crate::store_suite::OBLIGATION_TIME_MAX, obligation).await;
            outcome.expect("an obligation is met in time");
        }
    )+};
}

#[cfg(test)]
mod tests {
    /// An obligation that nobody runs binds nobody.
    #[test]
    fn every_obligation_is_in_the_suite() {
        let listed = include_str!("store_suite.rs");
        let modules = [
            ("carrying", include_str!("store_suite/carrying.rs")),
            ("commits", include_str!("store_suite/commits.rs")),
            ("concurrency", include_str!("store_suite/concurrency.rs")),
            ("conflicts", include_str!("store_suite/conflicts.rs")),
            ("documents", include_str!("store_suite/documents.rs")),
            ("journal", include_str!("store_suite/journal.rs")),
            ("machine", include_str!("store_suite/machine.rs")),
            ("pages", include_str!("store_suite/pages.rs")),
            ("queries", include_str!("store_suite/queries.rs")),
            ("restart", include_str!("store_suite/restart.rs")),
            ("tailing", include_str!("store_suite/tailing.rs")),
        ];
        for (module, source) in modules {
            for line in source.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split('(').next().expect("a function has a parameter list");
                assert!(
                    listed.contains(&format!("{module}: {name};")),
                    "{module}::{name} is not in the suite"
                );
            }
        }
    }
}
