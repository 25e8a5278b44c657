//! The port: declaring, publishing and subscribing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::log::Subscriptions;
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::event::Position;
use kernel::wire;

use crate::connection::Connection;
use crate::failure::OpenError;
use crate::log::RedisLog;
use crate::logs::Logs;
use crate::options::RedisOptions;

/// A connection to Redis, for one process.
pub struct RedisBus {
    logs: Logs,
    subscriptions: Subscriptions,
}

/// Without how it is connected, which may have a password in it.
impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus")
            .field("connection", &self.logs.connection)
            .field("prefix", &self.logs.keys.channel())
            .finish_non_exhaustive()
    }
}

impl RedisBus {
    /// Connects. From then on the connection restores itself, for as long as it takes.
    ///
    /// # Errors
    /// If there is no server that will do, with what to do about it.
    pub async fn open(options: RedisOptions) -> Result<Self, OpenError> {
        let connection = Connection::open(&options).await?;
        Ok(Self {
            logs: Logs::new(connection, &options),
            subscriptions: Subscriptions::new(options.clock, options.ids, options.process),
        })
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        let sources: BTreeSet<Service> = groups.iter().map(|group| group.source).collect();
        // A group begins with what the log has, so there is nothing to make for each.
        for source in sources {
            self.logs.find(source, None).await?;
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let Some(source) = messages.first().map(|message| message.source) else {
            return Ok(());
        };
        let events = messages.iter().map(|message| {
            let bytes = wire::to_send(message, self.logs.lanes)?;
            Ok((message.event.lane, bytes))
        });
        let events = events.collect::<Result<Vec<_>, BusError>>()?;
        self.logs.publish(source, &events).await
    }

    async fn subscribe(&self, group: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.logs.find(group.source, Some(group)).await?;
        let log = RedisLog::new(self.logs.clone(), group.clone());
        self.subscriptions.open(group, self.logs.lanes, Arc::new(log)).await
    }

    async fn close(&self) {
        self.subscriptions.close().await;
    }
}
