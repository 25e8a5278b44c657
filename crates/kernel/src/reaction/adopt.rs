//! Checkpoints after a restore: what they say of the journal's earlier life holds in the next one too, up to where both
//! are the same.

use std::collections::HashMap;
use std::sync::Arc;

use contracts::Service;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::document::{Collection, Document, Key, Kind};
use crate::event::{Epoch, Lane, Position};
use crate::reaction::Checkpoint;
use crate::store::carry::Carried;
use crate::store::{Batch, CommitError, Expect, Found, Head, Put, Query, Store, StoreError};

/// Checkpoints read at once; a service has some dozens.
const PAGE: usize = 10_000;

/// A life of a journal that began with a restore: which one it continues, and up to where. Its id is its epoch. It is in the
/// journal's own store, and in those of consumers that went on in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The life that was backed up.
    continued: Epoch,
    /// The last position of each lane that both lives have.
    lanes: Vec<Position>,
}

impl Document for Restored {
    const COLLECTION: &'static Collection = &Collection {
        name: "restores",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// What a checkpoint says: how far a consumer has come in a lane of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The journal it follows.
    pub source: Service,
    /// The lane.
    pub lane: Lane,
    /// The journal's life.
    pub epoch: Epoch,
    /// The last event it has seen.
    pub position: Position,
}

/// What was done with the checkpoints of a service on one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// They go on in the new life.
    pub adopted: usize,
    /// They have seen events that were not restored: their lanes are held.
    pub beyond: usize,
}

/// Notes in a journal that was just restored whose life it continues. It must be the last thing before it is used.
pub async fn note_restore(store: &dyn Store, id: Uuid, continued: Epoch) -> Result<(), CommitError> {
    let Head { epoch, lanes, time, .. } = store.tail(Position::START, 0).await?.head;
    let restored = Restored { continued, lanes };
    let put = put::<Restored>(&epoch.0.to_string(), &restored, Expect::Any);
    commit(store, id, time, vec![put]).await
}

/// Lets the consumers in `store` go on in the present life of the journal of `source`, where they are no further than what
/// that has of the life that they know.
pub async fn adopt(store: &dyn Store, id: Uuid, source: Service, journal: &dyn Store) -> Result<Adopted, CommitError> {
    let epoch = journal.tail(Position::START, 0).await?.head.epoch;
    let mut lives = lives(store).await?;
    let of_journal = self::lives(journal).await?;
    lives.extend(of_journal.clone());
    let mut done = Adopted::default();
    let mut puts = Vec::new();
    for found in store.query(&Query::all(Checkpoint::COLLECTION, PAGE)).await? {
        let Some(seen) = seen(&found.id, &found.stored.document).filter(|seen| seen.source == source) else {
            continue;
        };
        match holds(&lives, seen, epoch) {
            _ if seen.epoch == epoch => {}
            Some(true) => {
                let checkpoint = Checkpoint {
                    epoch,
                    ..decoded(&found)?
                };
                let expect = Expect::Version(found.stored.version);
                puts.push(put::<Checkpoint>(&found.id, &checkpoint, expect));
            }
            Some(false) => done.beyond += 1,
            None => {}
        }
    }
    done.adopted = puts.len();
    if !puts.is_empty() {
        // Should the journal be restored once more, they know which life they are in.
        let known = of_journal.iter();
        puts.extend(known.map(|(life, restored)| put::<Restored>(&life.0.to_string(), restored, Expect::Any)));
        let time = store.tail(Position::START, 0).await?.head.time;
        commit(store, id, time, puts).await?;
    }
    Ok(done)
}

/// By their epochs.
type Lives = HashMap<Epoch, Restored>;

async fn lives(store: &dyn Store) -> Result<Lives, StoreError> {
    let found = store.query(&Query::all(Restored::COLLECTION, PAGE)).await?;
    let lives = found.iter().map(|found| {
        let epoch = found.id.parse().map_err(StoreError::new)?;
        Ok((Epoch(epoch), decoded(found)?))
    });
    lives.collect()
}

/// Whether what was seen in one life is the same in another; `None` if they have no beginning in common.
fn holds(lives: &Lives, seen: Seen, epoch: Epoch) -> Option<bool> {
    let known = beginnings(lives, seen.epoch, seen.lane);
    let present = beginnings(lives, epoch, seen.lane);
    let common = known
        .iter()
        .filter_map(|(life, last)| Some((*last).min(*present.get(life)?)));
    common.max().map(|last| seen.position <= last)
}

/// The lives that a life continues, itself included, each with the last position of a lane that both have.
fn beginnings(lives: &Lives, epoch: Epoch, lane: Lane) -> HashMap<Epoch, Position> {
    let mut beginnings = HashMap::from([(epoch, Position(u64::MAX))]);
    let (mut life, mut last) = (epoch, Position(u64::MAX));
    while let Some(Restored { continued, lanes }) = lives.get(&life) {
        last = last.min(lanes.get(lane.index()).copied().unwrap_or_default());
        life = *continued;
        if beginnings.insert(life, last).is_some() {
            break;
        }
    }
    beginnings
}

/// What the checkpoints among a store's documents say.
#[must_use]
pub fn seen_by(checkpoints: &[Carried]) -> Vec<Seen> {
    checkpoints.iter().filter_map(|it| seen(&it.id, &it.document)).collect()
}

fn seen(id: &str, document: &str) -> Option<Seen> {
    let mut parts = id.rsplit('/');
    let lane = Lane(parts.next()?.parse().ok()?);
    let source = parts.next()?.parse().ok()?;
    let Checkpoint { epoch, position, .. } = serde_json::from_str(document).ok()?;
    Some(Seen {
        source,
        lane,
        epoch,
        position,
    })
}

fn decoded<D: Document>(found: &Found) -> Result<D, StoreError> {
    serde_json::from_str(&found.stored.document).map_err(StoreError::new)
}

fn put<D: Document>(id: &str, document: &D, expect: Expect) -> Put {
    let text = serde_json::to_string(document).expect("plain data is JSON");
    Put {
        key: Key::of::<D>(id),
        document: text.into(),
        columns: document.columns(),
        expect,
    }
}

async fn commit(store: &dyn Store, id: Uuid, time: Timestamp, puts: Vec<Put>) -> Result<(), CommitError> {
    let batch = Batch {
        id,
        writer: "restore".into(),
        time,
        events: Vec::new(),
        puts,
        deletes: Vec::new(),
        reads: Vec::new(),
    };
    store.commit(Arc::new(batch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u128) -> Epoch {
        Epoch(Uuid::from_u128(number))
    }

    /// Life 2 continues life 1 up to position 10, life 3 up to 7, and life 4 continues life 2 up to 15.
    fn lives() -> Lives {
        let life = |continued, last| Restored {
            continued: epoch(continued),
            lanes: vec![Position(last)],
        };
        HashMap::from([(epoch(2), life(1, 10)), (epoch(3), life(1, 7)), (epoch(4), life(2, 15))])
    }

    fn seen_in(life: u128, position: u64, present: u128) -> Option<bool> {
        let seen = Seen {
            source: Service::Orders,
            lane: Lane(0),
            epoch: epoch(life),
            position: Position(position),
        };
        holds(&lives(), seen, epoch(present))
    }

    #[test]
    fn what_was_seen_holds_as_far_as_both_lives_are_the_same() {
        assert_eq!(seen_in(1, 10, 2), Some(true));
        assert_eq!(seen_in(1, 11, 2), Some(false));
        assert_eq!(seen_in(2, 14, 4), Some(true));
        assert_eq!(seen_in(1, 11, 4), Some(false), "life 4 has of life 1 what life 2 had");
    }

    #[test]
    fn two_restores_of_one_backup_have_its_life_in_common() {
        assert_eq!(seen_in(2, 7, 3), Some(true));
        assert_eq!(seen_in(2, 8, 3), Some(false));
        assert_eq!(seen_in(4, 7, 3), Some(true));
    }

    #[test]
    fn lives_without_a_common_beginning_say_nothing_of_each_other() {
        assert_eq!(seen_in(9, 1, 2), None);
    }
}
