//! The port to a broker: publish in journal order, subscribe in lanes.

pub mod keeper;
pub mod log;
pub mod shares;
pub mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;

use crate::event::{Epoch, Lane, Position, Recorded};

/// An event on its way from the journal of one service to the consumers of others.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose journal it is from.
    pub source: Service,
    /// The journal's life; a consumer that is in another one halts, unless that continues this one.
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

/// How long after the death of a subscriber others receive its lanes, at most.
pub const TAKEOVER_MAX: Duration = Duration::from_secs(20);
/// How long after a subscription was dropped others receive its lanes, at most, and a newcomer its share.
pub const HANDOVER_MAX: Duration = Duration::from_secs(5);
/// How long after the broker was lost a subscription says so, at most.
pub const NOTICED_MAX: Duration = Duration::from_secs(20);
/// How long an acknowledgement may be under way: a subscriber that dies within it may have it forgotten.
pub const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(1);

/// A broker, or what stands in for one.
///
/// What every adapter owes, and the contract suite in `testkit` checks:
///
/// - **Taken when `publish` returns**, durably as far as the broker promises that. The same messages may be published
///   again, and are then received again: no window of duplicates swallows them. A `publish` that failed may have handed
///   any of its messages over; repeated, they come again in order, behind those.
/// - **In order.** Within a lane a group receives messages in the order of publication.
/// - **At least once.** What was not acknowledged comes again, in order and without a wait, to whoever subscribes next and
///   after a [`Subscription::rewind`]. Messages may come twice, and a broker may even lose some: the runner sees that by
///   `prev`.
/// - **Acknowledged is done with.** What was acknowledged does not come again, but for the last [`ACKNOWLEDGED_MAX`] before a
///   subscriber dies.
/// - **Nothing waits behind what is unacknowledged.** However much of a lane that is, what is published later is received:
///   it may be what closes a gap before all that.
/// - **One subscriber at a time receives a lane.** All that live have a share of the lanes, together they have all, and
///   each lane moves only between two calls to [`Subscription::receive`]: by calling it, a subscriber says that it works
///   on nothing that it was handed before. Its lanes go to others within [`HANDOVER_MAX`] after it was dropped,
///   and within [`TAKEOVER_MAX`] after it died without a word.
/// - **A slow handler keeps its lanes**, however long it takes, while its process lives and reaches the broker. One that
///   does not reach it may still be at work when another subscriber receives the same messages: what it does then is
///   refused by the version of the checkpoint. Nothing more is handed out to it by then, whatever was read ahead.
/// - **Groups do not know of each other.** Each receives everything, as fast as it acknowledges.
/// - **A declared group misses nothing** that is published from then on, whether anybody subscribes or not.
/// - **Sizes.** Messages of up to [`MESSAGE_BYTES_MAX`](crate::wire::MESSAGE_BYTES_MAX) pass. A larger one is refused with its
///   size before anything is sent.
/// - **Outages.** While the broker is away, calls fail or wait, and within [`NOTICED_MAX`] subscriptions say so. Once it is back, they go on, and so do subscriptions or those
///   that replace them. A broker that lost everything has what the groups need again by the next call of each kind.
#[async_trait]
pub trait Bus: Send + Sync + fmt::Debug {
    /// Makes what the groups and their sources need. Doing so again changes nothing; what is there and was made with other
    /// settings, such as another number of lanes, is refused with the difference.
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError>;

    /// Hands messages of one source over, in journal order.
    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError>;

    /// Receives the messages of a group. `from` is its checkpoint per lane: a hint for a bus that keeps no cursors.
    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError>;

    /// Whether several processes can receive lanes of one group at once. Where not, one of a service's replicas consumes.
    fn shares_lanes(&self) -> bool {
        true
    }

    /// Waits until subscriptions that were dropped have given their lanes back and sent their acknowledgements. Without it
    /// they do so if the process lives long enough.
    async fn close(&self) {}
}

/// A group's messages, as one process receives them.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for messages; at least one, at most `max`. Safe to drop while waiting.
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError>;

    /// Says that everything in `lane` up to `position` is done with.
    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError>;

    /// Asks for everything in `lane` after `position` again that was not acknowledged, before anything else of the lane.
    /// Nothing happens to a lane that is received elsewhere by now. What was acknowledged need not come, even where `position`
    /// is before that, as after a store was set back: `tradewind republish` brings it.
    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError>;

    /// Whether it is this subscription that receives the lane, as far as it knows.
    fn receives(&self, lane: Lane) -> bool;

    /// Whether the broker is reached, as far as is known: while it is not, there may be messages that nobody knows of here.
    fn is_live(&self) -> bool {
        true
    }

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

/// Why the bus did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It may in a moment; it is waited for without limit. With the reason, for the log.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// What is on the broker was made with other settings: somebody has to change it, or the configuration.
    #[error("{subject} was made with {setting} {found} on the broker, and {wanted} is configured")]
    Differs {
        /// What is there.
        subject: String,
        /// Which of its settings.
        setting: &'static str,
        /// As it is.
        found: String,
        /// As it should be.
        wanted: String,
    },
    /// The message will never pass.
    #[error("event {position} of {service} has {bytes} bytes on the wire, and at most {bytes_max} are sent")]
    TooLarge {
        /// Whose event.
        service: Service,
        /// Which.
        position: Position,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

impl BusError {
    /// Unavailable, for whatever reason the driver gave.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self::Unavailable(reason.to_string())
    }

    /// What was declared or published has other lanes than are configured.
    #[must_use]
    pub fn lanes(source: Service, found: impl fmt::Display, wanted: u16) -> Self {
        Self::Differs {
            subject: format!("the journal of {source}"),
            setting: "lanes",
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }
}
