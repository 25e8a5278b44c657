//! Requests that wait for an outcome without holding anything.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::clock::Clock;
use tokio::sync::watch;

use crate::Error;

/// How long a request waits for its outcome.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the store is asked: another replica may have committed the outcome.
const LOOKS_APART: Duration = Duration::from_secs(1);

/// Who waits for which subject's outcome in this process.
pub(crate) struct Waiters<A> {
    by_subject: Mutex<HashMap<Arc<str>, watch::Sender<Option<A>>>>,
}

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Self {
            by_subject: Mutex::default(),
        }
    }
}

impl<A> fmt::Debug for Waiters<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters")
            .field("subjects", &self.subjects().len())
            .finish()
    }
}

impl<A> Waiters<A> {
    fn subjects(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Sender<Option<A>>>> {
        self.by_subject.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who waits for the subject. To be called after the commit.
    pub(crate) fn tell(&self, subject: &str, answer: A) {
        if let Some(waiting) = self.subjects().remove(subject) {
            waiting.send_replace(Some(answer));
        }
    }
}

impl<A: Clone> Waiters<A> {
    /// Waits until the subject's outcome is told, or `look` finds it, for up to [`ANSWER_WAIT_MAX`].
    pub(crate) async fn outcome<F>(
        &self,
        clock: &dyn Clock,
        subject: &str,
        look: impl Fn() -> F,
    ) -> Result<Option<A>, Error>
    where
        F: Future<Output = Result<Option<A>, Error>>,
    {
        let give_up = clock.monotonic() + ANSWER_WAIT_MAX;
        // Before the first look, so that an outcome between the two is not missed.
        let mut place = Place::take(self, subject);
        loop {
            if let Some(answer) = look().await? {
                return Ok(Some(answer));
            }
            let left = give_up.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                told = place.told.wait_for(Option::is_some) => {
                    if let Ok(answer) = told {
                        return Ok(answer.clone());
                    }
                }
                () = clock.sleep(left.min(LOOKS_APART)) => {}
            }
        }
    }
}

/// A request's place among those that wait; the last one to leave clears the subject.
struct Place<'a, A> {
    waiters: &'a Waiters<A>,
    subject: Arc<str>,
    told: watch::Receiver<Option<A>>,
}

impl<'a, A> Place<'a, A> {
    fn take(waiters: &'a Waiters<A>, subject: &str) -> Self {
        let subject: Arc<str> = subject.into();
        let mut subjects = waiters.subjects();
        let waiting = subjects
            .entry(Arc::clone(&subject))
            .or_insert_with(|| watch::Sender::new(None));
        let told = waiting.subscribe();
        drop(subjects);
        Self { waiters, subject, told }
    }
}

impl<A> Drop for Place<'_, A> {
    fn drop(&mut self) {
        let mut subjects = self.waiters.subjects();
        // Once told, the subject is cleared already; who waits under it now has another channel.
        if self.told.has_changed().is_err() {
            return;
        }
        // This one's own receiver still counts.
        if subjects
            .get(&self.subject)
            .is_some_and(|waiting| waiting.receiver_count() <= 1)
        {
            subjects.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::clock::SystemClock;

    use super::*;

    async fn nothing() -> Result<Option<u8>, Error> {
        Ok(None)
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_who_waits_is_told_and_nobody_is_remembered() {
        let (waiters, clock) = (Waiters::default(), SystemClock::new());
        let tell = async {
            tokio::task::yield_now().await;
            waiters.tell("pay", 7);
        };
        let (first, second, ()) = tokio::join!(
            waiters.outcome(&clock, "pay", nothing),
            waiters.outcome(&clock, "pay", nothing),
            tell
        );
        assert_eq!((first.unwrap(), second.unwrap()), (Some(7), Some(7)));
        assert_eq!(format!("{waiters:?}"), "Waiters { subjects: 0 }");
        assert!(clock.monotonic() < LOOKS_APART);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_or_gives_up_is_forgotten() {
        let (waiters, clock) = (Waiters::default(), SystemClock::new());
        let gone = tokio::time::timeout(LOOKS_APART, waiters.outcome(&clock, "pay", nothing)).await;
        assert!(gone.is_err());
        assert_eq!(waiters.outcome(&clock, "pay", nothing).await.unwrap(), None);
        assert_eq!(clock.monotonic(), LOOKS_APART + ANSWER_WAIT_MAX);
        assert_eq!(format!("{waiters:?}"), "Waiters { subjects: 0 }");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_replica_committed_is_seen() {
        let (waiters, clock) = (Waiters::default(), SystemClock::new());
        let look = || async { Ok((clock.monotonic() > LOOKS_APART).then_some(7)) };
        assert_eq!(waiters.outcome(&clock, "pay", look).await.unwrap(), Some(7));
    }
}
