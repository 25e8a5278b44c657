//! The port: declaring, publishing and subscribing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::log::Subscriptions;
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::clock::{Clock, Ids};
use kernel::event::Position;

use crate::book::Book;
use crate::connect::Dialler;
use crate::connection::Connection;
use crate::failure::OpenError;
use crate::log::RabbitmqLog;
use crate::opening;
use crate::options::RabbitmqOptions;
use crate::publisher::Publisher;
use crate::streams::Streams;

/// A connection to RabbitMQ, for one process.
pub struct RabbitmqBus {
    streams: Streams,
    publisher: Arc<Publisher>,
    subscriptions: Subscriptions,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
}

/// Without how it is connected, which has a password in it.
impl fmt::Debug for RabbitmqBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitmqBus")
            .field("prefix", &self.streams.prefix())
            .finish_non_exhaustive()
    }
}

impl RabbitmqBus {
    /// Connects. From then on the connection restores itself, for as long as it takes.
    ///
    /// # Errors
    /// If there is no broker that will do, with what to do about it.
    pub async fn open(options: RabbitmqOptions) -> Result<Self, OpenError> {
        let dialler = Dialler::new(&options)?;
        let line = opening::open(&dialler, &options).await?;
        let connection = Connection::new(dialler, line, Arc::clone(&options.clock));
        let streams = Streams::new(connection, &options);
        let (clock, ids) = (options.clock, options.ids);
        let publisher = Publisher::new(streams.clone(), Arc::clone(&clock), Arc::clone(&ids));
        Ok(Self {
            streams,
            publisher: Arc::new(publisher),
            subscriptions: Subscriptions::new(Arc::clone(&clock), Arc::clone(&ids), options.process),
            clock,
            ids,
        })
    }
}

#[async_trait]
impl Bus for RabbitmqBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        // A group begins with what the streams have, so there is nothing to make for each.
        let sources: BTreeSet<Service> = groups.iter().map(|group| group.source).collect();
        for source in sources {
            self.streams.find(source).await?;
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.publisher.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.streams.find(group.source).await?;
        let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.ids));
        let book = Book::new(self.streams.clone(), group.clone(), clock, ids);
        let log = RabbitmqLog::open(&self.streams, &self.publisher, group.clone(), book).await?;
        self.subscriptions.open(group, self.streams.lanes, Arc::new(log)).await
    }

    async fn close(&self) {
        self.subscriptions.close().await;
    }
}
