//! Who is let through, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use gateway::RateLimiter;
use gateway::limit::{Policy, Verdict};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{LimiterFactory, limits, taken};

/// Requests that come at once.
const MANY: u32 = 400;
/// More refusals than would go unnoticed if each cost something.
const REFUSALS: u32 = 100;

pub async fn a_quota_may_be_used_at_once_and_no_more(factory: &dyn LimiterFactory) {
    let limiter = factory.limiter(limits("5/1d")).await;
    for remaining in [4, 3, 2, 1, 0] {
        assert_eq!(taken(&*limiter, 1).await, Some(remaining));
    }
    for _ in 0..3 {
        assert_eq!(taken(&*limiter, 1).await, None);
    }
}

pub async fn of_many_at_once_no_more_than_the_quota_are_admitted(factory: &dyn LimiterFactory) {
    let limiter = factory.limiter(limits("100/31d")).await;
    let mut asking = JoinSet::new();
    for _ in 0..MANY {
        let limiter = Arc::clone(&limiter);
        asking.spawn(async move { taken(&*limiter, 1).await });
    }
    let mut admitted: Vec<u32> = asking.join_all().await.into_iter().flatten().collect();
    admitted.sort_unstable();
    assert_eq!(admitted, (0..100).collect::<Vec<_>>());
}

pub async fn one_that_is_refused_costs_nothing(factory: &dyn LimiterFactory) {
    let limiter = factory.limiter(limits("2/1d")).await;
    while taken(&*limiter, 1).await.is_some() {}
    let first = refusal(&*limiter, 1).await.expect("half a day is long");
    for _ in 0..REFUSALS {
        taken(&*limiter, 1).await;
    }
    let last = refusal(&*limiter, 1).await.expect("half a day is long");
    assert!(last <= first, "after {first:?}, {last:?}");
}

pub async fn requests_come_back_one_by_one_and_when_it_was_said(factory: &dyn LimiterFactory) {
    let limiter = factory.limiter(limits("20/20s")).await;
    while taken(&*limiter, 1).await.is_some() {}
    let retry_after = refused(&*limiter, 1).await;
    assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
    sleep(retry_after).await;
    assert!(
        taken(&*limiter, 1).await.is_some(),
        "it was said that it would be admitted"
    );
}

pub async fn what_is_not_used_does_not_add_up(factory: &dyn LimiterFactory) {
    let limiter = factory.limiter(limits("2/1s")).await;
    assert_eq!(taken(&*limiter, 1).await, Some(1));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(taken(&*limiter, 1).await, Some(1));
}

pub async fn subjects_and_policies_are_counted_apart(factory: &dyn LimiterFactory) {
    let limiter = factory.limiter(limits("2/1d")).await;
    // One is another's lower half.
    for subject in [1, 1 << 64 | 1, u128::MAX] {
        for policy in Policy::ALL {
            let verdict = limiter.take(policy, subject).await;
            assert_eq!(verdict, Verdict::Admitted { remaining: 1 }, "{policy:?} {subject}");
        }
    }
}

/// How long the next one has to wait, which is not admitted.
async fn refusal(limiter: &dyn RateLimiter, subject: u128) -> Option<Duration> {
    match limiter.take(Policy::User, subject).await {
        Verdict::Refused { retry_after } => Some(retry_after),
        Verdict::Admitted { .. } => None,
    }
}

/// The same, of one that is refused sooner or later.
async fn refused(limiter: &dyn RateLimiter, subject: u128) -> Duration {
    loop {
        if let Some(retry_after) = refusal(limiter, subject).await {
            return retry_after;
        }
    }
}
