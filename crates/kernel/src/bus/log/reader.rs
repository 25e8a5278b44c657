//! Reads one lane for one subscription, from a cursor on, until it is dropped.

use std::sync::Arc;
use std::time::Duration;

use contracts::Service;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::cursors::Cursors;
use super::shared::{Place, SharedReadings};
use super::{Cursor, Log};
use crate::bus::{BusError, Message};
use crate::clock::Clock;
use crate::effect::backoff;
use crate::event::Lane;

const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The messages of a subscription that were read and wait to be received, together: a few large ones keep the others out.
pub(super) const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message, and where it was.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) lane: Lane,
    /// Of which reading of the lane it is.
    pub(super) generation: u64,
    pub(super) cursor: Cursor,
    pub(super) message: Message,
    /// What it takes of the room for what waits to be received.
    pub(super) _room: OwnedSemaphorePermit,
}

pub(super) struct Reader {
    pub(super) log: Arc<dyn Log>,
    pub(super) readings: Arc<SharedReadings>,
    pub(super) cursors: Arc<Cursors>,
    pub(super) source: Service,
    pub(super) lane: Lane,
    pub(super) generation: u64,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    /// A permit for each byte that may be read ahead, in all lanes together.
    pub(super) room: Arc<Semaphore>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Reader {
    /// Reads after a cursor, or after what the broker has kept; begins again wherever it is interrupted.
    pub(super) async fn run(self, mut at: Option<Cursor>) {
        let (mut failures, mut is_told) = (0, false);
        let mut connections = self.log.connections();
        loop {
            connections.borrow_and_update();
            let before = at;
            let Err(error) = self.read(&mut at).await else {
                continue;
            };
            let has_moved = at != before;
            failures = if has_moved { 1 } else { failures + 1 };
            is_told &= !has_moved;
            // That the broker is away others tell, and not each of the lanes.
            if !is_told && self.log.is_reached() {
                is_told = true;
                let (source, lane) = (self.source, self.lane.0);
                tracing::warn!(%source, lane, %error, "a lane cannot be read; it goes on by itself");
            }
            tokio::select! {
                () = self.clock.sleep(backoff(failures).min(PAUSE_MAX)) => {}
                _ = connections.changed() => {}
            }
        }
    }

    /// Reads until something is lost on the way, or the connection was made anew.
    async fn read(&self, at: &mut Option<Cursor>) -> Result<(), BusError> {
        let mut connections = self.log.connections();
        connections.borrow_and_update();
        let life = self.log.life().await?;
        let mut cursor = match *at {
            Some(cursor) if cursor.life == life => cursor,
            Some(_) => self.cursors.begin_anew(self.lane, life),
            None => self.cursors.open(self.lane, life).await?,
        };
        *at = Some(cursor);
        let place = Place {
            source: self.source,
            lane: self.lane,
            after: cursor,
        };
        let mut follower = self.readings.follow(&self.log, place).await?;
        loop {
            let found = tokio::select! {
                biased;
                _ = connections.changed() => return Ok(()),
                found = follower.next() => found?,
            };
            cursor.place = found.place;
            if let Some(message) = found.message {
                // One that is larger than all the room has it alone.
                let bytes = u32::try_from(found.bytes.min(WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
                let delivery = Delivery {
                    _room: room.map_err(BusError::new)?,
                    lane: self.lane,
                    generation: self.generation,
                    cursor,
                    message,
                };
                // Nobody is left to receive it, and so this task is about to end.
                let _ = self.deliveries.send(delivery).await;
            }
            *at = Some(cursor);
        }
    }
}
