//! Wrong passwords: so many per account, then a while of none, whoever sends them and from where.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kernel::clock::Clock;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, password};

/// Wrong passwords of one account within [`WINDOW`].
pub const FAILED_MAX: u32 = 10;
/// The time, from the first wrong password on, after which they are forgotten.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Attempts on one account under way or waiting at once.
const PENDING_MAX: usize = 256;
/// Accounts (or e-mails without one) that are remembered, at about 250 bytes each. Those that come again stay longest.
const ACCOUNTS_MAX: usize = 16_384;

/// Counts wrong passwords by the pseudonym of the e-mail, in this process's memory.
///
/// Unknown e-mails count like known ones, so that the limit tells nobody which are known. An attempt holds one of the
/// account's permits while its password is verified, so that no burst gets past the limit; a wrong one keeps it.
pub(crate) struct Attempts {
    clock: Arc<dyn Clock>,
    accounts: Cache<Arc<str>, Arc<Account>>,
}

struct Account {
    permits: Arc<Semaphore>,
    places: Arc<Semaphore>,
    failed: AtomicU32,
    first_failed: OnceLock<Duration>,
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts")
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}

impl Attempts {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            accounts: Cache::new(ACCOUNTS_MAX),
        }
    }

    /// Waits for a permit to try a password of the account; refused once too many were wrong.
    pub(crate) async fn begin(&self, account: &Arc<str>) -> Result<Attempt, Error> {
        let account = self.account(account);
        let place = Arc::clone(&account.places).try_acquire_owned();
        let place = place.map_err(|_| Error::Password(password::Error::Overloaded))?;
        match Arc::clone(&account.permits).acquire_owned().await {
            Ok(permit) => Ok(Attempt {
                account,
                permit,
                _place: place,
                clock: Arc::clone(&self.clock),
            }),
            Err(_closed) => {
                let passed = self
                    .clock
                    .monotonic()
                    .saturating_sub(account.first_failed.get().copied().unwrap_or_default());
                Err(Error::TooManyAttempts {
                    retry_after: WINDOW.saturating_sub(passed),
                })
            }
        }
    }

    /// The account's counters: the same for all who ask at the same time, new ones once the window is over.
    fn account(&self, id: &Arc<str>) -> Arc<Account> {
        let now = self.clock.monotonic();
        let known = self.accounts.entry(id, None, |_, account| {
            if account.is_over(now) {
                *account = Arc::new(Account::new());
            }
            EntryAction::Retain(Arc::clone(account))
        });
        match known {
            EntryResult::Retained(account) => account,
            EntryResult::Vacant(place) => {
                let account = Arc::new(Account::new());
                // Refused only if the place was taken away again, by an eviction.
                let _ = place.insert(Arc::clone(&account));
                account
            }
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => {
                unreachable!("entries are kept, and waited for without end")
            }
        }
    }
}

impl Account {
    fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(FAILED_MAX as usize)),
            places: Arc::new(Semaphore::new(PENDING_MAX)),
            failed: AtomicU32::new(0),
            first_failed: OnceLock::new(),
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        self.first_failed
            .get()
            .is_some_and(|first| now.saturating_sub(*first) >= WINDOW)
    }
}

/// One try at a password. Dropped, it counts for nothing.
pub(crate) struct Attempt {
    account: Arc<Account>,
    permit: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
    clock: Arc<dyn Clock>,
}

impl Attempt {
    /// The password was wrong.
    pub(crate) fn failed(self) {
        self.account.first_failed.get_or_init(|| self.clock.monotonic());
        self.permit.forget();
        if self.account.failed.fetch_add(1, Ordering::AcqRel) + 1 >= FAILED_MAX {
            tracing::info!("an account had too many wrong passwords");
            self.account.permits.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::clock::ManualClock;

    use super::*;

    fn attempts() -> Arc<Attempts> {
        let clock = ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap());
        Arc::new(Attempts::new(Arc::new(clock)))
    }

    async fn fail(attempts: &Attempts, account: &Arc<str>) -> Result<(), Error> {
        attempts.begin(account).await.map(Attempt::failed)
    }

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_wrong_password_is_refused_until_a_quarter_of_an_hour_after_the_first() {
        let (attempts, account) = (attempts(), Arc::from("ada"));
        for _ in 0..FAILED_MAX {
            tokio::time::sleep(Duration::from_secs(60)).await;
            fail(&attempts, &account).await.unwrap();
        }
        let refused = fail(&attempts, &account).await;
        let Err(Error::TooManyAttempts { retry_after }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(retry_after, Duration::from_secs(6 * 60));
        fail(&attempts, &Arc::from("bob")).await.unwrap();
        tokio::time::sleep(retry_after - Duration::from_millis(1)).await;
        assert!(attempts.begin(&account).await.is_err());
        tokio::time::sleep(Duration::from_millis(1)).await;
        attempts.begin(&account).await.map(drop).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn right_passwords_count_for_nothing() {
        let (attempts, account) = (attempts(), Arc::from("ada"));
        for _ in 0..100 {
            attempts.begin(&account).await.map(drop).unwrap();
        }
        for _ in 0..FAILED_MAX {
            fail(&attempts, &account).await.unwrap();
        }
        assert!(fail(&attempts, &account).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_burst_gets_past_the_limit_and_none_of_right_ones_is_refused() {
        let (attempts, account) = (attempts(), Arc::<str>::from("ada"));
        let burst = async |wrong: bool| {
            let tries: Vec<_> = (0..200)
                .map(|_| {
                    let (attempts, account) = (Arc::clone(&attempts), Arc::clone(&account));
                    tokio::spawn(async move {
                        let attempt = attempts.begin(&account).await?;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        if wrong {
                            attempt.failed()
                        };
                        Ok::<(), Error>(())
                    })
                })
                .collect();
            let mut admitted = 0;
            for attempt in tries {
                admitted += u32::from(attempt.await.unwrap().is_ok());
            }
            admitted
        };
        assert_eq!(burst(false).await, 200);
        assert_eq!(burst(true).await, FAILED_MAX);
    }

    #[test]
    fn those_who_come_first_at_the_same_time_meet_at_one_account() {
        let attempts = attempts();
        let barrier = std::sync::Barrier::new(2);
        for round in 0..2_000 {
            let id = Arc::from(format!("account-{round}"));
            let come = || {
                barrier.wait();
                attempts.account(&id)
            };
            let (one, other) = std::thread::scope(|threads| {
                let other = threads.spawn(come);
                (come(), other.join().unwrap())
            });
            assert!(Arc::ptr_eq(&one, &other), "in round {round} each counts on its own");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_one_account_is_bounded() {
        let (attempts, account) = (attempts(), Arc::from("ada"));
        let _held = [attempts
            .begin(&account)
            .await
            .unwrap_or_else(|_| panic!("it is the first"))];
        let waiting: Vec<_> = (0..PENDING_MAX + 10)
            .map(|_| {
                let (attempts, account) = (Arc::clone(&attempts), Arc::clone(&account));
                tokio::spawn(async move {
                    let begun = attempts.begin(&account).await;
                    let overloaded = matches!(begun, Err(Error::Password(password::Error::Overloaded)));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    overloaded
                })
            })
            .collect();
        let mut overloaded = 0;
        for attempt in waiting {
            overloaded += usize::from(attempt.await.unwrap());
        }
        assert_eq!(overloaded, 11);
    }
}
