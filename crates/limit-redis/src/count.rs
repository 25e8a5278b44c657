//! A quota in the numbers of the script, and what its answers mean.

use std::time::Duration;

use gateway::config::Quota;
use gateway::limit::Verdict;

/// What is done on the server in one step. See the comment at its head.
pub(crate) const TAKE: &str = include_str!("take.lua");

/// What the script answers: whether the request is let through, and nanoseconds.
pub(crate) type Answer = (u8, u64);

/// A quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// In how many nanoseconds one request comes back.
    pub(crate) period: u64,
    /// In how many all but one do.
    pub(crate) tolerance: u64,
}

impl Count {
    /// So little that it is whole again at once.
    pub(crate) const LEAST: Self = Self {
        period: 1,
        tolerance: 0,
    };

    pub(crate) fn of(quota: Quota) -> Self {
        let period = u64::try_from(quota.period().as_nanos()).expect("a window has at most 31 days");
        Self {
            period,
            tolerance: period * u64::from(quota.requests.get() - 1),
        }
    }

    pub(crate) fn verdict(self, (is_admitted, nanos): Answer) -> Verdict {
        match is_admitted {
            0 => Verdict::Refused {
                retry_after: Duration::from_nanos(nanos),
            },
            _ => {
                let left = (self.tolerance + self.period).saturating_sub(nanos);
                let remaining = u32::try_from(left / self.period).unwrap_or(u32::MAX);
                Verdict::Admitted { remaining }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn count(rate: &str) -> Count {
        let rate: gateway::config::Rate = rate.parse().expect("it is one");
        Count::of(rate.quota().expect("it is not off"))
    }

    #[test]
    fn an_answer_says_what_is_left_or_when_to_come_back() {
        let three = count("3/30s");
        assert_eq!((three.period, three.tolerance), (10_000_000_000, 20_000_000_000));
        for (owed, remaining) in [(10_000_000_000, 2), (10_000_000_001, 1), (29_999_999_999, 0)] {
            assert_eq!(three.verdict((1, owed)), Verdict::Admitted { remaining }, "{owed}");
        }
        let retry_after = Duration::from_millis(1500);
        assert_eq!(three.verdict((0, 1_500_000_000)), Verdict::Refused { retry_after });
    }

    #[test]
    fn the_largest_quota_is_exact_in_the_numbers_of_scripts() {
        for rate in ["1/31d", "4294967295/31d", "4294967295/1s", "7/31d"] {
            let Count { period, tolerance } = count(rate);
            assert!(period > 0 && 2 * (tolerance + period) < 1 << 53, "{rate}");
        }
    }
}

/// On a real server, whose script is told the time, against the limiter in memory.
#[cfg(all(test, feature = "servers"))]
mod agreement {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::BoxFuture;
    use gateway::RateLimiter as _;
    use gateway::config::{Rate, RateLimits};
    use gateway::limit::{LocalLimiter, Policy};
    use jiff::Timestamp;
    use kernel::clock::Clock;
    use proptest::prelude::*;
    use redis::aio::MultiplexedConnection;
    use redis::{Client, Script};
    use servers::Kind;

    use super::*;

    const SUBJECTS: u128 = 3;

    /// Stands still unless it is moved.
    #[derive(Debug, Default)]
    struct Held {
        micros: AtomicU64,
    }

    impl Clock for Held {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + self.monotonic()
        }

        fn monotonic(&self) -> Duration {
            Duration::from_micros(self.micros.load(Ordering::Relaxed))
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    /// The script by another clock. By the server's own nothing may expire: there no time passes.
    fn told_the_time() -> Script {
        let told = TAKE.replace("redis.call('TIME')", "{ARGV[3], ARGV[4]}");
        let kept = told.replace("math.ceil(owed / 1e6)", "600000");
        assert!(told != TAKE && kept != told, "the script has changed");
        Script::new(&kept)
    }

    async fn connected() -> MultiplexedConnection {
        let client = Client::open(Kind::Redis.shared()).expect("the server has a URL");
        let connection = client.get_multiplexed_async_connection().await;
        connection.expect("the server is there")
    }

    async fn agree(rate: Rate, began: u64, steps: &[(u64, u128)]) -> Result<(), TestCaseError> {
        let Some(quota) = rate.quota() else { return Ok(()) };
        let clock = Arc::new(Held::default());
        let limits = RateLimits {
            user: rate,
            ..RateLimits::OFF
        };
        let local = LocalLimiter::new(&limits, &(Arc::clone(&clock) as Arc<dyn Clock>));
        let (count, script, mut server) = (Count::of(quota), told_the_time(), connected().await);
        let name = servers::unique_name();
        for (passed, subject) in steps {
            let now = clock.micros.fetch_add(*passed, Ordering::Relaxed) + passed + began;
            let mut take = script.prepare_invoke();
            take.key(format!("{name}:{subject}"))
                .arg(count.period)
                .arg(count.tolerance);
            take.arg(now / 1_000_000).arg(now % 1_000_000);
            let answer: Answer = take.invoke_async(&mut server).await.expect("the script runs");
            let expected = local.take(Policy::User, *subject).await;
            prop_assert_eq!(count.verdict(answer), expected, "{} after {} µs", rate, now - began);
        }
        Ok(())
    }

    fn rates() -> impl Strategy<Value = Rate> {
        let seconds = prop_oneof![1..=3u32, 1..=900u32, Just(31 * 24 * 3600)];
        let requests = prop_oneof![1..=5u32, 1..=1000u32, any::<u32>().prop_map(|it| it.max(1))];
        (requests, seconds).prop_map(|(requests, seconds)| format!("{requests}/{seconds}s").parse().expect("a rate"))
    }

    /// Microseconds that pass before a request, from none to whole windows, often about a period; and whose it is.
    fn steps(rate: Rate) -> impl Strategy<Value = Vec<(u64, u128)>> {
        let period = rate.quota().map_or(1, |quota| Count::of(quota).period / 1000);
        let about = (0..4u64, 0..=2u64).prop_map(move |(periods, off)| (periods * period + off).saturating_sub(1));
        let passed = prop_oneof![6 => Just(0), 4 => 0..=period, 4 => about, 1 => 0..3_000_000_000_000u64];
        prop::collection::vec((passed, 0..SUBJECTS), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn redis_says_of_any_requests_what_the_limiter_in_memory_says(
            (rate, steps) in rates().prop_flat_map(|rate| (Just(rate), steps(rate))),
            began in 1_700_000_000_000_000..2_000_000_000_000_000u64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(agree(rate, began, &steps))?;
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_holds_nobody_up_for_longer_than_a_quota_takes() {
        let (count, script, mut server) = (super::tests::count("3/30s"), told_the_time(), connected().await);
        let name = servers::unique_name();
        let mut at = async |seconds: u64| {
            let mut take = script.prepare_invoke();
            take.key(&name)
                .arg(count.period)
                .arg(count.tolerance)
                .arg(seconds)
                .arg(0);
            let answer: Answer = take.invoke_async(&mut server).await.expect("the script runs");
            count.verdict(answer)
        };
        for remaining in [2, 1, 0] {
            assert_eq!(at(1_800_000_000).await, Verdict::Admitted { remaining });
        }
        let refused = |seconds| Verdict::Refused {
            retry_after: Duration::from_secs(seconds),
        };
        assert_eq!(at(1_790_000_000).await, refused(10));
        assert_eq!(at(1_790_000_004).await, refused(6));
        assert_eq!(at(1_790_000_010).await, Verdict::Admitted { remaining: 0 });
    }
}
