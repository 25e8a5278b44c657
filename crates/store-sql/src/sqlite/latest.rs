//! The journal's latest events in memory: what consumers ask for is nearly always what was committed a moment ago.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kernel::event::{Position, Recorded};
use kernel::store::{Head, TAIL_BYTES_MAX, Tail};

/// Events kept; older ones are read from the file.
const EVENTS_MAX: usize = 1024;
/// Their data together.
const BYTES_MAX: usize = 1024 * 1024;

/// Filled by the one writer after each commit, so that it never knows less than the file.
#[derive(Debug, Default)]
pub(super) struct Latest {
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    head: Head,
    /// Without a gap, up to the head.
    events: VecDeque<Recorded>,
    bytes: usize,
}

impl Latest {
    /// Adds what was committed.
    pub(super) fn extend(&self, head: Head, events: impl IntoIterator<Item = Recorded>) {
        let mut known = self.known();
        let known = match known.as_mut() {
            Some(known) => {
                known.head = head;
                known
            }
            None => known.insert(Known {
                head,
                events: VecDeque::new(),
                bytes: 0,
            }),
        };
        for event in events {
            known.bytes += event.data.get().len();
            known.events.push_back(event);
        }
        while known.events.len() > EVENTS_MAX || known.bytes > BYTES_MAX {
            let Some(oldest) = known.events.pop_front() else { return };
            known.bytes -= oldest.data.get().len();
        }
    }

    /// Knows nothing more: the file may hold what was not said.
    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    /// What a read of the file would give, if all of that is here.
    pub(super) fn tail(&self, after: Position, limit: usize) -> Option<Tail> {
        let known = self.known();
        let known = known.as_ref()?;
        let mut events = Vec::new();
        if limit > 0 && after < known.head.position {
            let first = known.events.front()?.position;
            let skip = usize::try_from(after.plus(1).0.checked_sub(first.0)?).ok()?;
            let mut bytes = 0;
            for event in known.events.range(skip..).take(limit) {
                bytes += event.data.get().len();
                events.push(event.clone());
                if bytes >= TAIL_BYTES_MAX {
                    break;
                }
            }
        }
        Some(Tail {
            head: known.head.clone(),
            events,
        })
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
