//! Reads one stream, as fast as what was read is taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use kernel::bus::BusError;
use kernel::clock::Clock;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, DeliveryTag, ShortString};
use lapin::{Channel, Consumer};
use uuid::Uuid;

use crate::batch;
use crate::connect::Line;
use crate::failure::{CallError, answered};
use crate::place::ID_MASK;
use crate::streams::{table, text};

/// In which header the broker tells an offset, and from which argument it takes one.
const OFFSET: &str = "x-stream-offset";

/// How long what was taken may go untold while nothing comes: the broker waits for half an hour at the most.
const TELL_PAUSE: Duration = Duration::from_secs(5);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the oldest message that is there.
    First,
    /// With one of the last messages.
    Last,
    /// With this message, or the oldest that is there after it.
    At(u64),
}

/// A message in a stream.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    /// The end of what it was published under; 0 where somebody else has published it.
    pub(crate) id: u64,
    pub(crate) message_type: String,
    /// Whether there are several events in it.
    pub(crate) is_batch: bool,
    pub(crate) bytes: Bytes,
}

/// A consumer of a stream. Its acknowledgements say nothing but that the broker may send more.
pub(crate) struct Tap {
    consumer: Consumer,
    channel: Channel,
    line: Arc<Line>,
    prefetch: u16,
    clock: Arc<dyn Clock>,
    /// What was taken since the broker was last told.
    taken: u16,
    last: DeliveryTag,
    /// By when it is to be told, on the clock's monotonic time.
    due: Duration,
    /// Why there is no next message.
    failure: Option<BusError>,
}

impl Tap {
    /// Reads on this channel. The broker sends `prefetch` messages ahead.
    pub(crate) async fn open(
        line: Arc<Line>,
        channel: Channel,
        stream: ShortString,
        start: Start,
        prefetch: u16,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, CallError> {
        let start = match start {
            Start::First => text("first"),
            Start::Last => text("last"),
            Start::At(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
        };
        answered(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let consumer = answered(channel.basic_consume(stream, tag, options, table([(OFFSET, start)]))).await?;
        Ok(Self {
            consumer,
            channel,
            line,
            prefetch,
            clock: Arc::clone(clock),
            taken: 0,
            last: 0,
            due: Duration::ZERO,
            failure: None,
        })
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Waits for the next message. Safe to drop while waiting. Fails when the line is lost, or the stream.
    pub(crate) async fn next(&mut self) -> Result<Found, BusError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.is_to_tell() {
            self.tell().await?;
        }
        let next = loop {
            let left = self.due.saturating_sub(self.clock.monotonic());
            tokio::select! {
                biased;
                next = self.consumer.next() => break next,
                () = self.line.lost.cancelled() => break None,
                () = self.clock.sleep(left), if self.taken > 0 => self.tell().await?,
            }
        };
        self.take(next)
    }

    /// The next message if it has come, and the broker need not be told before.
    pub(crate) fn at_hand(&mut self) -> Option<Found> {
        if self.is_to_tell() || self.failure.is_some() {
            return None;
        }
        let next = self.consumer.next().now_or_never()?;
        let taken = self.take(next);
        taken.map_err(|failure| self.failure = Some(failure)).ok()
    }

    fn is_to_tell(&self) -> bool {
        self.taken >= self.prefetch / 2
    }

    fn take(&mut self, next: Option<lapin::Result<Delivery>>) -> Result<Found, BusError> {
        let next = next.ok_or_else(|| BusError::new("RabbitMQ has ended the reading of a stream"))?;
        let delivery = next.map_err(CallError::from)?;
        if self.taken == 0 {
            self.due = self.clock.monotonic() + TELL_PAUSE;
        }
        (self.taken, self.last) = (self.taken + 1, delivery.delivery_tag);
        found(delivery)
    }

    async fn tell(&mut self) -> Result<(), CallError> {
        if std::mem::take(&mut self.taken) > 0 {
            answered(self.channel.basic_ack(self.last, BasicAckOptions { multiple: true })).await?;
        }
        Ok(())
    }
}

/// The random end of an id.
pub(crate) fn short(id: &Uuid) -> u64 {
    id.as_u64_pair().1 & ID_MASK
}

fn found(delivery: Delivery) -> Result<Found, BusError> {
    let properties = &delivery.properties;
    let offset = properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get(OFFSET))
        .and_then(AMQPValue::as_long_long_int)
        .and_then(|offset| u64::try_from(offset).ok());
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(Found {
        offset: offset.ok_or_else(|| BusError::new("RabbitMQ does not say which offset a message has"))?,
        id: Uuid::try_parse(&text(properties.message_id())).map_or(0, |id| short(&id)),
        message_type: text(properties.kind()),
        is_batch: text(properties.content_type()) == batch::CONTENT_TYPE,
        bytes: delivery.data.into(),
    })
}
