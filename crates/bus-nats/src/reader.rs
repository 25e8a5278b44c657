//! Reads one lane for one subscription, from a cursor on, until it is dropped.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::Message as Raw;
use contracts::Service;
use futures::StreamExt as _;
use kernel::bus::{BusError, Message};
use kernel::clock::Clock;
use kernel::effect::backoff;
use kernel::event::Lane;
use kernel::wire;
use tokio::sync::mpsc;

use crate::cursors::{Cursor, Cursors, Life};
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
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A message, and where it was.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) lane: Lane,
    /// Of which reading of the lane it is.
    pub(crate) generation: u64,
    pub(crate) cursor: Cursor,
    pub(crate) message: Message,
}

pub(crate) struct Reader {
    pub(crate) streams: Streams,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) source: Service,
    pub(crate) lane: Lane,
    pub(crate) generation: u64,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Reader {
    /// Reads after a cursor, or after what the bucket says; begins again wherever it is interrupted.
    pub(crate) async fn run(self, mut at: Option<Cursor>) {
        let mut failures = 0;
        let mut made = self.streams.connection.made.clone();
        loop {
            made.borrow_and_update();
            let before = at;
            let Err(error) = self.read(&mut at).await else {
                continue;
            };
            failures = if at == before { failures + 1 } else { 1 };
            if failures == 1 {
                let (source, lane) = (self.source, self.lane.0);
                tracing::warn!(%source, lane, %error, "a lane cannot be read; it goes on by itself");
            }
            tokio::select! {
                () = self.clock.sleep(backoff(failures).min(PAUSE_MAX)) => {}
                _ = made.changed() => {}
            }
        }
    }

    /// Reads until something is lost on the way, or the connection was made anew.
    async fn read(&self, at: &mut Option<Cursor>) -> Result<(), BusError> {
        let mut made = self.streams.connection.made.clone();
        made.borrow_and_update();
        let stream = self.streams.find(self.source).await?;
        let info = stream.cached_info();
        let life = Life(info.created.unix_timestamp_nanos());
        let mut cursor = match *at {
            Some(cursor) if cursor.life == life => cursor,
            Some(_) => self.cursors.begin_anew(self.lane, life),
            None => self.cursors.open(self.lane, life).await?,
        };
        *at = Some(cursor);
        // A server that lost its last messages gives their sequences to others.
        let after = cursor.sequence.min(info.state.last_sequence);
        let consumer = stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.streams.subject(self.source, self.lane),
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
        let mut messages = messages.messages().await.map_err(unavailable)?;
        let mut delivered = 0;
        loop {
            let next = tokio::select! {
                biased;
                _ = made.changed() => return Ok(()),
                next = messages.next() => next,
            };
            let next = next.ok_or_else(|| BusError::new("the server has forgotten who asks"))?;
            let next = next.map_err(unavailable)?;
            let info = next.info().map_err(BusError::new)?;
            delivered += 1;
            if info.consumer_sequence != delivered {
                return Err(BusError::new("messages were lost between the server and here"));
            }
            cursor.sequence = info.stream_sequence;
            if let Some(message) = self.understood(&next, cursor) {
                let delivery = Delivery {
                    lane: self.lane,
                    generation: self.generation,
                    cursor,
                    message,
                };
                // Nobody is left to receive it, and so this task is about to end.
                let _ = self.deliveries.send(delivery).await;
            }
            *at = Some(cursor);
        }
    }

    /// What is none of ours is passed by: were it one, the next message's `prev` would tell.
    fn understood(&self, raw: &Raw, cursor: Cursor) -> Option<Message> {
        let (lane, sequence, subject) = (self.lane.0, cursor.sequence, raw.subject.as_str());
        match wire::decode(&raw.payload) {
            Ok(message) if message.source == self.source && message.event.lane == self.lane => Some(message),
            Ok(message) => {
                let (source, of_lane) = (message.source, message.event.lane.0);
                tracing::error!(subject, lane, sequence, %source, of_lane, "an event is where it does not belong");
                None
            }
            Err(error) => {
                tracing::error!(subject, lane, sequence, %error, "there is something that is no event of ours");
                None
            }
        }
    }
}
