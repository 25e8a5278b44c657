//! Time and randomness, injected so that a whole run can be repeated under a seed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// The only source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, in whole microseconds (what every store can keep).
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start that never runs backwards; for measuring.
    fn monotonic(&self) -> Duration;

    /// Completes when `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock. Sleeping follows tokio's clock, so paused-time tests work.
#[derive(Debug)]
pub struct SystemClock {
    started: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "reading the clock is not a default value")]
    pub fn new() -> Self {
        Self {
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
        let now = Timestamp::now();
        whole_microseconds(now)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that follows tokio's (paused or not) from a fixed wall-clock origin, and can be made to jump.
#[derive(Debug)]
pub struct ManualClock {
    origin: Timestamp,
    started: tokio::time::Instant,
    skew: Mutex<jiff::SignedDuration>,
}

impl ManualClock {
    /// Starts at `origin` and moves with tokio's clock.
    #[must_use]
    pub fn starting_at(origin: Timestamp) -> Self {
        Self {
            origin,
            started: tokio::time::Instant::now(),
            skew: Mutex::default(),
        }
    }

    /// Moves the wall clock by `by`, backwards too; sleepers are not woken.
    pub fn jump(&self, by: jiff::SignedDuration) {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let skew = *self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        whole_microseconds(self.origin + self.started.elapsed() + skew)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

fn whole_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).expect("a timestamp's own microseconds are in range")
}

/// The only source of ids and secrets: UUIDv7 from the given time and a generator that can be seeded.
#[derive(Debug)]
pub struct Ids {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: StdRng,
    /// The millisecond of the last id.
    millis: u64,
    /// Counts the ids of that millisecond, from a random start.
    counter: u16,
}

/// The counter has the 12 bits of `rand_a`; it starts in their lower half, so that it rarely overflows.
const COUNTER_MAX: u16 = 0xfff;

impl Ids {
    /// Seeded from the operating system.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::with(rand::make_rng())
    }

    /// The same ids for the same seed and the same times.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::with(StdRng::seed_from_u64(seed))
    }

    fn with(random: StdRng) -> Self {
        Self {
            state: Mutex::new(State {
                random,
                millis: 0,
                counter: 0,
            }),
        }
    }

    /// A UUIDv7 (RFC 9562): the time in milliseconds, a 12-bit counter (section 6.2, method 1), 62 random bits. Greater
    /// than all that this source gave before, even when the clock jumps back. Never a position.
    #[must_use]
    pub fn uuid(&self, now: Timestamp) -> Uuid {
        let now = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let mut state = self.lock();
        if now > state.millis || state.counter == COUNTER_MAX {
            state.millis = now.max(state.millis + u64::from(now <= state.millis));
            state.counter = u16::try_from(state.random.next_u32() & 0x7ff).expect("eleven bits fit");
        } else {
            state.counter += 1;
        }
        let mut random = [0u8; 10];
        random[..2].copy_from_slice(&state.counter.to_be_bytes());
        state.random.fill_bytes(&mut random[2..]);
        uuid::Builder::from_unix_timestamp_millis(state.millis, &random).into_uuid()
    }

    /// Fills `buffer` with random bytes fit for secrets (ChaCha12).
    pub fn fill(&self, buffer: &mut [u8]) {
        self.lock().random.fill_bytes(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_millisecond_and_when_the_clock_jumps_back() {
        let ids = Ids::from_seed(1);
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let times = std::iter::repeat_n(noon, 5000).chain([noon - Duration::from_secs(9); 3]);
        let drawn: Vec<Uuid> = times.map(|now| ids.uuid(now)).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(drawn.iter().all(|id| id.get_version_num() == 7));
    }
}
