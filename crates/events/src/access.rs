//! Access events on their way to live streams: each is prepared once, and wakes only the streams that may see it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::UserId;
use kernel::access::{AccessEvents, Accesses};
use kernel::engine::Engine;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::Entry;

/// Access events that wait for a slow stream; with one more, it misses the oldest.
const QUEUED_MAX: usize = 64;

/// The streams that listen: those of everything, and each user's own.
#[derive(Debug)]
pub(crate) struct Access {
    engine: Engine,
    events: AccessEvents,
    audience: Mutex<Audience>,
}

#[derive(Debug, Default)]
struct Audience {
    /// `None` listens to everything.
    listeners: HashMap<Option<UserId>, broadcast::Sender<Arc<Entry>>>,
    /// Whether somebody hands events out. Nobody does while nobody listens, so that reads cost nothing then.
    attended: bool,
}

/// One stream's ear.
#[derive(Debug)]
pub(crate) struct Listener {
    receiver: broadcast::Receiver<Arc<Entry>>,
    owner: Option<UserId>,
    access: Arc<Access>,
}

impl Access {
    pub(crate) fn new(engine: Engine, events: AccessEvents) -> Self {
        Self {
            engine,
            events,
            audience: Mutex::default(),
        }
    }

    /// What is accessed from now on: of this user's orders, or everything.
    pub(crate) fn listen(self: &Arc<Self>, owner: Option<UserId>) -> Listener {
        let mut audience = self.audience();
        let sender = audience
            .listeners
            .entry(owner)
            .or_insert_with(|| broadcast::Sender::new(QUEUED_MAX));
        let receiver = sender.subscribe();
        if !audience.attended {
            audience.attended = true;
            let (access, accesses) = (Arc::clone(self), self.events.subscribe());
            self.engine.spawn(|stop| async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = access.attend(accesses) => {}
                }
            });
        }
        Listener {
            receiver,
            owner,
            access: Arc::clone(self),
        }
    }

    /// Hands events out until nobody listens.
    async fn attend(&self, mut accesses: Accesses) {
        while let Some(accessed) = accesses.next().await {
            let Some(entry) = Entry::of_access(&accessed).map(Arc::new) else {
                continue;
            };
            let mut audience = self.audience();
            if audience.listeners.is_empty() {
                audience.attended = false;
                return;
            }
            let owner = entry.owner().map(Some);
            for listeners in [Some(None), owner].into_iter().flatten() {
                if let Some(sender) = audience.listeners.get(&listeners) {
                    // Whoever has just left misses nothing.
                    let _ = sender.send(Arc::clone(&entry));
                }
            }
        }
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits for the next one; `None` when there will be none. Safe to drop while waiting.
    pub(crate) async fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            match self.receiver.recv().await {
                Ok(entry) => return Some(entry),
                Err(RecvError::Lagged(missed)) => {
                    metrics::counter!("access_events_dropped_total").increment(missed);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut audience = self.access.audience();
        let last = audience
            .listeners
            .get(&self.owner)
            .is_some_and(|sender| sender.receiver_count() <= 1);
        if last {
            audience.listeners.remove(&self.owner);
        }
    }
}
