//! What a group finds on the broker: the lanes of its source, and its own log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::log::{Cursor, Entries, Entry, Life, Log, RosteredLog};
use kernel::bus::shares::Roster;
use kernel::bus::{BusError, Group};
use kernel::event::Lane;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::batch;
use crate::book::Book;
use crate::failure::{ANSWER_MAX, CallError};
use crate::fold::{Proposal, Spot};
use crate::publisher::{PROBE, Publisher};
use crate::streams::Streams;
use crate::tap::{Found, Start, Tap};

/// Messages of a lane that the broker sends ahead. It counts no bytes: with [`batch`] they are 512 KiB, unless events are larger.
const PREFETCH: u16 = 32;
/// How long the message at a cursor is waited for, which is there, before it is asked whether the stream ends before it.
const ANCHOR: Duration = Duration::from_secs(2);
/// Places tell by themselves which stream they are in.
const LIFE: Life = Life(0);

/// Of one group.
#[derive(Debug)]
pub(crate) struct RabbitmqLog {
    group: Group,
    streams: Streams,
    publisher: Arc<Publisher>,
    book: Arc<Book>,
    _following: AbortOnDropHandle<()>,
}

impl RabbitmqLog {
    /// Reads the group's log, and follows it from then on.
    pub(crate) async fn open(
        streams: &Streams,
        publisher: &Arc<Publisher>,
        group: Group,
        book: Book,
    ) -> Result<Self, BusError> {
        let book = Arc::new(book);
        let tap = book.open().await?;
        let following = tokio::spawn(Arc::clone(&book).follow(tap));
        Ok(Self {
            group,
            streams: streams.clone(),
            publisher: Arc::clone(publisher),
            book,
            _following: AbortOnDropHandle::new(following),
        })
    }

    async fn tap(&self, lane: Lane, start: Start) -> Result<Tap, BusError> {
        let line = self.streams.connection.line()?;
        let channel = line.channel().await?;
        let stream = self.streams.stream(self.group.source, lane);
        Ok(Tap::open(line, channel, stream, start, PREFETCH, self.book.clock()).await?)
    }

    /// Begins behind what is done with in the message that was there, or, where the stream is another one than before or has lost its end, at the beginning.
    async fn enter(&self, lane: Lane, after: Spot) -> Result<RabbitmqEntries, BusError> {
        let Some(offset) = after.offset() else {
            return Ok(RabbitmqEntries::new(after.life, self.tap(lane, Start::First).await?));
        };
        let mut tap = self.tap(lane, Start::At(offset)).await?;
        let found = loop {
            match timeout(ANCHOR, tap.next()).await {
                Ok(found) => break Some(found?),
                Err(_) if self.ends_before(lane, offset).await? => break None,
                Err(_) => {}
            }
        };
        match found {
            Some(found) if Spot::after(after.life, found.offset, after.events, found.id) == after => {
                let mut entries = RabbitmqEntries::new(after.life, tap);
                entries.unpack(found, after.events);
                Ok(entries)
            }
            Some(found) if found.offset > offset => {
                // Either the broker has forgotten by age what was there, or something came while it looked for it.
                let mut tap = self.tap(lane, Start::First).await?;
                let first = timeout(ANSWER_MAX, tap.next()).await.map_err(|_| CallError::Silent)??;
                if first.offset <= offset {
                    return Err(BusError::new("RabbitMQ began too late in a stream"));
                }
                let mut entries = RabbitmqEntries::new(after.life, tap);
                entries.unpack(first, 0);
                Ok(entries)
            }
            _ => {
                let (source, anew) = (self.group.source, after.anew());
                tracing::warn!(%source, lane = lane.0, "a stream is another one than before; it is read from its beginning");
                Ok(RabbitmqEntries::new(anew.life, self.tap(lane, Start::First).await?))
            }
        }
    }

    /// Whether the stream has never come as far as this. It does not say where it ends; so something is put there, and looked for.
    async fn ends_before(&self, lane: Lane, offset: u64) -> Result<bool, BusError> {
        let probe = self.publisher.probe(self.group.source, lane).await?;
        let mut end = self.tap(lane, Start::Last).await?;
        let found = async {
            loop {
                let found = end.next().await?;
                if found.id == probe {
                    return Ok::<_, BusError>(found.offset);
                }
            }
        };
        let end = timeout(ANSWER_MAX, found).await.map_err(|_| CallError::Silent)??;
        Ok(end <= offset)
    }
}

#[async_trait]
impl Log for RabbitmqLog {
    async fn life(&self) -> Result<Life, BusError> {
        self.streams.ensure(self.group.source).await?;
        Ok(LIFE)
    }

    async fn read(&self, lane: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError> {
        let entered = self.enter(lane, Spot::of(after.place)).await;
        if entered.is_err()
            && let Ok(line) = self.streams.connection.line()
        {
            // It may be that the stream is not there any more.
            line.forget(self.group.source);
        }
        Ok(Box::new(entered?))
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.streams.connection.made()
    }

    /// Where the broker takes nothing, there may be what nobody could publish.
    fn is_reached(&self) -> bool {
        self.streams.connection.line().is_ok()
    }

    async fn kept(&self, lane: Lane) -> Result<Option<Cursor>, BusError> {
        let spot = self.book.look(|fold| fold.cursor(lane))?;
        Ok(Some(cursor(spot)))
    }

    async fn keep(&self, cursors: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError> {
        let known = self.book.look(|fold| fold.cursors().clone())?;
        let mut next = known.clone();
        for &(lane, cursor) in cursors {
            let spot = next.entry(lane).or_default();
            *spot = Spot::of(cursor.place).max(*spot);
        }
        if next != known {
            self.book.write(None, next.clone()).await?;
        }
        let kept = |&(lane, _): &(Lane, Cursor)| Some((lane, cursor(*next.get(&lane)?)));
        Ok(cursors.iter().filter_map(kept).collect())
    }
}

#[async_trait]
impl RosteredLog for RabbitmqLog {
    async fn roster(&self) -> Result<(Roster, Option<u64>), BusError> {
        self.book.look(|fold| fold.roster())
    }

    async fn write_roster(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError> {
        let cursors: BTreeMap<Lane, Spot> = self.book.look(|fold| fold.cursors().clone())?;
        let proposal = Proposal {
            over,
            next: roster.clone(),
        };
        self.book.write(Some(proposal), cursors).await
    }
}

fn cursor(spot: Spot) -> Cursor {
    Cursor {
        life: LIFE,
        place: spot.place(),
    }
}

/// A lane as it is read.
struct RabbitmqEntries {
    life: u16,
    tap: Tap,
    /// Of the last message.
    waiting: VecDeque<Entry>,
}

#[async_trait]
impl Entries for RabbitmqEntries {
    async fn next(&mut self) -> Result<Entry, BusError> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Ok(entry);
            }
            let found = self.tap.next().await?;
            self.unpack(found, 0);
        }
    }

    fn at_hand(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Some(entry);
            }
            let found = self.tap.at_hand()?;
            self.unpack(found, 0);
        }
    }
}

impl RabbitmqEntries {
    fn new(life: u16, tap: Tap) -> Self {
        Self {
            life,
            tap,
            waiting: VecDeque::new(),
        }
    }

    /// Takes the events of a message but those that are done with: none if it was published to be found.
    fn unpack(&mut self, found: Found, done: u16) {
        let (life, offset, id) = (self.life, found.offset, found.id);
        let events = match (&*found.message_type, found.is_batch) {
            (PROBE, _) => Vec::new(),
            (_, true) => batch::split(&found.bytes),
            (_, false) => vec![found.bytes],
        };
        let entries = (1..=u16::MAX)
            .zip(events)
            .skip(done.into())
            .map(|(number, bytes)| Entry {
                place: Spot::after(life, offset, number, id).place(),
                bytes,
            });
        self.waiting.extend(entries);
    }
}
