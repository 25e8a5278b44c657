//! The port: declaring, publishing and subscribing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use bytes::Bytes;
use contracts::Service;
use kernel::bus::keeper::Keeper;
use kernel::bus::shares::Member;
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::clock::{Clock, Ids};
use kernel::event::{Lane, Position};
use kernel::wire;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connect::connect;
use crate::cursors::Cursors;
use crate::failure::{OpenError, unavailable};
use crate::ledger::{Bucket, Rosters};
use crate::options::NatsOptions;
use crate::streams::Streams;
use crate::subscription::NatsSubscription;

/// How often a batch is published again after its stream was found to be missing, and made.
const ATTEMPTS_MAX: u32 = 2;

/// A connection to NATS, for one process.
pub struct NatsBus {
    streams: Streams,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    process: Option<Uuid>,
    /// The groups whose roster this process has entered under its own name.
    named: Mutex<BTreeSet<Group>>,
    /// How many subscriptions that were dropped have not given their lanes back yet.
    leaving: watch::Sender<usize>,
}

/// Without how it is connected, which may have a password in it.
impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBus")
            .field("bucket", &self.streams.bucket())
            .finish_non_exhaustive()
    }
}

/// Tells a subscription's keeper to give everything back when it is dropped.
pub(crate) struct Leave {
    stop: CancellationToken,
    leaving: watch::Sender<usize>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.leaving.send_modify(|count| *count += 1);
        self.stop.cancel();
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
            clock: options.clock,
            ids: options.ids,
            process: options.process,
            named: Mutex::default(),
            leaving: watch::Sender::new(0),
        })
    }

    /// A name that no subscription has; the first one of a group has that of the process, so that a process that was killed
    /// and is started again goes on with what it held.
    fn member(&self, group: &Group) -> Member {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let process = self.process.filter(|_| named.insert(group.clone()));
        Member(process.unwrap_or_else(|| self.ids.uuid(self.clock.now())))
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
        let bucket = Bucket::open(&self.streams).await?;
        let cursors = Arc::new(Cursors::new(bucket.clone(), group.clone()));
        let ledger = Arc::new(Rosters::new(bucket, Arc::clone(&cursors), group));
        let (me, lanes, clock) = (self.member(group), self.streams.lanes, Arc::clone(&self.clock));
        let keeper = Keeper::join(group.clone(), me, lanes, ledger, clock).await?;
        let (tenancy, stop, leaving) = (keeper.tenancy(), CancellationToken::new(), self.leaving.clone());
        let stopped = stop.clone();
        tokio::spawn(async move {
            keeper.run(stopped).await;
            leaving.send_modify(|count| *count -= 1);
        });
        let leave = Leave {
            stop,
            leaving: self.leaving.clone(),
        };
        let (streams, clock) = (self.streams.clone(), Arc::clone(&self.clock));
        let subscription = NatsSubscription::new(group.clone(), streams, cursors, tenancy, clock, leave);
        Ok(Box::new(subscription))
    }

    async fn close(&self) {
        // The sender is in the same structure, so it is never gone.
        let _ = self.leaving.subscribe().wait_for(|count| *count == 0).await;
    }
}
