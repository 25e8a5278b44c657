//! Counts in the memory of this process.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use kernel::clock::Clock;
use quick_cache::sync::Cache;

use super::{Policy, RateLimiter, Verdict};
use crate::config::{Quota, RateLimits};

/// Addresses or users that each policy remembers, at about 100 bytes each. With more at once, those seen least begin
/// anew: who has that many addresses is not held up by a limit per address.
const SUBJECTS_MAX: usize = 65_536;

/// Counts in the memory of this process, by the generic cell rate algorithm: a quota may be used at once, and comes back
/// evenly.
#[derive(Debug)]
pub struct LocalLimiter([Option<Counted>; Policy::ALL.len()]);

#[derive(Debug)]
struct Counted {
    limiter: governor::RateLimiter<u128, Subjects, Ticks, StateInformationMiddleware>,
    ticks: Ticks,
}

impl LocalLimiter {
    /// Nobody has sent anything yet.
    #[must_use]
    pub fn new(limits: &RateLimits, clock: &Arc<dyn Clock>) -> Self {
        Self(Policy::ALL.map(|policy| policy.quota(limits).map(|quota| Counted::new(quota, clock))))
    }
}

impl Counted {
    fn new(quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let ticks = Ticks(Arc::clone(clock));
        let period = governor::Quota::with_period(quota.period()).expect("a quota's period is never zero");
        let subjects = Subjects(Cache::new(SUBJECTS_MAX));
        let limiter = governor::RateLimiter::new(period.allow_burst(quota.requests), subjects, ticks.clone());
        Self { limiter, ticks }
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn take(&self, policy: Policy, subject: u128) -> Verdict {
        let Some(Counted { limiter, ticks }) = &self.0[policy as usize] else {
            return Verdict::Admitted { remaining: u32::MAX };
        };
        match limiter.check_key(&subject) {
            Ok(state) => Verdict::Admitted {
                remaining: state.remaining_burst_capacity(),
            },
            Err(until) => Verdict::Refused {
                retry_after: until.wait_time_from(governor::clock::Clock::now(ticks)),
            },
        }
    }
}

/// One counter per subject; as many as there is room for.
struct Subjects(Cache<u128, Arc<InMemoryState>>);

impl StateStore for Subjects {
    type Key = u128;

    fn measure_and_replace<T, F, E>(&self, subject: &u128, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Ok(state) = self
            .0
            .get_or_insert_with(subject, || Ok::<_, Infallible>(Arc::default()));
        state.measure_and_replace(&NotKeyed::NonKey, measure)
    }
}

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subjects({})", self.0.len())
    }
}

/// Our clock, as the limiter reads it.
#[derive(Clone, Debug)]
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.monotonic().into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernel::clock::ManualClock;

    use super::*;

    fn limiter(anonymous: &str) -> LocalLimiter {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::starting_at("2026-11-21T09:00:00Z".parse().unwrap()));
        let limits = RateLimits {
            anonymous: anonymous.parse().unwrap(),
            ..RateLimits::OFF
        };
        LocalLimiter::new(&limits, &clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_may_be_used_at_once_and_comes_back_evenly() {
        let limiter = limiter("3/30s");
        for remaining in [2, 1, 0] {
            assert_eq!(
                limiter.take(Policy::Anonymous, 1).await,
                Verdict::Admitted { remaining }
            );
        }
        let refused = |seconds| Verdict::Refused {
            retry_after: Duration::from_secs(seconds),
        };
        assert_eq!(limiter.take(Policy::Anonymous, 1).await, refused(10));
        assert_eq!(
            limiter.take(Policy::Anonymous, 2).await,
            Verdict::Admitted { remaining: 2 }
        );
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(limiter.take(Policy::Anonymous, 1).await, refused(6));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(
            limiter.take(Policy::Anonymous, 1).await,
            Verdict::Admitted { remaining: 0 }
        );
        assert_eq!(limiter.take(Policy::Anonymous, 1).await, refused(10));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(
            limiter.take(Policy::Anonymous, 1).await,
            Verdict::Admitted { remaining: 2 }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_who_sends_much_is_remembered() {
        let limiter = limiter("3/1d");
        for subject in 0..4 * SUBJECTS_MAX as u128 {
            limiter.take(Policy::Anonymous, subject + 10).await;
            if subject % 1000 == 0 {
                limiter.take(Policy::Anonymous, 1).await;
            }
        }
        let last = limiter.take(Policy::Anonymous, 1).await;
        assert!(matches!(last, Verdict::Refused { .. }), "{last:?}");
        let [Some(counted), None, None] = limiter.0 else {
            panic!("one policy is on");
        };
        let remembered = counted.limiter.into_state_store().0.len();
        // The cache is in shards, so it is only about as large as it was asked to be.
        assert!(
            (SUBJECTS_MAX / 2..=SUBJECTS_MAX * 5 / 4).contains(&remembered),
            "{remembered}"
        );
    }
}
