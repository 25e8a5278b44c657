//! How far a group has come in each lane: a key in the bucket, written a little later than it is acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kernel::bus::{BusError, Group};
use kernel::clock::Clock;
use kernel::event::Lane;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::ledger::Bucket;

/// The pause between two writings, so that a busy consumer costs the server a few small messages a second.
const FLUSH: Duration = Duration::from_millis(200);
/// How often a key is tried that somebody else writes at the same time.
const ATTEMPTS_MAX: u32 = 5;

/// When a stream was made, in nanoseconds since 1970: in another one of its name sequences mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Life(pub(crate) i128);

/// The place of a message in a stream; everything of its lane up to it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) life: Life,
    pub(crate) sequence: u64,
}

/// Of the lanes that a subscription receives or has received.
#[derive(Debug)]
pub(crate) struct Cursors {
    bucket: Bucket,
    group: Group,
    lanes: Mutex<BTreeMap<Lane, Kept>>,
    flushing: tokio::sync::Mutex<()>,
    news: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    acknowledged: Cursor,
    stored: Option<Cursor>,
    revision: u64,
}

impl Kept {
    fn is_stored(&self) -> bool {
        self.acknowledged.sequence == 0 || self.stored == Some(self.acknowledged)
    }
}

impl Cursors {
    pub(crate) fn new(bucket: Bucket, group: Group) -> Self {
        Self {
            bucket,
            group,
            lanes: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Where to go on in a lane that was not received until now.
    pub(crate) async fn open(&self, lane: Lane, life: Life) -> Result<Cursor, BusError> {
        let (stored, revision) = self.bucket.read::<Cursor>(&self.key(lane)).await?;
        let beginning = Cursor { life, sequence: 0 };
        let acknowledged = stored.filter(|stored| stored.life == life).unwrap_or(beginning);
        let kept = Kept {
            acknowledged,
            stored,
            revision,
        };
        self.lanes().insert(lane, kept);
        Ok(acknowledged)
    }

    /// The stream is another one now, and nothing of it was acknowledged.
    pub(crate) fn begin_anew(&self, lane: Lane, life: Life) -> Cursor {
        let beginning = Cursor { life, sequence: 0 };
        if let Some(kept) = self.lanes().get_mut(&lane) {
            kept.acknowledged = beginning;
        }
        beginning
    }

    /// What was acknowledged of a lane that was opened.
    pub(crate) fn acknowledged(&self, lane: Lane) -> Option<Cursor> {
        self.lanes().get(&lane).map(|kept| kept.acknowledged)
    }

    /// Notes it; what is of another life of the stream says nothing about this one.
    pub(crate) fn acknowledge(&self, lane: Lane, cursor: Cursor) {
        if let Some(kept) = self.lanes().get_mut(&lane)
            && kept.acknowledged.life == cursor.life
            && kept.acknowledged.sequence < cursor.sequence
        {
            kept.acknowledged = cursor;
            self.news.notify_one();
        }
    }

    /// Writes what is new, again and again, until it is dropped. What the server does not take now is written later.
    pub(crate) async fn keep_up(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let mut is_behind = false;
        loop {
            self.news.notified().await;
            let flushed = self.flush(|_| true).await;
            if let Err(error) = &flushed {
                self.news.notify_one();
                if !is_behind {
                    tracing::warn!(group = %self.group, %error, "what was acknowledged cannot be noted; it is tried again");
                }
            }
            is_behind = flushed.is_err();
            clock.sleep(FLUSH).await;
        }
    }

    /// Writes what is new of these lanes, and returns when it is there.
    pub(crate) async fn flush(&self, of: impl Fn(Lane) -> bool) -> Result<(), BusError> {
        let _one = self.flushing.lock().await;
        let is_due = |(lane, kept): &(&Lane, &Kept)| of(**lane) && !kept.is_stored();
        let due: Vec<Lane> = self.lanes().iter().filter(is_due).map(|(&lane, _)| lane).collect();
        let stored = join_all(due.into_iter().map(|lane| self.store(lane))).await;
        stored.into_iter().collect()
    }

    async fn store(&self, lane: Lane) -> Result<(), BusError> {
        let key = self.key(lane);
        for _ in 0..ATTEMPTS_MAX {
            let Some(kept) = self.lanes().get(&lane).copied() else {
                return Ok(());
            };
            let cursor = kept.acknowledged;
            if let Some(revision) = self.bucket.write(&key, &cursor, kept.revision).await? {
                self.note_stored(lane, Some(cursor), revision);
                return Ok(());
            }
            // Somebody else has the lane now, or had it before it came back.
            let (theirs, revision) = self.bucket.read::<Cursor>(&key).await?;
            self.note_stored(lane, theirs, revision);
            if theirs.is_some_and(|theirs| theirs.life == cursor.life && theirs.sequence >= cursor.sequence) {
                self.acknowledge(lane, theirs.unwrap_or(cursor));
                return Ok(());
            }
        }
        Err(BusError::new(format!("others were always faster with {key}")))
    }

    fn note_stored(&self, lane: Lane, stored: Option<Cursor>, revision: u64) {
        if let Some(kept) = self.lanes().get_mut(&lane) {
            (kept.stored, kept.revision) = (stored, revision);
        }
    }

    fn key(&self, lane: Lane) -> String {
        format!("{}.lane.{}", key(&self.group), lane.0)
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Lane, Kept>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the keys of a group begin with.
pub(crate) fn key(group: &Group) -> String {
    let Group {
        service,
        consumer,
        source,
    } = group;
    format!("{service}.{consumer}.{source}")
}
