//! References that a replica has not seen yet: they are waited for a little, and then refused by the right name.
//!
//! ```ignore
//! let found = freshness::wait_for(&engine, || reader.get::<Product>(id)).await?;
//! found.ok_or_else(|| freshness::missing(&engine, &consumers, Service::Catalog, Some(id.created_at())).into())
//! ```

use std::time::Duration;

use contracts::{Code, Problem, Service};
use jiff::{SignedDuration, Timestamp};

use crate::engine::Engine;
use crate::reaction::Consumers;

/// How long a reference is waited for.
pub const WAIT_MAX: Duration = Duration::from_millis(250);
/// An id made less than this ago may be of something that is still on its way. It is counted from the newest event that came
/// from there, if that is later than the clock says: clocks are set back, and differ.
pub const YOUNG_MAX: SignedDuration = SignedDuration::from_secs(60);
/// The shortest time between two looks, however busy the service is.
const LOOKS_APART_MIN: Duration = Duration::from_millis(5);
/// The longest: the head tells of new events, but a replica is also written in commits that have none.
const LOOKS_APART_MAX: Duration = Duration::from_millis(20);

/// Why a reference leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// It may be on its way: come back in a moment.
    #[error("what is referred to may be on its way here")]
    CatchingUp,
    /// There is no such thing.
    #[error("there is no such thing")]
    Unknown,
}

/// For a resource in the path. A reference in a body has a refusal of its own (`unknown-product`, …) for the unknown.
impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::CatchingUp => Code::CatchingUp.into(),
            Missing::Unknown => Code::NotFound.into(),
        }
    }
}

/// Looks until there is something to be seen, for up to [`WAIT_MAX`]. What is there already is answered at once.
///
/// Looking may also be a whole use case that answers `None` where its reference is unknown.
pub async fn wait_for<T, E, F>(engine: &Engine, mut look: impl FnMut() -> F) -> Result<Option<T>, E>
where
    F: Future<Output = Result<Option<T>, E>>,
{
    let clock = engine.clock();
    let mut head = engine.head();
    let give_up = clock.monotonic() + WAIT_MAX;
    loop {
        // Before the look, so that a commit during it leads to another.
        head.mark_unchanged();
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if clock.monotonic() >= give_up {
            return Ok(None);
        }
        clock.sleep(LOOKS_APART_MIN).await;
        tokio::select! {
            biased;
            _ = head.changed() => {}
            () = clock.sleep(LOOKS_APART_MAX - LOOKS_APART_MIN) => {}
        }
    }
}

/// What to say of a reference that was waited for in vain. `source` is the service that would have told of it;
/// `made_at` is what the id says of itself, if it is one that does.
#[must_use]
pub fn missing(engine: &Engine, consumers: &Consumers, source: Service, made_at: Option<Timestamp>) -> Missing {
    let clock = engine.clock().now();
    let now = consumers.newest(source).map_or(clock, |newest| newest.max(clock));
    // An id can be made up, so one from the far future is no younger than one from the past.
    let is_young = |made_at| now.duration_since(made_at).abs() < YOUNG_MAX;
    if consumers.is_behind(source) || made_at.is_some_and(is_young) {
        Missing::CatchingUp
    } else {
        Missing::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::bus::Bus;
    use crate::clock::{Ids, ManualClock};
    use crate::embedded::EmbeddedBus;
    use crate::engine::{Parts, schema};
    use crate::memory::MemoryStore;
    use crate::store::{Store, StoreError};

    async fn engine() -> Engine {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let ids = Arc::new(Ids::from_seed(1));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(schema(&[]), ids.uuid(now)));
        let parts = Parts {
            store,
            replica: None,
            clock: Arc::new(ManualClock::starting_at(now)),
            ids,
        };
        Engine::start(Service::Orders, parts).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_answered_at_once_and_what_comes_is_waited_for() {
        let engine = engine().await;
        let started = engine.clock().monotonic();
        let found = wait_for(&engine, async || Ok::<_, StoreError>(Some(7))).await.unwrap();
        assert_eq!((found, engine.clock().monotonic() - started), (Some(7), Duration::ZERO));

        let clock = Arc::clone(engine.clock());
        let came_at = started + Duration::from_millis(100);
        let look = || std::future::ready(Ok::<_, StoreError>((clock.monotonic() >= came_at).then_some(7)));
        assert_eq!(wait_for(&engine, look).await.unwrap(), Some(7));
        assert!(engine.clock().monotonic() - came_at < LOOKS_APART_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_given_up_after_a_quarter_of_a_second() {
        let engine = engine().await;
        let started = engine.clock().monotonic();
        let looks = AtomicU32::new(0);
        let look = || {
            looks.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<Option<()>, StoreError>(None))
        };
        assert_eq!(wait_for(&engine, look).await.unwrap(), None);
        let waited = engine.clock().monotonic() - started;
        assert!(waited >= WAIT_MAX && waited < WAIT_MAX + LOOKS_APART_MAX, "{waited:?}");
        assert!(looks.into_inner() < 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_says_it_is_young_may_be_on_its_way() {
        let engine = engine().await;
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new([]));
        let consumers = Consumers::start(&engine, &bus, Vec::new());
        let of_age = |seconds| {
            let made_at = engine.clock().now() - SignedDuration::from_secs(seconds);
            missing(&engine, &consumers, Service::Catalog, Some(made_at))
        };
        assert_eq!(of_age(0), Missing::CatchingUp);
        assert_eq!(of_age(59), Missing::CatchingUp);
        assert_eq!(of_age(60), Missing::Unknown);
        assert_eq!(of_age(-3600), Missing::Unknown);
        assert_eq!(missing(&engine, &consumers, Service::Catalog, None), Missing::Unknown);
    }
}
