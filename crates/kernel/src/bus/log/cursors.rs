//! How far a group has come in each lane: kept by the broker, a little later than it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Cursor, Life, Log};
use crate::bus::{BusError, Group};
use crate::clock::Clock;
use crate::event::Lane;

/// The pause between two writings, so that a busy consumer costs the broker a few small messages a second.
const FLUSH: Duration = Duration::from_millis(200);

/// Of the lanes that a subscription receives or has received.
#[derive(Debug)]
pub struct Cursors {
    log: Arc<dyn Log>,
    group: Group,
    lanes: Mutex<BTreeMap<Lane, Known>>,
    flushing: tokio::sync::Mutex<()>,
    news: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    acknowledged: Cursor,
    kept: Option<Cursor>,
}

impl Known {
    fn is_kept(&self) -> bool {
        self.acknowledged.place == 0 || self.kept == Some(self.acknowledged)
    }
}

impl Cursors {
    /// None yet.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, group: Group) -> Self {
        Self {
            log,
            group,
            lanes: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Where to go on in a lane that was not received until now.
    pub(super) async fn open(&self, lane: Lane, life: Life) -> Result<Cursor, BusError> {
        let kept = self.log.kept(lane).await?;
        let acknowledged = kept.filter(|kept| kept.life == life);
        let acknowledged = acknowledged.unwrap_or(Cursor::beginning(life));
        self.lanes().insert(lane, Known { acknowledged, kept });
        Ok(acknowledged)
    }

    /// The log is another one now, and nothing of it was acknowledged.
    pub(super) fn begin_anew(&self, lane: Lane, life: Life) -> Cursor {
        let beginning = Cursor::beginning(life);
        if let Some(known) = self.lanes().get_mut(&lane) {
            known.acknowledged = beginning;
        }
        beginning
    }

    /// What was acknowledged of a lane that was opened.
    pub(super) fn acknowledged(&self, lane: Lane) -> Option<Cursor> {
        self.lanes().get(&lane).map(|known| known.acknowledged)
    }

    /// Notes it; what is of another life of the log says nothing about this one.
    pub(super) fn acknowledge(&self, lane: Lane, cursor: Cursor) {
        if let Some(known) = self.lanes().get_mut(&lane)
            && known.acknowledged.life == cursor.life
            && known.acknowledged.place < cursor.place
        {
            known.acknowledged = cursor;
            self.news.notify_one();
        }
    }

    /// Writes what is new, again and again, until it is dropped. What the broker does not take now is written later.
    pub(super) async fn keep_up(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let mut is_told = false;
        loop {
            self.news.notified().await;
            match self.flush(|_| true).await {
                Ok(()) => is_told = false,
                Err(error) => {
                    self.news.notify_one();
                    // That the broker is away others tell.
                    if !is_told && self.log.is_reached() {
                        is_told = true;
                        tracing::warn!(group = %self.group, %error, "what was acknowledged cannot be noted; it is tried again");
                    }
                }
            }
            clock.sleep(FLUSH).await;
        }
    }

    /// Writes what is new of these lanes, and returns when it is there.
    async fn flush(&self, of: impl Fn(Lane) -> bool) -> Result<(), BusError> {
        let _one = self.flushing.lock().await;
        let is_due = |(lane, known): &(&Lane, &Known)| of(**lane) && !known.is_kept();
        let due = |(&lane, known): (&Lane, &Known)| (lane, known.acknowledged);
        let due: Vec<(Lane, Cursor)> = self.lanes().iter().filter(is_due).map(due).collect();
        if due.is_empty() {
            return Ok(());
        }
        for (lane, kept) in self.log.keep(&due).await? {
            if let Some(known) = self.lanes().get_mut(&lane) {
                known.kept = Some(kept);
            }
            // Somebody else may have had the lane since, and come further.
            self.acknowledge(lane, kept);
        }
        Ok(())
    }

    /// Makes sure that the broker has what was acknowledged in these lanes: somebody else receives them next.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn settle(&self, lanes: &BTreeSet<Lane>) -> Result<(), BusError> {
        self.flush(|lane| lanes.contains(&lane)).await
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Lane, Known>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
