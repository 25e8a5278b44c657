//! Readings of lanes that the groups of a process share: what the broker would send to each of them, it sends once, and it is
//! understood once.
//!
//! The latest of what was read is remembered, and whoever has come exactly as far as some of it goes on from there. A group that
//! is further behind reads by itself until it has caught up; nobody waits for it, and it misses nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use contracts::Service;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};

use super::{Cursor, Entries, Entry, Log};
use crate::bus::{BusError, Message};
use crate::event::Lane;
use crate::wire;

/// What is remembered of a reading before more is added, in bytes: those on the wire, and what an entry takes besides.
const REMEMBERED_MAX: usize = 256 * 1024;
/// What is read at once, as far as it is at hand, by the same measure.
const AT_ONCE_MAX: usize = 32 * 1024;

/// Those of a process, on one broker: of each lane the one that is furthest on.
#[derive(Debug, Default)]
pub(super) struct SharedReadings(Mutex<HashMap<(Service, Lane), Weak<SharedReading>>>);

/// An entry of a log, as it was read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) place: u128,
    /// On the wire.
    pub(super) bytes: usize,
    /// Nothing where it is none of ours.
    pub(super) message: Option<Message>,
}

impl Found {
    /// What it takes, also where there is next to nothing in it.
    fn weight(&self) -> usize {
        self.bytes + size_of::<Self>()
    }
}

/// Where a group reads.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Service,
    pub(super) lane: Lane,
    /// Behind this.
    pub(super) after: Cursor,
}

/// A group's way through a lane.
#[derive(Debug)]
pub(super) struct Follower {
    readings: Arc<SharedReadings>,
    log: Arc<dyn Log>,
    reading: Arc<SharedReading>,
    at: Place,
    /// Of what comes next, in the reading.
    number: u64,
}

impl SharedReadings {
    /// Reads on behind a place, with others where they have just been there.
    pub(super) async fn follow(self: &Arc<Self>, log: &Arc<dyn Log>, at: Place) -> Result<Follower, BusError> {
        let connection = *log.connections().borrow();
        let shared = match self.with_others(&at, connection) {
            Some(shared) => shared,
            None => {
                let entries = log.read(at.lane, at.after).await?;
                self.share(SharedReading::new(&at, connection, entries), &at)
            }
        };
        let (reading, number) = shared;
        Ok(Follower {
            readings: Arc::clone(self),
            log: Arc::clone(log),
            reading,
            at,
            number,
        })
    }

    /// What others read over the same connection, if what comes next here is remembered or will be.
    fn with_others(&self, at: &Place, connection: u64) -> Option<(Arc<SharedReading>, u64)> {
        let reading = self.lock().get(&(at.source, at.lane))?.upgrade()?;
        let number = reading.number_after(at.after, connection)?;
        Some((reading, number))
    }

    /// Shares a new one, unless others have been as far meanwhile, or are further on.
    fn share(&self, new: SharedReading, at: &Place) -> (Arc<SharedReading>, u64) {
        let connection = new.connection;
        if let Some(shared) = self.with_others(at, connection) {
            return shared;
        }
        let new = Arc::new(new);
        let mut readings = self.lock();
        let furthest = readings.entry((at.source, at.lane)).or_default();
        let is_behind = furthest
            .upgrade()
            .is_some_and(|other| other.is_ahead_of(at.after, connection));
        if !is_behind {
            *furthest = Arc::downgrade(&new);
        }
        (new, 0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Service, Lane), Weak<SharedReading>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Waits for the next entry. Safe to drop while waiting.
    pub(super) async fn next(&mut self) -> Result<Found, BusError> {
        loop {
            match self.reading.remembered(self.number) {
                Remembered::Found(found) => {
                    self.number += 1;
                    self.at.after.place = found.place;
                    return Ok(found);
                }
                Remembered::Forgotten => {
                    *self = self.readings.follow(&self.log, self.at.clone()).await?;
                }
                Remembered::NotYet => match self.others() {
                    Some((reading, number)) => (self.reading, self.number) = (reading, number),
                    None => self.reading.read_beyond(self.number).await?,
                },
            }
        }
    }

    /// Those who are as far in another reading.
    fn others(&self) -> Option<(Arc<SharedReading>, u64)> {
        let others = self.readings.with_others(&self.at, self.reading.connection);
        others.filter(|(reading, _)| !Arc::ptr_eq(reading, &self.reading))
    }
}

/// A lane as it is read from some place on, by whoever has nothing left of what is remembered.
struct SharedReading {
    connection: u64,
    /// Polled on by the next one when who waits for it is gone.
    entries: tokio::sync::Mutex<BoxStream<'static, Result<Vec<Found>, BusError>>>,
    latest: Mutex<Latest>,
}

/// What was read last.
#[derive(Debug)]
struct Latest {
    /// What comes before all that is remembered.
    before: Cursor,
    /// The number of the first that is remembered.
    first: u64,
    found: VecDeque<Found>,
    weight: usize,
    /// Why nothing more can be read.
    end: Option<String>,
}

enum Remembered {
    Found(Found),
    Forgotten,
    NotYet,
}

impl SharedReading {
    fn new(at: &Place, connection: u64, entries: Box<dyn Entries>) -> Self {
        let (source, lane) = (at.source, at.lane);
        let entries = stream::unfold(entries, move |mut entries| async move {
            let next = entries.next().await;
            let next = next.map(|first| with_more(source, lane, first, &mut *entries));
            Some((next, entries))
        });
        Self {
            connection,
            entries: tokio::sync::Mutex::new(entries.boxed()),
            latest: Mutex::new(Latest {
                before: at.after,
                first: 0,
                found: VecDeque::new(),
                weight: 0,
                end: None,
            }),
        }
    }

    /// Of what comes right behind a place, if that is certain.
    fn number_after(&self, cursor: Cursor, connection: u64) -> Option<u64> {
        let latest = self.latest();
        if self.connection != connection || latest.end.is_some() || latest.before.life != cursor.life {
            return None;
        }
        if latest.before.place == cursor.place {
            return Some(latest.first);
        }
        let index = latest.found.binary_search_by_key(&cursor.place, |found| found.place);
        Some(latest.first + index.ok()? as u64 + 1)
    }

    /// Whether it is further on than this, as far as they can be compared.
    fn is_ahead_of(&self, cursor: Cursor, connection: u64) -> bool {
        let latest = self.latest();
        let last = latest.found.back().map_or(latest.before.place, |found| found.place);
        self.connection == connection
            && latest.end.is_none()
            && latest.before.life == cursor.life
            && last > cursor.place
    }

    fn remembered(&self, number: u64) -> Remembered {
        let latest = self.latest();
        let Some(index) = number.checked_sub(latest.first) else {
            return Remembered::Forgotten;
        };
        let found = usize::try_from(index).ok().and_then(|index| latest.found.get(index));
        found.map_or(Remembered::NotYet, |found| Remembered::Found(found.clone()))
    }

    /// Reads what comes next, and what is there by then, unless somebody else has while this one waited.
    async fn read_beyond(&self, number: u64) -> Result<(), BusError> {
        let mut entries = self.entries.lock().await;
        if !matches!(self.remembered(number), Remembered::NotYet) {
            return Ok(());
        }
        if let Some(end) = &self.latest().end {
            return Err(BusError::new(format_args!(
                "what groups read together has ended: {end}"
            )));
        }
        let read = entries
            .next()
            .await
            .unwrap_or_else(|| Err(BusError::new("the log has ended")));
        let mut latest = self.latest();
        match read {
            Ok(read) => latest.remember(read),
            Err(error) => {
                latest.end = Some(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedReading")
            .field("latest", &self.latest)
            .finish_non_exhaustive()
    }
}

impl Latest {
    /// Forgets the oldest for it, and nothing of it: whoever has read it takes it from here.
    fn remember(&mut self, read: Vec<Found>) {
        while self.weight > REMEMBERED_MAX
            && let Some(oldest) = self.found.pop_front()
        {
            self.weight -= oldest.weight();
            self.before.place = oldest.place;
            self.first += 1;
        }
        self.weight += read.iter().map(Found::weight).sum::<usize>();
        self.found.extend(read);
    }
}

/// What was read, with what is at hand behind it.
fn with_more(source: Service, lane: Lane, first: Entry, entries: &mut dyn Entries) -> Vec<Found> {
    let (mut read, mut weight, mut next) = (Vec::new(), 0, Some(first));
    while let Some(entry) = next {
        let found = understand(source, lane, entry);
        weight += found.weight();
        read.push(found);
        next = (weight < AT_ONCE_MAX).then(|| entries.at_hand()).flatten();
    }
    read
}

/// What is none of ours is passed by: were it one, the next message's `prev` would tell.
fn understand(log: Service, of_log: Lane, entry: Entry) -> Found {
    let (lane, place) = (of_log.0, entry.place);
    let message = match wire::decode(&entry.bytes) {
        Ok(message) if message.source == log && message.event.lane == of_log => Some(message),
        Ok(message) => {
            let (source, of_lane) = (message.source, message.event.lane.0);
            tracing::error!(%log, lane, place, %source, of_lane, "an event is where it does not belong");
            None
        }
        Err(error) => {
            tracing::error!(%log, lane, place, %error, "there is something that is no event of ours");
            None
        }
    };
    Found {
        place,
        bytes: entry.bytes.len(),
        message,
    }
}
