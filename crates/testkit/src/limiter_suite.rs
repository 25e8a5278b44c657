//! The contract suite of the [`RateLimiter`] port: every adapter passes all of it.
//!
//! An adapter's test says how to get a limiter and nothing more:
//!
//! ```ignore
//! testkit::limiter_suite!(Factory::new());
//! testkit::limiter_outage_suite!(OwnServer::new());
//! ```
//!
//! which makes one test of each obligation, each on a fresh factory; the second suite is for what counts in some other place,
//! which may be away. That memory is bounded each adapter shows by itself. That each obligation can be broken, and then fails, is
//! tested with limiters that break them on purpose (`tests/limiter_suite.rs`).

pub mod counting;
pub mod outages;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway::RateLimiter;
use gateway::config::{Rate, RateLimits};
use gateway::limit::{Policy, Verdict};

/// Makes limiters by which nothing was counted at first.
#[async_trait]
pub trait LimiterFactory: Send + Sync {
    /// One as a gateway has it that is configured so. Called again, like a second gateway.
    async fn limiter(&self, limits: RateLimits) -> Arc<dyn RateLimiter>;
}

/// A factory whose limiters count in some other place, which nobody else uses.
#[async_trait]
pub trait CounterFactory: LimiterFactory {
    /// Ends it.
    async fn kill(&self);

    /// Starts it again, under the same address.
    async fn start(&self);

    /// Lets it stand still: connections stay, and nothing is answered.
    async fn pause(&self);

    /// Lets it go on.
    async fn resume(&self);
}

/// What an obligation takes at most; one that hangs has failed.
pub const OBLIGATION_TIME_MAX: Duration = Duration::from_secs(120);

/// The same rate for all policies.
fn limits(rate: &str) -> RateLimits {
    let rate: Rate = rate.parse().expect("a rate");
    RateLimits {
        anonymous: rate,
        user: rate,
        ip: rate,
    }
}

/// What is left after one more request of this user; nothing if that is refused.
async fn taken(limiter: &dyn RateLimiter, subject: u128) -> Option<u32> {
    match limiter.take(Policy::User, subject).await {
        Verdict::Admitted { remaining } => Some(remaining),
        Verdict::Refused { .. } => None,
    }
}

/// Makes a test of each obligation, given an expression for a new [`LimiterFactory`] (it may `.await`).
#[macro_export]
macro_rules! limiter_suite {
    ($factory:expr) => {
        $crate::limiter_suite! { @tests $factory;
            counting: a_quota_may_be_used_at_once_and_no_more;
            counting: of_many_at_once_no_more_than_the_quota_are_admitted;
            counting: one_that_is_refused_costs_nothing;
            counting: requests_come_back_one_by_one_and_when_it_was_said;
            counting: what_is_not_used_does_not_add_up;
            counting: subjects_and_policies_are_counted_apart;
        }
    };
    (@tests $factory:expr; $($module:ident: $name:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let obligation = async {
                let factory = $factory;
                $crate::limiter_suite::$module::$name(&factory).await;
            };
            let outcome = tokio::time::timeout($crate::limiter_suite::OBLIGATION_TIME_MAX, obligation).await;
            outcome.expect("an obligation is met in time");
        }
    )+};
}

/// Makes a test of each obligation of what counts in some other place, given an expression for a new [`CounterFactory`].
#[macro_export]
macro_rules! limiter_outage_suite {
    ($factory:expr) => {
        $crate::limiter_suite! { @tests $factory;
            outages: while_nobody_counts_requests_are_admitted_at_once;
            outages: while_the_counter_stands_still_requests_are_admitted_at_once;
            outages: it_is_counted_together_again_after_an_outage;
        }
    };
}

#[cfg(test)]
mod tests {
    /// An obligation that nobody runs binds nobody.
    #[test]
    fn every_obligation_is_in_the_suite() {
        let listed = include_str!("limiter_suite.rs");
        let modules = [
            ("counting", include_str!("limiter_suite/counting.rs")),
            ("outages", include_str!("limiter_suite/outages.rs")),
        ];
        for (module, source) in modules {
            for line in source.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split(['(', '<']).next().expect("a function has a parameter list");
                assert!(
                    listed.contains(&format!("{module}: {name};")),
                    "{module}::{name} is not in the suite"
                );
            }
        }
    }
}
