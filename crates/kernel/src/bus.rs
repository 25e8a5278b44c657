//! The port to a broker: publish in journal order, subscribe in lanes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use contracts::Service;

use crate::event::{Epoch, Lane, Position, Recorded};

/// An event on its way from the journal of one service to the consumers of others.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose journal it is from.
    pub source: Service,
    /// The journal's life; a consumer that knows another one halts.
    pub epoch: Epoch,
    /// The event with its position and `prev`.
    pub event: Arc<Recorded>,
}

/// A consumer group: one name on one source. Its name is for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The service that consumes.
    pub service: Service,
    /// The consumer's name within it.
    pub consumer: &'static str,
    /// The journal consumed.
    pub source: Service,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}/{}", self.service, self.consumer, self.source)
    }
}

/// A broker, or what stands in for one.
///
/// What every adapter owes, and the contract suite in `testkit` checks:
///
/// - `publish` returns when the broker has every message, durably as far as the broker promises that. It may be called
///   again with the same messages.
/// - Within a lane a group receives messages in the order of publication, and one live subscriber at a time does.
/// - What was not acknowledged is delivered again, after a crash or a [`Subscription::rewind`]. Delivery is at least
///   once; messages may come twice, and a broker may even lose some: the runner sees that by `prev`.
/// - Queues of every group exist before the first publish.
#[async_trait]
pub trait Bus: Send + Sync + fmt::Debug {
    /// Makes what the groups need, idempotently.
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError>;

    /// Hands messages of one source over, in journal order.
    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError>;

    /// Receives the messages of a group. `from` is its checkpoint per lane: a hint for a bus that keeps no cursors.
    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError>;
}

/// A group's messages, as one process receives them.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for messages; at least one, at most `max`. Safe to drop while waiting.
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError>;

    /// Says that everything in `lane` up to `position` is done with.
    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError>;

    /// Asks for everything in `lane` after `position` again.
    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError>;

    /// Where the source's journal stands, if the bus knows it.
    async fn head(&mut self) -> Option<SourceHead>;
}

/// Where a journal stands.
#[derive(Clone, Debug)]
pub struct SourceHead {
    /// Its life.
    pub epoch: Epoch,
    /// The last position of each lane.
    pub lanes: Vec<Position>,
}

/// Why the broker did not do it. It is waited for without limit.
#[derive(Debug, thiserror::Error)]
#[error("the bus is not available: {reason}")]
pub struct BusError {
    /// For the log.
    pub reason: String,
}

impl BusError {
    /// From whatever the driver said.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}
