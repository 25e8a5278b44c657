//! A valve between the bus of a measured shop and its consumers, and a meter for what is published.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::event::{Lane, Position};
use tokio::sync::watch;

/// Batches whose size is noted.
const BATCHES_MAX: usize = 16 * 1024;

/// A bus that can be shut: events wait in their journals.
#[derive(Debug)]
pub struct Valve {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Whether consumers receive anything.
    pub is_open: watch::Receiver<bool>,
    /// How orders were published.
    pub batches: Arc<Batches>,
}

/// How many events of orders were handed to a broker at a time, one after another.
#[derive(Debug, Default)]
pub struct Batches {
    sizes: Mutex<Vec<usize>>,
}

impl Batches {
    /// Forgets them.
    pub fn begin(&self) {
        self.sizes().clear();
    }

    /// Since they were forgotten, the first of them.
    pub fn noted(&self) -> Vec<usize> {
        self.sizes().clone()
    }

    fn note(&self, size: usize) {
        let mut sizes = self.sizes();
        if sizes.len() < BATCHES_MAX {
            sizes.push(size);
        }
    }

    fn sizes(&self) -> MutexGuard<'_, Vec<usize>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for Valve {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.bus.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        if messages
            .first()
            .is_some_and(|message| message.source == Service::Orders)
        {
            self.batches.note(messages.len());
        }
        self.bus.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(Behind {
            subscription: self.bus.subscribe(group, from).await?,
            is_open: self.is_open.clone(),
        }))
    }

    fn shares_lanes(&self) -> bool {
        self.bus.shares_lanes()
    }

    async fn close(&self) {
        self.bus.close().await;
    }
}

/// A subscription behind the valve.
struct Behind {
    subscription: Box<dyn Subscription>,
    is_open: watch::Receiver<bool>,
}

#[async_trait]
impl Subscription for Behind {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        let Self { subscription, is_open } = self;
        loop {
            is_open.wait_for(|open| *open).await.map_err(BusError::new)?;
            tokio::select! {
                biased;
                _ = is_open.wait_for(|open| !open) => {}
                received = subscription.receive(max) => return received,
            }
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.subscription.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.subscription.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.subscription.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.subscription.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.subscription.head().await
    }
}
