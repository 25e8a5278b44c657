//! The port: declaring, publishing and subscribing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use contracts::Service;
use kernel::bus::log::{Cursors, Log, Subscriptions};
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::clock::Clock;
use kernel::event::Position;
use kernel::wire;
use tokio::sync::watch;

use crate::coordinator::Coordinator;
use crate::dialer::Dialer;
use crate::failure::OpenError;
use crate::log::KafkaLog;
use crate::membership::{Membership, Standing};
use crate::options::KafkaOptions;
use crate::publisher::{Packed, Publisher};
use crate::topics::Topics;

/// A process's connections to Kafka.
pub struct KafkaBus {
    topics: Topics,
    clock: Arc<dyn Clock>,
    publishers: Mutex<BTreeMap<Service, Arc<tokio::sync::Mutex<Publisher>>>>,
    subscriptions: Subscriptions,
}

/// Without how it is connected, which may have a password in it.
impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBus").finish_non_exhaustive()
    }
}

impl KafkaBus {
    /// Connects. From then on connections are made as they are needed, for as long as it takes.
    ///
    /// # Errors
    /// If there is no cluster that will do, with what to do about it.
    pub async fn open(options: KafkaOptions) -> Result<Self, OpenError> {
        let dialer = Arc::new(Dialer::open(&options).await?);
        Ok(Self {
            topics: Topics::new(dialer, &options),
            // The coordinator gives the names.
            subscriptions: Subscriptions::new(Arc::clone(&options.clock), options.ids, None),
            clock: options.clock,
            publishers: Mutex::default(),
        })
    }

    fn publisher(&self, source: Service) -> Arc<tokio::sync::Mutex<Publisher>> {
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        let publisher = publishers.entry(source).or_insert_with(|| {
            let (topics, clock) = (self.topics.clone(), Arc::clone(&self.clock));
            Arc::new(tokio::sync::Mutex::new(Publisher::new(source, topics, clock)))
        });
        Arc::clone(publisher)
    }

    fn coordinator(&self, group: &Group) -> Coordinator {
        Coordinator::new(Arc::clone(&self.topics.dialer), self.topics.group(group).into())
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        let sources: BTreeSet<Service> = groups.iter().map(|group| group.source).collect();
        for source in sources {
            self.topics.find(source).await?;
        }
        // A group begins with what the topic has, so there is nothing to make for each.
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let Some(source) = messages.first().map(|message| message.source) else {
            return Ok(());
        };
        let packed = messages.iter().map(|message| {
            Ok(Packed {
                lane: message.event.lane,
                key: Bytes::from(message.event.stream.to_string()),
                value: wire::to_send(message, self.topics.lanes)?.into(),
            })
        });
        let packed = packed.collect::<Result<Vec<_>, BusError>>()?;
        let publisher = self.publisher(source);
        publisher.lock().await.publish(packed).await
    }

    async fn subscribe(&self, group: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let topic = self.topics.find(group.source).await?;
        let (stand, standing) = watch::channel(Standing::none());
        let log = KafkaLog::new(self.topics.clone(), group.source, self.coordinator(group), standing);
        let log: Arc<dyn Log> = Arc::new(log);
        let cursors = Arc::new(Cursors::new(Arc::clone(&log), group.clone()));
        let membership = Membership::join(
            group.clone(),
            topic.name.clone(),
            self.topics.lanes,
            self.coordinator(group),
            Arc::clone(&cursors),
            Arc::clone(&self.clock),
            stand,
        );
        let membership = membership.await?;
        let tenancy = membership.tenancy();
        let keep = |stop| membership.run(stop);
        Ok(self.subscriptions.start(group, log, cursors, tenancy, keep))
    }

    async fn close(&self) {
        self.subscriptions.close().await;
    }
}
