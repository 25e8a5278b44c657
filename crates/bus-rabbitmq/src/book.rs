//! The log of a group: who receives which lanes, and how far it has come, as one subscription reads and writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::bus::{BusError, Group};
use kernel::clock::{Clock, Ids};
use kernel::effect::backoff;
use kernel::event::Lane;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use crate::failure::{ANSWER_MAX, CallError, answered};
use crate::fold::{Entry, Fold, Proposal, Spot};
use crate::publisher::{self, Failed, Outgoing};
use crate::streams::Streams;
use crate::tap::{Found, Start, Tap};

/// Entries that the broker sends ahead.
const PREFETCH: u16 = 256;
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The type of an entry, for whoever looks at the broker.
const ENTRY: &str = "consumer.entry";
const JSON: &str = "application/json";
/// How a channel is closed that is of no use any more, in AMQP's numbers.
const CLOSED: u16 = 200;

/// What of the log was read, for as long as it is followed.
pub(crate) struct Book {
    streams: Streams,
    group: Group,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    /// While it is followed, and all of it was read.
    following: Mutex<Option<Following>>,
}

struct Following {
    channel: Channel,
    fold: Fold,
    /// Who waits to see an entry of theirs in the log, and whether its roster counts.
    waiting: BTreeMap<Uuid, oneshot::Sender<bool>>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Book {
    pub(crate) fn new(streams: Streams, group: Group, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Self {
        Self {
            streams,
            group,
            clock,
            ids,
            following: Mutex::default(),
        }
    }

    /// What the log says, as far as it was read.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Fold) -> T) -> Result<T, BusError> {
        match &*self.following() {
            Some(following) => Ok(at(&following.fold)),
            None => Err(unread()),
        }
    }

    /// Writes an entry, and returns when it is in the log: whether the roster that it proposes counts.
    pub(crate) async fn write(
        &self,
        roster: Option<Proposal>,
        cursors: BTreeMap<Lane, Spot>,
    ) -> Result<bool, BusError> {
        let id = self.ids.uuid(self.clock.now());
        let (waiting, seen) = oneshot::channel();
        let channel = {
            let mut following = self.following();
            let following = following.as_mut().ok_or_else(unread)?;
            following.waiting.insert(id, waiting);
            following.channel.clone()
        };
        let entry = Entry { id, roster, cursors };
        let written = async {
            self.append(&channel, &entry).await?;
            let seen = timeout(ANSWER_MAX, seen).await.map_err(|_| CallError::Silent)?;
            seen.map_err(|_| unread())
        };
        let written = written.await;
        if let Some(following) = &mut *self.following() {
            following.waiting.remove(&id);
        }
        written
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Reads what there is, so that it can be looked at; then follow it.
    pub(crate) async fn open(&self) -> Result<Tap, BusError> {
        let line = self.streams.connection.line()?;
        let channel = line.channel().await?;
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        self.streams.find_log(&channel, &self.group).await?;
        let (stream, _) = self.streams.log(&self.group);
        let mut tap = Tap::open(line, channel, stream, Start::First, PREFETCH, &self.clock).await?;
        // Everything that was there is before an entry that is written now.
        let hello = Entry {
            id: self.ids.uuid(self.clock.now()),
            roster: None,
            cursors: BTreeMap::new(),
        };
        self.append(tap.channel(), &hello).await?;
        let mut fold = Fold::default();
        loop {
            let found = timeout(ANSWER_MAX, tap.next()).await.map_err(|_| CallError::Silent)??;
            let Some((offset, entry)) = self.understood(&found) else {
                continue;
            };
            let id = entry.id;
            fold.take(offset, entry);
            if id == hello.id {
                break;
            }
        }
        fold.settle();
        *self.following() = Some(Following {
            channel: tap.channel().clone(),
            fold,
            waiting: BTreeMap::new(),
        });
        Ok(tap)
    }

    /// Follows the log; opens it again wherever that is interrupted.
    pub(crate) async fn follow(self: Arc<Self>, mut tap: Tap) {
        let mut made = self.streams.connection.made();
        loop {
            let error = self.read(tap).await;
            *self.following() = None;
            tracing::warn!(group = %self.group, %error, "the log of a group cannot be read; it goes on by itself");
            let mut failures = 0;
            tap = loop {
                made.borrow_and_update();
                match self.open().await {
                    Ok(tap) => break tap,
                    Err(_) => failures += 1,
                }
                tokio::select! {
                    () = self.clock.sleep(backoff(failures).min(PAUSE_MAX)) => {}
                    _ = made.changed() => {}
                }
            };
        }
    }

    async fn read(&self, mut tap: Tap) -> BusError {
        loop {
            let found = match tap.next().await {
                Ok(found) => found,
                Err(error) => return error,
            };
            if let Some((offset, entry)) = self.understood(&found)
                && let Some(following) = &mut *self.following()
            {
                let id = entry.id;
                let counts = following.fold.take(offset, entry);
                if let Some(waiting) = following.waiting.remove(&id) {
                    // Whoever waited may have given up.
                    let _ = waiting.send(counts);
                }
            }
        }
    }

    async fn append(&self, channel: &Channel, entry: &Entry) -> Result<(), BusError> {
        let (_, key) = self.streams.log(&self.group);
        let outgoing = Outgoing {
            key,
            content_type: JSON,
            message_type: Some(ENTRY.into()),
            bytes: serde_json::to_vec(entry).map_err(BusError::new)?,
        };
        let named = [(entry.id, &outgoing)];
        match publisher::send(channel, &self.streams.logs(), &named).await {
            Ok(()) => Ok(()),
            Err(Failed::Unavailable(error)) => Err(error),
            Err(Failed::NoStream) => {
                // It is made when the log is opened again, which happens when the channel ends.
                let _ = answered(channel.close(CLOSED, "something is missing".into())).await;
                Err(BusError::new("the log of the group is not there any more"))
            }
        }
    }

    fn understood(&self, found: &Found) -> Option<(u64, Entry)> {
        match serde_json::from_slice(&found.bytes) {
            Ok(entry) => Some((found.offset, entry)),
            Err(error) => {
                let (group, offset) = (&self.group, found.offset);
                tracing::error!(%group, offset, %error, "there is something in the log of a group that is no entry of ours");
                None
            }
        }
    }

    fn following(&self) -> MutexGuard<'_, Option<Following>> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unread() -> BusError {
    BusError::new("the log of the group is being read; it goes on by itself")
}
