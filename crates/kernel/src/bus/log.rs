//! Subscriptions over a broker that keeps a log of each lane, which anybody may read from any place on, as NATS JetStream
//! and Redis Streams do.
//!
//! An adapter gives a [`Log`] for each group: how a lane is read, and where the broker keeps what groups have to remember.
//! [`Subscriptions`] is the rest. A lane is read by whoever holds it, by a roster (a [`RosteredLog`], see
//! [`keeper`](super::keeper)) or in the broker's own way, as in Apache Kafka. It is read from the cursor of its group on: so what was not acknowledged comes at once and in order to whoever is next, and no wait for an acknowledgement is
//! running anywhere. Groups of a
//! process that are at the same place of a lane read it together.

mod cursors;
mod reader;
mod shared;
mod subscription;
mod subscriptions;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::bus::BusError;
use crate::bus::shares::Roster;
use crate::event::Lane;

pub use self::cursors::Cursors;
pub use self::subscriptions::Subscriptions;

/// Which log it is: in another one of the same name, places mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(pub u128);

/// A place in the log of a lane, and with it all that is before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Of which log.
    pub life: Life,
    /// Grows from entry to entry; 0 is before the first.
    pub place: u128,
}

impl Cursor {
    /// Before everything.
    #[must_use]
    pub fn beginning(life: Life) -> Self {
        Self { life, place: 0 }
    }
}

/// What is in the log of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub place: u128,
    /// A message on the [wire](crate::wire), unless somebody else wrote it.
    pub bytes: Bytes,
}

/// The log of a group's source, and what the broker keeps for the group.
///
/// Lives, places and the numbers of connections are those of the lane, whichever group asks: what one reads, others of the
/// process go on with.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug {
    /// Which log it is now. It is made if it is not there, and refused if it was made with other settings.
    async fn life(&self) -> Result<Life, BusError>;

    /// Reads a lane behind a place, until what this gives is dropped. Fails if the log is another one by now.
    ///
    /// A broker that lost its last entries gives their places to others: behind a place where nothing is any more, it
    /// reads on from its last one.
    async fn read(&self, lane: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError>;

    /// Changes with each connection that was made. Whatever was read through another one is read anew.
    fn connections(&self) -> watch::Receiver<u64>;

    /// Whether there is a connection, as far as is known.
    fn is_reached(&self) -> bool;

    /// How far the group has come in a lane, if that was ever kept.
    async fn kept(&self, lane: Lane) -> Result<Option<Cursor>, BusError>;

    /// Keeps how far the group has come in these lanes, but where something further on in the same log is kept. Gives what
    /// is kept from now on; a lane may be missing if its cursor is about a log that is no more.
    async fn keep(&self, cursors: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError>;
}

/// The same on a broker that has no exclusive consumers, and keeps who receives which lanes.
#[async_trait]
pub trait RosteredLog: Log {
    /// The group's roster and its version; the default before anybody has written it.
    async fn roster(&self) -> Result<(Roster, Option<u64>), BusError>;

    /// Writes it, if its version still is what was read. False if somebody else was faster.
    async fn write_roster(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError>;
}

/// The log of a lane, as it is read. It is for whichever groups of the process are there, and does not depend on one of them.
#[async_trait]
pub trait Entries: Send {
    /// Waits for the next one. An error ends it, and so does dropping the call.
    async fn next(&mut self) -> Result<Entry, BusError>;

    /// The next one if it is here already. Begins nothing that would have to be waited for.
    fn at_hand(&mut self) -> Option<Entry> {
        None
    }
}
