//! What happened in a run, in order: the same for the same seed, byte for byte.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::clock::Clock;

/// Cheap to clone; all clones write the same trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Option<Arc<Mutex<Vec<String>>>>);

impl Trace {
    /// One that is kept, or one that is not.
    pub(crate) fn new(is_kept: bool) -> Self {
        Self(is_kept.then(Arc::default))
    }

    /// Notes what has happened now.
    pub(crate) fn note(&self, clock: &dyn Clock, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.0 {
            let line = format!("{:>12.3}s {}", clock.monotonic().as_secs_f64(), what());
            locked(lines).push(line);
        }
    }

    /// A word for all that was noted; the same in every process. Nothing where the trace is not kept.
    pub(crate) fn hash(&self) -> Option<u64> {
        let lines = self.0.as_ref()?;
        let mut hasher = DefaultHasher::new();
        locked(lines).hash(&mut hasher);
        Some(hasher.finish())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.as_ref().map(|lines| locked(lines).clone()).unwrap_or_default()
    }
}

fn locked(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
