//! The contract of limiters against limiters that break it: each obligation is broken at least once, and notices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gateway::RateLimiter;
use gateway::config::RateLimits;
use gateway::limit::{Policy, Verdict};
use testkit::limiter_suite::{CounterFactory, LimiterFactory, OBLIGATION_TIME_MAX};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// How long an answer takes of a counter that stands still, as far as anybody waits.
const ANSWER_MAX: Duration = Duration::from_millis(50);

mod in_a_test {
    use super::*;

    testkit::limiter_suite!(Broken::new(Breach::Nothing));
    testkit::limiter_outage_suite!(Broken::new(Breach::Nothing));
}

/// What is wrong with a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breach {
    Nothing,
    AdmitsOneTooMany,
    /// Somebody else may count between its asking and its counting.
    AsksBeforeItCounts,
    CountsWhatItRefuses,
    /// Nothing comes back before the whole window is over.
    ComesBackAllAtOnce,
    SaysThatItIsSooner,
    SavesUp,
    MergesSubjects,
    MergesPolicies,
    RefusesWhileItIsAway,
    /// Each request waits for the counter.
    AsksEachTime,
    WaitsForAnAnswer,
    /// After an outage it counts for itself.
    NeverAsksAgain,
}

/// When a quota is whole again, by whose it is.
type Counted = BTreeMap<(u8, u128), Instant>;

#[derive(Debug)]
struct Counter {
    counted: Mutex<Counted>,
    is_away: AtomicBool,
}

#[derive(Debug)]
struct Broken {
    breach: Breach,
    counter: Arc<Counter>,
}

impl Broken {
    fn new(breach: Breach) -> Self {
        let counter = Arc::new(Counter {
            counted: Mutex::default(),
            is_away: AtomicBool::new(false),
        });
        Self { breach, counter }
    }

    fn is_away(&self, is_away: bool) {
        self.counter.is_away.store(is_away, Ordering::Relaxed);
    }
}

#[async_trait]
impl LimiterFactory for Broken {
    async fn limiter(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        Arc::new(BrokenLimiter {
            breach: self.breach,
            limits,
            counter: Arc::clone(&self.counter),
            own: Mutex::default(),
            has_failed: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl CounterFactory for Broken {
    async fn kill(&self) {
        self.is_away(true);
    }

    async fn start(&self) {
        self.is_away(false);
    }

    async fn pause(&self) {
        self.is_away(true);
    }

    async fn resume(&self) {
        self.is_away(false);
    }
}

#[derive(Debug)]
struct BrokenLimiter {
    breach: Breach,
    limits: RateLimits,
    counter: Arc<Counter>,
    own: Mutex<Counted>,
    has_failed: AtomicBool,
}

#[async_trait]
impl RateLimiter for BrokenLimiter {
    async fn take(&self, policy: Policy, subject: u128) -> Verdict {
        let is_away = self.counter.is_away.load(Ordering::Relaxed);
        let is_asked = !self.has_failed.load(Ordering::Relaxed);
        match (is_away, self.breach) {
            (true, Breach::RefusesWhileItIsAway) => {
                return Verdict::Refused {
                    retry_after: Duration::from_secs(1),
                };
            }
            (true, Breach::WaitsForAnAnswer) => std::future::pending().await,
            (true, breach) if is_asked || breach == Breach::AsksEachTime => sleep(ANSWER_MAX).await,
            _ => {}
        }
        if is_away || self.breach != Breach::NeverAsksAgain {
            self.has_failed.store(is_away, Ordering::Relaxed);
        }
        match self.has_failed.load(Ordering::Relaxed) {
            true => self.count(&self.own, policy, subject).await,
            false => self.count(&self.counter.counted, policy, subject).await,
        }
    }
}

impl BrokenLimiter {
    async fn count(&self, counted: &Mutex<Counted>, policy: Policy, subject: u128) -> Verdict {
        let breach = self.breach;
        let key = match breach {
            Breach::MergesSubjects => (policy as u8, subject & u128::from(u64::MAX)),
            Breach::MergesPolicies => (0, subject),
            _ => (policy as u8, subject),
        };
        let quota = policy.quota(&self.limits).expect("it is on");
        let (period, now) = (quota.period(), Instant::now());
        let mut requests = quota.requests.get();
        requests += u32::from(breach == Breach::AdmitsOneTooMany);
        let kept = lock(counted).get(&key).copied().unwrap_or(now);
        if breach == Breach::AsksBeforeItCounts {
            yield_now().await;
        }
        let mut counted = lock(counted);
        let whole = match breach {
            Breach::AsksBeforeItCounts => kept,
            _ => counted.get(&key).copied().unwrap_or(now),
        };
        let whole = if breach == Breach::SavesUp {
            whole
        } else {
            whole.max(now)
        };
        let owed = whole.saturating_duration_since(now);
        let most = period * (requests - 1);
        if owed > most {
            if breach == Breach::CountsWhatItRefuses {
                counted.insert(key, whole + period);
            }
            let retry_after = match breach {
                Breach::ComesBackAllAtOnce => owed,
                Breach::SaysThatItIsSooner => (owed - most) / 2,
                _ => owed - most,
            };
            return Verdict::Refused { retry_after };
        }
        counted.insert(key, whole + period);
        let saved = now.saturating_duration_since(whole);
        let left = (most - owed + saved).as_nanos() / period.as_nanos();
        Verdict::Admitted {
            remaining: u32::try_from(left).expect("it is no more than a quota or two"),
        }
    }
}

fn lock(counted: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! noticed {
    ($($breach:ident: $module:ident::$name:ident;)+) => {
        const BROKEN: &[&str] = &[$(stringify!($module: $name;)),+];

        mod noticed {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                #[expect(non_snake_case, reason = "named as the breach is")]
                async fn $breach() {
                    let obligation = async {
                        let factory = Broken::new(Breach::$breach);
                        testkit::limiter_suite::$module::$name(&factory).await;
                    };
                    let outcome = tokio::spawn(timeout(OBLIGATION_TIME_MAX, obligation)).await;
                    assert!(!matches!(outcome, Ok(Ok(()))), "nobody has noticed it");
                }
            )+
        }
    };
}

noticed! {
    AdmitsOneTooMany: counting::a_quota_may_be_used_at_once_and_no_more;
    AsksBeforeItCounts: counting::of_many_at_once_no_more_than_the_quota_are_admitted;
    CountsWhatItRefuses: counting::one_that_is_refused_costs_nothing;
    ComesBackAllAtOnce: counting::requests_come_back_one_by_one_and_when_it_was_said;
    SaysThatItIsSooner: counting::requests_come_back_one_by_one_and_when_it_was_said;
    SavesUp: counting::what_is_not_used_does_not_add_up;
    MergesSubjects: counting::subjects_and_policies_are_counted_apart;
    MergesPolicies: counting::subjects_and_policies_are_counted_apart;
    RefusesWhileItIsAway: outages::while_nobody_counts_requests_are_admitted_at_once;
    AsksEachTime: outages::while_the_counter_stands_still_requests_are_admitted_at_once;
    WaitsForAnAnswer: outages::while_the_counter_stands_still_requests_are_admitted_at_once;
    NeverAsksAgain: outages::it_is_counted_together_again_after_an_outage;
}

#[test]
fn each_obligation_is_broken_by_some_limiter() {
    let suite = include_str!("../src/limiter_suite.rs");
    let listed = suite.lines().map(str::trim).filter(|line| line.ends_with(';'));
    let obligations: Vec<&str> = listed
        .filter(|line| ["counting: ", "outages: "].iter().any(|it| line.starts_with(it)))
        .collect();
    assert!(obligations.len() >= 9, "{obligations:?}");
    let plain = |text: &str| text.replace([' ', ';', ':'], "");
    let broken: BTreeSet<String> = BROKEN.iter().map(|name| plain(name)).collect();
    for obligation in obligations {
        assert!(
            broken.contains(&plain(obligation)),
            "{obligation} is broken by no limiter"
        );
    }
}
