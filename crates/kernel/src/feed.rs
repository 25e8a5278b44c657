//! A journal's recent events in memory, so that everybody who follows it shares one read of the store.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::{Epoch, Position, Recorded};
use crate::store::{Store, StoreError};

/// Recent events kept in memory.
const RECENT_EVENTS_MAX: usize = 2048;
/// Their data together; a few large events push the others out.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events read from the store at once.
const PAGE: usize = 512;

/// One journal of this process.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Where it is.
    pub store: Arc<dyn Store>,
    /// Changes with each commit.
    pub head: watch::Receiver<Position>,
}

/// A journal's recent events, each prepared once as an `E` (cheap to clone) for all who follow.
pub struct Feed<E> {
    journal: Journal,
    prepare: Box<dyn Fn(Epoch, Recorded) -> E + Send + Sync>,
    recent: Mutex<Recent<E>>,
    reading: tokio::sync::Mutex<()>,
}

impl<E> fmt::Debug for Feed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl<E: Clone> Feed<E> {
    /// Nothing is read until somebody asks.
    pub fn new(journal: Journal, prepare: impl Fn(Epoch, Recorded) -> E + Send + Sync + 'static) -> Self {
        let recent = Recent {
            epoch: Epoch::default(),
            events: VecDeque::new(),
            bytes: 0,
        };
        Self {
            journal,
            prepare: Box::new(prepare),
            recent: Mutex::new(recent),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The journal itself.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Looks at the events after a position, in order and without a gap, until `max` of them were wanted, or for a page.
    /// Only at the journal's end it gets no further than `position`.
    pub async fn after(
        &self,
        position: Position,
        max: usize,
        wanted: impl Fn(&E) -> bool,
    ) -> Result<Looked<E>, StoreError> {
        if let Some(looked) = self.recent().after(position, max, &wanted) {
            return Ok(looked);
        }
        let _one_reader = self.reading.lock().await;
        if let Some(looked) = self.recent().after(position, max, &wanted) {
            return Ok(looked);
        }
        let tail = self.journal.store.tail(position, PAGE).await?;
        let epoch = tail.head.epoch;
        let events: Vec<Remembered<E>> = tail
            .events
            .into_iter()
            .map(|event| self.remembered(epoch, event))
            .collect();
        self.recent().extend(epoch, &events);
        Ok(look(position, events.iter(), max, wanted))
    }

    /// Follows the journal from after a position on.
    #[must_use]
    pub fn follow(self: &Arc<Self>, after: Position) -> Follower<E> {
        Follower {
            head: self.journal.head.clone(),
            feed: Arc::clone(self),
            after,
        }
    }

    fn remembered(&self, epoch: Epoch, event: Recorded) -> Remembered<E> {
        let (position, bytes) = (event.position, event.data.get().len());
        Remembered {
            position,
            bytes,
            event: (self.prepare)(epoch, event),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent<E>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latest events without a gap.
struct Recent<E> {
    epoch: Epoch,
    events: VecDeque<Remembered<E>>,
    bytes: usize,
}

#[derive(Clone)]
struct Remembered<E> {
    position: Position,
    bytes: usize,
    event: E,
}

/// What there is in a piece of a journal.
#[derive(Clone, Debug)]
pub struct Looked<E> {
    /// Up to where it was looked at.
    pub reached: Position,
    /// What was wanted of it.
    pub events: Vec<(Position, E)>,
}

fn look<'a, E: Clone + 'a>(
    mut reached: Position,
    events: impl Iterator<Item = &'a Remembered<E>>,
    max: usize,
    wanted: impl Fn(&E) -> bool,
) -> Looked<E> {
    let mut found = Vec::new();
    for Remembered { position, event, .. } in events {
        if found.len() == max {
            break;
        }
        reached = *position;
        if wanted(event) {
            found.push((*position, event.clone()));
        }
    }
    Looked { reached, events: found }
}

impl<E: Clone> Recent<E> {
    fn after(&self, position: Position, max: usize, wanted: impl Fn(&E) -> bool) -> Option<Looked<E>> {
        let first = self.events.front()?.position;
        let last = self.events.back()?.position;
        if position.plus(1) < first || position >= last {
            return None;
        }
        let skip = usize::try_from(position.plus(1).0 - first.0).ok()?;
        Some(look(position, self.events.range(skip..), max, wanted))
    }

    fn extend(&mut self, epoch: Epoch, events: &[Remembered<E>]) {
        let Some(first) = events.first() else { return };
        let joins = self
            .events
            .back()
            .is_none_or(|last| last.position.plus(1) == first.position);
        if !joins || self.epoch != epoch {
            // A follower that is far behind reads old events; the recent ones stay.
            if self.events.back().is_some_and(|last| last.position >= first.position) && self.epoch == epoch {
                return;
            }
            self.events.clear();
            self.bytes = 0;
        }
        self.epoch = epoch;
        self.events.extend(events.iter().cloned());
        self.bytes += events.iter().map(|it| it.bytes).sum::<usize>();
        while self.events.len() > RECENT_EVENTS_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

/// Why a follower got nothing.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The store does not answer; it may be asked again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal's service has ended.
    #[error("the journal was closed")]
    Closed,
}

/// A place in a journal. It reads at its own pace: a slow one keeps nothing in memory but its position.
#[derive(Debug)]
pub struct Follower<E> {
    feed: Arc<Feed<E>>,
    head: watch::Receiver<Position>,
    after: Position,
}

impl<E: Clone> Follower<E> {
    /// Waits for events, and looks at them: at some, until `max` of them were wanted. None may be. Safe to drop while
    /// waiting.
    pub async fn next(&mut self, max: usize, wanted: impl Fn(&E) -> bool) -> Result<Vec<(Position, E)>, Lost> {
        loop {
            let head = *self.head.borrow_and_update();
            if self.after < head {
                let Looked { reached, events } = self.feed.after(self.after, max, &wanted).await?;
                if reached > self.after {
                    self.after = reached;
                    return Ok(events);
                }
            }
            self.head.changed().await.map_err(|_| Lost::Closed)?;
        }
    }

    /// Whether everything was looked at.
    #[must_use]
    pub fn is_at_head(&self) -> bool {
        self.after >= *self.head.borrow()
    }

    /// Goes back, if the position is an earlier one.
    pub fn rewind(&mut self, to: Position) {
        self.after = self.after.min(to);
    }

    /// The journal that is followed.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.feed.journal
    }

    /// Up to where it was looked.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }
}

#[cfg(test)]
mod tests {
    use contracts::EventId;
    use uuid::Uuid;

    use super::*;
    use crate::event::{Lane, Meta, StreamId};

    fn remembered(positions: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Remembered<u64>> {
        positions
            .map(|number| Remembered {
                position: Position(number),
                bytes,
                event: number,
            })
            .collect()
    }

    fn recent() -> Recent<u64> {
        Recent {
            epoch: Epoch::default(),
            events: VecDeque::new(),
            bytes: 0,
        }
    }

    fn found(recent: &Recent<u64>, after: u64, max: usize) -> Option<Vec<u64>> {
        let looked = recent.after(Position(after), max, |_| true)?;
        Some(looked.events.into_iter().map(|(_, event)| event).collect())
    }

    #[test]
    fn what_is_recent_is_found_without_a_gap_or_not_at_all() {
        let mut recent = recent();
        assert_eq!(found(&recent, 0, 10), None);
        recent.extend(Epoch::default(), &remembered(5..=8, 1));
        assert_eq!(found(&recent, 3, 10), None);
        assert_eq!(found(&recent, 4, 10), Some(vec![5, 6, 7, 8]));
        assert_eq!(found(&recent, 4, 2), Some(vec![5, 6]));
        assert_eq!(found(&recent, 8, 10), None);
    }

    #[test]
    fn only_what_is_wanted_counts_but_all_of_it_is_looked_at() {
        let mut recent = recent();
        recent.extend(Epoch::default(), &remembered(1..=10, 1));
        let looked = recent.after(Position(0), 2, |event| event % 3 == 0).unwrap();
        assert_eq!((looked.reached, looked.events.len()), (Position(6), 2));
        let looked = recent.after(looked.reached, 2, |event| event % 3 == 0).unwrap();
        assert_eq!((looked.reached, looked.events), (Position(10), vec![(Position(9), 9)]));
    }

    #[test]
    fn a_follower_far_behind_leaves_the_recent_events_alone() {
        let mut recent = recent();
        recent.extend(Epoch::default(), &remembered(1..=2, 1));
        recent.extend(Epoch::default(), &remembered(100..=101, 1));
        recent.extend(Epoch::default(), &remembered(3..=4, 1));
        assert_eq!(found(&recent, 99, 10), Some(vec![100, 101]));
        recent.extend(Epoch(Uuid::from_u128(1)), &remembered(1..=1, 1));
        assert_eq!((found(&recent, 0, 10), recent.bytes), (Some(vec![1]), 1));
    }

    #[test]
    fn memory_is_bounded_by_number_and_by_size() {
        let mut many = recent();
        many.extend(Epoch::default(), &remembered(1..=RECENT_EVENTS_MAX as u64 + 5, 1));
        assert_eq!((many.events.len(), many.bytes), (RECENT_EVENTS_MAX, RECENT_EVENTS_MAX));
        let mut large = recent();
        large.extend(Epoch::default(), &remembered(1..=10, RECENT_BYTES_MAX / 4));
        assert_eq!((large.events.len(), large.bytes), (4, RECENT_BYTES_MAX));
        assert_eq!(found(&large, 6, 10), Some(vec![7, 8, 9, 10]));
    }

    #[tokio::test]
    async fn followers_get_every_event_once_and_share_what_was_read() {
        let schema = crate::engine::schema(&[]);
        let (lanes, store) = (schema.lanes, crate::memory::MemoryStore::new(schema, Uuid::nil()));
        let store: Arc<dyn Store> = Arc::new(store);
        let (sender, head) = watch::channel(Position::START);
        let prepared = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = Arc::clone(&prepared);
        let feed = Arc::new(Feed::new(
            Journal {
                store: Arc::clone(&store),
                head,
            },
            move |_, event| {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                event.position.0
            },
        ));
        let mut followers = [Position::START; 3].map(|from| feed.follow(from));
        let mut seen = [const { Vec::new() }; 3];
        for version in 1..=1000 {
            let stream = StreamId::new("a");
            let meta = Meta {
                schema: 1,
                actor: "a".into(),
                correlation: "c".into(),
                causation: None,
                trace: None,
            };
            let event = crate::event::NewEvent {
                id: EventId::from_uuid(Uuid::from_u128(version.into())),
                lane: Lane::of(&stream, lanes),
                stream,
                version,
                event_type: "a.b".into(),
                time: jiff::Timestamp::UNIX_EPOCH,
                data: serde_json::from_str("{}").unwrap(),
                meta: Arc::new(meta),
            };
            let batch = crate::store::Batch {
                id: Uuid::from_u128(version.into()),
                writer: "w".into(),
                time: jiff::Timestamp::UNIX_EPOCH,
                events: vec![event],
                puts: Vec::new(),
                deletes: Vec::new(),
                reads: Vec::new(),
            };
            sender.send_replace(store.commit(Arc::new(batch)).await.unwrap().last);
            for (nth, (follower, seen)) in followers.iter_mut().zip(&mut seen).enumerate() {
                if version % (nth as u64 + 1) == 0 {
                    seen.extend(
                        follower
                            .next(500, |_| true)
                            .await
                            .unwrap()
                            .into_iter()
                            .map(|(_, event)| event),
                    );
                }
            }
        }
        for (follower, seen) in followers.iter_mut().zip(&mut seen) {
            while !follower.is_at_head() {
                seen.extend(
                    follower
                        .next(7, |_| true)
                        .await
                        .unwrap()
                        .into_iter()
                        .map(|(_, event)| event),
                );
            }
            assert_eq!(*seen, (1..=1000).collect::<Vec<u64>>());
        }
        assert_eq!(prepared.load(std::sync::atomic::Ordering::Relaxed), 1000);
        drop(sender);
        assert!(matches!(followers[0].next(1, |_| true).await, Err(Lost::Closed)));
    }
}
