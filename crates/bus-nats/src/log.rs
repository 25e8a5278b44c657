//! What a group finds on the server: the lanes of its source, and its keys in the bucket.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::MessagesError;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{Message, stream};
use async_trait::async_trait;
use futures::future::try_join_all;
use futures::{FutureExt as _, StreamExt as _};
use kernel::bus::log::{Cursor, Entries, Entry, Life, Log, RosteredLog};
use kernel::bus::shares::Roster;
use kernel::bus::{BusError, Group};
use kernel::event::Lane;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bucket::Bucket;
use crate::failure::unavailable;
use crate::streams::Streams;

/// What the server sends of a lane before it is asked for more.
const BATCH_MESSAGES: usize = 128;
/// The same, in bytes: some of the largest messages.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// How long a request for more stands before it is repeated.
const REQUEST: Duration = Duration::from_secs(30);
/// How often the server says that it has nothing. After two silences the consumer is made anew.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the server keeps a consumer that nobody asks.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// How often a key is tried that somebody else writes at the same time.
const ATTEMPTS_MAX: u32 = 5;

/// A cursor as the bucket has it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stored {
    /// When the stream was made, in nanoseconds since 1970.
    life: u128,
    sequence: u64,
}

impl From<Stored> for Cursor {
    fn from(stored: Stored) -> Self {
        Self {
            life: Life(stored.life),
            place: stored.sequence.into(),
        }
    }
}

/// Of one group.
#[derive(Debug)]
pub(crate) struct NatsLog {
    streams: Streams,
    bucket: Bucket,
    group: Group,
    /// Of the cursors, as this process knows them.
    revisions: Mutex<BTreeMap<Lane, u64>>,
}

impl NatsLog {
    pub(crate) async fn open(streams: &Streams, group: Group) -> Result<Self, BusError> {
        Ok(Self {
            streams: streams.clone(),
            bucket: Bucket::open(streams).await?,
            group,
            revisions: Mutex::default(),
        })
    }

    async fn keep_one(&self, lane: Lane, cursor: Cursor) -> Result<(Lane, Cursor), BusError> {
        let key = self.key(lane);
        let stored = Stored {
            life: cursor.life.0,
            sequence: sequence(cursor.place)?,
        };
        for _ in 0..ATTEMPTS_MAX {
            let over = self.revisions().get(&lane).copied().unwrap_or_default();
            if let Some(revision) = self.bucket.write(&key, &stored, over).await? {
                self.revisions().insert(lane, revision);
                return Ok((lane, cursor));
            }
            // Somebody else has the lane now, or had it before it came back.
            let theirs = self.kept(lane).await?;
            if let Some(theirs) = theirs.filter(|theirs| theirs.life == cursor.life && theirs.place >= cursor.place) {
                return Ok((lane, theirs));
            }
        }
        Err(BusError::new(format!("others were always faster with {key}")))
    }

    fn revisions(&self) -> MutexGuard<'_, BTreeMap<Lane, u64>> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, lane: Lane) -> String {
        format!("{}.lane.{}", self.prefix(), lane.0)
    }

    fn roster_key(&self) -> String {
        format!("{}.roster", self.prefix())
    }

    /// What the keys of the group begin with.
    fn prefix(&self) -> String {
        let Group {
            service,
            consumer,
            source,
        } = &self.group;
        format!("{service}.{consumer}.{source}")
    }
}

#[async_trait]
impl Log for NatsLog {
    async fn life(&self) -> Result<Life, BusError> {
        let stream = self.streams.find(self.group.source).await?;
        Ok(life(stream.cached_info()))
    }

    async fn read(&self, lane: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError> {
        let stream = self.streams.find(self.group.source).await?;
        let info = stream.cached_info();
        if life(info) != after.life {
            return Err(BusError::new("the stream was made anew"));
        }
        let last = sequence(after.place)?.min(info.state.last_sequence);
        let consumer = stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: last + 1,
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.streams.subject(self.group.source, lane),
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        });
        let consumer = consumer.await.map_err(unavailable)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH_MESSAGES)
            .max_bytes_per_batch(BATCH_BYTES)
            .expires(REQUEST)
            .heartbeat(HEARTBEAT);
        let messages = messages.messages().await.map_err(unavailable)?;
        Ok(Box::new(NatsEntries {
            messages,
            delivered: 0,
            failure: None,
        }))
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.streams.connection.made.clone()
    }

    fn is_reached(&self) -> bool {
        self.streams.connection.reached().is_ok()
    }

    async fn kept(&self, lane: Lane) -> Result<Option<Cursor>, BusError> {
        let (stored, revision) = self.bucket.read::<Stored>(&self.key(lane)).await?;
        self.revisions().insert(lane, revision);
        Ok(stored.map(Cursor::from))
    }

    async fn keep(&self, cursors: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError> {
        try_join_all(cursors.iter().map(|&(lane, cursor)| self.keep_one(lane, cursor))).await
    }
}

#[async_trait]
impl RosteredLog for NatsLog {
    async fn roster(&self) -> Result<(Roster, Option<u64>), BusError> {
        let (roster, revision) = self.bucket.read::<Roster>(&self.roster_key()).await?;
        Ok((roster.unwrap_or_default(), Some(revision)))
    }

    async fn write_roster(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError> {
        let key = self.roster_key();
        let written = self.bucket.write(&key, roster, over.unwrap_or_default()).await?;
        Ok(written.is_some())
    }
}

struct NatsEntries {
    messages: pull::Stream,
    delivered: u64,
    /// Why there is no next message.
    failure: Option<BusError>,
}

#[async_trait]
impl Entries for NatsEntries {
    async fn next(&mut self) -> Result<Entry, BusError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let next = self.messages.next().await;
        self.take(next)
    }

    fn at_hand(&mut self) -> Option<Entry> {
        if self.failure.is_some() {
            return None;
        }
        let next = self.messages.next().now_or_never()?;
        let taken = self.take(next);
        taken.map_err(|failure| self.failure = Some(failure)).ok()
    }
}

impl NatsEntries {
    fn take(&mut self, next: Option<Result<Message, MessagesError>>) -> Result<Entry, BusError> {
        let next = next.ok_or_else(|| BusError::new("the server has forgotten who asks"))?;
        let next = next.map_err(unavailable)?;
        let info = next.info().map_err(BusError::new)?;
        self.delivered += 1;
        if info.consumer_sequence != self.delivered {
            return Err(BusError::new("messages were lost between the server and here"));
        }
        Ok(Entry {
            place: info.stream_sequence.into(),
            bytes: next.payload.clone(),
        })
    }
}

fn life(info: &stream::Info) -> Life {
    Life(info.created.unix_timestamp_nanos().unsigned_abs())
}

fn sequence(place: u128) -> Result<u64, BusError> {
    u64::try_from(place).map_err(|_| BusError::new(format!("{place} is no place in a stream")))
}
