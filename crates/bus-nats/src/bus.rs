//! The port: declaring, publishing and subscribing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use bytes::Bytes;
use contracts::Service;
use kernel::bus::log::Subscriptions;
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::event::{Lane, Position};
use kernel::wire;

use crate::connect::connect;
use crate::failure::{OpenError, unavailable};
use crate::log::NatsLog;
use crate::options::NatsOptions;
use crate::streams::Streams;

/// How often a batch is published again after its stream was found to be missing, and made.
const ATTEMPTS_MAX: u32 = 2;

/// A connection to NATS, for one process.
pub struct NatsBus {
    streams: Streams,
    subscriptions: Subscriptions,
}

/// Without how it is connected, which may have a password in it.
impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBus")
            .field("bucket", &self.streams.bucket())
            .finish_non_exhaustive()
    }
}

/// Why a message was not published.
enum Failed {
    /// There is no stream that takes it.
    NoStream,
    Unavailable(BusError),
}

impl NatsBus {
    /// Connects. From then on the connection restores itself, for as long as it takes.
    ///
    /// # Errors
    /// If there is no server that will do, with what to do about it.
    pub async fn open(options: NatsOptions) -> Result<Self, OpenError> {
        let connection = connect(&options).await?;
        Ok(Self {
            streams: Streams::new(connection, &options),
            subscriptions: Subscriptions::new(options.clock, options.ids, options.process),
        })
    }

    /// Sends one after the other without waiting, and then waits for all acknowledgements. No `Nats-Msg-Id`: the server would
    /// swallow what is published again on purpose.
    async fn send(&self, source: Service, messages: &[(Lane, Bytes)]) -> Result<(), Failed> {
        let failed = |error: async_nats::jetstream::context::PublishError| match error.kind() {
            PublishErrorKind::StreamNotFound => Failed::NoStream,
            _ => Failed::Unavailable(unavailable(error)),
        };
        let mut sent = Vec::with_capacity(messages.len());
        for (lane, bytes) in messages {
            let message = PublishMessage::build().payload(bytes.clone());
            let subject = self.streams.subject(source, *lane);
            let acknowledgement = self.streams.connection.jetstream.send_publish(subject, message);
            sent.push(acknowledgement.await.map_err(failed)?);
        }
        for acknowledgement in sent {
            acknowledgement.await.map_err(failed)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        let sources: BTreeSet<Service> = groups.iter().map(|group| group.source).collect();
        for source in sources {
            self.streams.find(source).await?;
        }
        // A group begins with what the stream has, so there is nothing to make for each.
        self.streams.find_bucket().await.map(drop)
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let Some(source) = messages.first().map(|message| message.source) else {
            return Ok(());
        };
        let packed = messages.iter().map(|message| {
            let bytes = wire::to_send(message, self.streams.lanes)?;
            Ok((message.event.lane, Bytes::from(bytes)))
        });
        let packed = packed.collect::<Result<Vec<_>, BusError>>()?;
        self.streams.connection.reached()?;
        for _ in 0..ATTEMPTS_MAX {
            self.streams.ensure(source).await?;
            match self.send(source, &packed).await {
                Ok(()) => return Ok(()),
                Err(Failed::NoStream) => self.streams.forget(source),
                Err(Failed::Unavailable(error)) => return Err(error),
            }
        }
        Err(BusError::new(format!(
            "the stream {} does not stay",
            self.streams.name(source)
        )))
    }

    async fn subscribe(&self, group: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.streams.find(group.source).await?;
        let log = NatsLog::open(&self.streams, group.clone()).await?;
        self.subscriptions.open(group, self.streams.lanes, Arc::new(log)).await
    }

    async fn close(&self) {
        self.subscriptions.close().await;
    }
}
