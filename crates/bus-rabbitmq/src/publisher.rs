//! Hands messages over, and waits until the broker has taken all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use contracts::Service;
use kernel::bus::{BusError, Message};
use kernel::clock::{Clock, Ids};
use kernel::event::Lane;
use kernel::wire;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use uuid::Uuid;

use crate::batch;
use crate::connect::Line;
use crate::failure::{CallError, answered};
use crate::streams::Streams;
use crate::tap;

/// How often a batch is published again after something that it needs was found to be missing, and made.
const ATTEMPTS_MAX: u32 = 2;
/// Written to the disk before it is acknowledged, in AMQP's numbers.
const PERSISTENT: u8 = 2;
/// The type of a message that is in a stream to be found there, and is no event.
pub(crate) const PROBE: &str = "probe";
const BYTES: &str = "application/octet-stream";

/// What one message is to be.
pub(crate) struct Outgoing {
    pub(crate) key: ShortString,
    pub(crate) content_type: &'static str,
    /// Nothing where there are several events in it, whose types may differ.
    pub(crate) message_type: Option<ShortString>,
    pub(crate) bytes: Vec<u8>,
}

/// Why a message was not published.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There is no exchange, or no stream behind it.
    NoStream,
    Unavailable(BusError),
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        match error.is_not_found() {
            true => Self::NoStream,
            false => Self::Unavailable(error.into()),
        }
    }
}

impl From<lapin::Error> for Failed {
    fn from(error: lapin::Error) -> Self {
        CallError::from(error).into()
    }
}

/// Publishes for one process.
#[derive(Debug)]
pub(crate) struct Publisher {
    streams: Streams,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    channels: Mutex<BTreeMap<Service, Arc<tokio::sync::Mutex<Option<Ready>>>>>,
}

/// A channel on which everything that was published is confirmed.
#[derive(Debug)]
struct Ready {
    line: Arc<Line>,
    channel: Channel,
}

impl Publisher {
    pub(crate) fn new(streams: Streams, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Self {
        Self {
            streams,
            clock,
            ids,
            channels: Mutex::default(),
        }
    }

    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let Some(source) = messages.first().map(|message| message.source) else {
            return Ok(());
        };
        let events = messages.iter().map(|message| {
            let event = batch::Event {
                event_type: &message.event.event_type,
                bytes: wire::to_send(message, self.streams.lanes)?,
            };
            Ok((message.event.lane, event))
        });
        let events = events.collect::<Result<Vec<_>, BusError>>()?;
        let packed: Vec<Outgoing> = batch::parcels(events).into_iter().map(outgoing).collect();
        for _ in 0..ATTEMPTS_MAX {
            self.streams.ensure(source).await?;
            match self.send(source, &packed).await {
                Ok(()) => return Ok(()),
                Err(Failed::NoStream) => self.streams.connection.line()?.forget(source),
                Err(Failed::Unavailable(error)) => return Err(error),
            }
        }
        Err(BusError::new(format!(
            "the streams of {} do not stay",
            self.streams.exchange(source)
        )))
    }

    /// Puts something into a lane that is no event, and gives the end of its id, by which it is found there.
    pub(crate) async fn probe(&self, source: Service, lane: Lane) -> Result<u64, BusError> {
        let channel = self.ready(self.streams.connection.line()?).await?.channel;
        let (key, id) = (Streams::key(lane), self.id());
        let probe = Outgoing {
            key,
            content_type: BYTES,
            message_type: Some(PROBE.into()),
            bytes: Vec::new(),
        };
        let sent = send(&channel, &self.streams.exchange(source), &[(id, &probe)]).await;
        match sent {
            Ok(()) => Ok(tap::short(&id)),
            Err(Failed::NoStream) => Err(BusError::new("the stream is not there any more")),
            Err(Failed::Unavailable(error)) => Err(error),
        }
    }

    async fn send(&self, source: Service, messages: &[Outgoing]) -> Result<(), Failed> {
        let slot = Arc::clone(
            self.channels
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(source)
                .or_default(),
        );
        let mut slot = slot.lock().await;
        let line = self.streams.connection.line().map_err(Failed::Unavailable)?;
        // A channel on which something failed, or was not waited for, is not used again.
        let usable = slot
            .take()
            .filter(|ready| Arc::ptr_eq(&ready.line, &line) && ready.channel.status().connected());
        let ready = match usable {
            Some(ready) => ready,
            None => self.ready(line).await?,
        };
        let named: Vec<_> = messages.iter().map(|message| (self.id(), message)).collect();
        send(&ready.channel, &self.streams.exchange(source), &named).await?;
        *slot = Some(ready);
        Ok(())
    }

    async fn ready(&self, line: Arc<Line>) -> Result<Ready, CallError> {
        let channel = line.channel().await?;
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Ready { line, channel })
    }

    /// A name that no other message has, whatever is published again.
    fn id(&self) -> Uuid {
        self.ids.uuid(self.clock.now())
    }
}

/// What goes to a lane at once.
fn outgoing((lane, events): (Lane, Vec<batch::Event<'_>>)) -> Outgoing {
    let key = Streams::key(lane);
    match <[batch::Event<'_>; 1]>::try_from(events) {
        Ok([event]) => Outgoing {
            key,
            content_type: wire::CONTENT_TYPE,
            message_type: Streams::short(event.event_type),
            bytes: event.bytes,
        },
        Err(events) => Outgoing {
            key,
            content_type: batch::CONTENT_TYPE,
            message_type: None,
            bytes: batch::joined(&events),
        },
    }
}

/// Sends one after the other without waiting, and then waits until the broker has taken all of them. None of them is handed to
/// nobody: what has no queue comes back.
pub(crate) async fn send(
    channel: &Channel,
    exchange: &ShortString,
    messages: &[(Uuid, &Outgoing)],
) -> Result<(), Failed> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let mut sending = Vec::with_capacity(messages.len());
    for (id, message) in messages {
        let mut properties = BasicProperties::default()
            .with_content_type(message.content_type.into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.to_string().into());
        if let Some(message_type) = &message.message_type {
            properties = properties.with_type(message_type.clone());
        }
        let publishing = channel.basic_publish(
            exchange.clone(),
            message.key.clone(),
            options,
            &message.bytes,
            properties,
        );
        // It is in the client's queue once it was polled, in this order.
        let mut publishing = Box::pin(publishing);
        let polled = futures::poll!(&mut publishing);
        sending.push((publishing, polled));
    }
    let mut is_returned = false;
    let mut confirmations = Vec::with_capacity(sending.len());
    for (publishing, polled) in sending {
        confirmations.push(match polled {
            std::task::Poll::Ready(sent) => sent?,
            std::task::Poll::Pending => answered(publishing).await?,
        });
    }
    for confirmation in confirmations {
        match answered(confirmation).await? {
            Confirmation::Ack(returned) => is_returned |= returned.is_some(),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                return Err(Failed::Unavailable(BusError::new("RabbitMQ did not take a message")));
            }
        }
    }
    match is_returned {
        true => Err(Failed::NoStream),
        false => Ok(()),
    }
}
