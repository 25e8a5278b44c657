//! A broker in memory, for tests and the simulation: it keeps what was published, per source and lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contracts::Service;
use tokio::sync::watch;

use crate::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use crate::event::{LANES_DEFAULT, Lane, Position};

/// Cheap to clone; all clones are the same broker.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    broker: Arc<Broker>,
}

#[derive(Debug)]
struct Broker {
    queues: Mutex<Queues>,
    /// Counts publications and rewinds, so that receivers wake.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queues {
    published: BTreeMap<(Service, Lane), Vec<Message>>,
    /// Per group and lane: how many messages were acknowledged.
    acknowledged: BTreeMap<(Group, Lane), usize>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        let broker = Broker {
            queues: Mutex::default(),
            changes: watch::channel(0).0,
        };
        Self {
            broker: Arc::new(broker),
        }
    }
}

impl MemoryBus {
    /// Loses everything, as a broker whose disk was wiped.
    pub fn wipe(&self) {
        *self.queues() = Queues::default();
        self.broker.changes.send_modify(|count| *count += 1);
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.broker.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn declare(&self, _: &[Group]) -> Result<(), BusError> {
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let mut queues = self.queues();
        for message in messages {
            queues
                .published
                .entry((message.source, message.event.lane))
                .or_default()
                .push(message);
        }
        drop(queues);
        self.broker.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn subscribe(&self, group: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let mut changes = self.broker.changes.subscribe();
        changes.mark_changed();
        let queues = self.queues();
        let delivered = (0..LANES_DEFAULT).map(Lane).map(|lane| {
            let acknowledged = queues
                .acknowledged
                .get(&(group.clone(), lane))
                .copied()
                .unwrap_or_default();
            (lane, acknowledged)
        });
        let delivered = delivered.collect();
        drop(queues);
        Ok(Box::new(Receiver {
            bus: self.clone(),
            group: group.clone(),
            delivered,
            changes,
        }))
    }
}

struct Receiver {
    bus: MemoryBus,
    group: Group,
    delivered: BTreeMap<Lane, usize>,
    changes: watch::Receiver<u64>,
}

impl Receiver {
    fn take(&mut self, max: usize) -> Vec<Message> {
        let queues = self.bus.queues();
        let mut taken = Vec::new();
        for (&lane, delivered) in &mut self.delivered {
            let Some(published) = queues.published.get(&(self.group.source, lane)) else {
                *delivered = 0;
                continue;
            };
            *delivered = (*delivered).min(published.len());
            let next = published.iter().skip(*delivered).take(max - taken.len());
            let before = taken.len();
            taken.extend(next.cloned());
            *delivered += taken.len() - before;
        }
        taken
    }
}

#[async_trait]
impl Subscription for Receiver {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            self.changes.borrow_and_update();
            let taken = self.take(max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            self.changes.changed().await.map_err(BusError::new)?;
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        let mut queues = self.bus.queues();
        let published = queues
            .published
            .get(&(self.group.source, lane))
            .map_or(&[][..], Vec::as_slice);
        let last = published.iter().rposition(|message| message.event.position == position);
        if let Some(last) = last {
            let acknowledged = queues.acknowledged.entry((self.group.clone(), lane)).or_default();
            *acknowledged = (*acknowledged).max(last + 1);
        }
        Ok(())
    }

    async fn rewind(&mut self, lane: Lane, _: Position) -> Result<(), BusError> {
        let acknowledged = self.bus.queues().acknowledged.get(&(self.group.clone(), lane)).copied();
        self.delivered.insert(lane, acknowledged.unwrap_or_default());
        self.changes.mark_changed();
        Ok(())
    }

    async fn head(&mut self) -> Option<SourceHead> {
        None
    }
}
