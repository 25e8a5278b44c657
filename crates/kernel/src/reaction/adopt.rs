//! Checkpoints after a restore: what they say of the journal's earlier life holds in the next one too, up to where both
//! are the same.

use std::collections::HashMap;
use std::sync::Arc;

use contracts::Service;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::document::{Document, Key};
use crate::event::{Epoch, Lane, Position};
use crate::reaction::Checkpoint;
use crate::reaction::lives::{Restored, holds};
use crate::store::carry::Carried;
use crate::store::{Batch, CommitError, Expect, Found, Head, Put, Query, Store, StoreError};

/// Checkpoints read at once; a service has some dozens.
const PAGE: usize = 10_000;

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

/// Notes in a journal that was just restored whose life it continues, and the checksum of what was. It must be the last thing before
/// consumers are told.
pub async fn note_restore(store: &dyn Store, id: Uuid, continued: Epoch, checksum: &str) -> Result<(), CommitError> {
    let Head { epoch, lanes, time, .. } = store.tail(Position::START, 0).await?.head;
    let restored = Restored::new(continued, lanes).of_backup(checksum);
    let put = put::<Restored>(&epoch.0.to_string(), &restored, Expect::Any);
    commit(store, id, time, vec![put]).await
}

/// Whether a journal was restored from what has that checksum, and nothing was appended to it since.
pub async fn is_restored(store: &dyn Store, checksum: &str) -> Result<bool, StoreError> {
    let head = store.tail(Position::START, 0).await?.head;
    let restored = lives(store).await?.remove(&head.epoch);
    Ok(restored.is_some_and(|restored| restored.is_of(checksum, &head.lanes)))
}

/// Lets the consumers in `store` go on in the present life of the journal of `source`, where they are no further than what
/// that has of the life that they know. Those that have seen nothing yet begin in it.
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
        match holds(&lives, (seen.epoch, seen.position), epoch, seen.lane) {
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
    if !of_journal.is_empty() {
        // What a broker has of earlier lives is told apart by these, and so is the next restore.
        let known = of_journal.iter();
        puts.extend(known.map(|(life, restored)| put::<Restored>(&life.0.to_string(), restored, Expect::Any)));
        let begins = Restored::new(epoch, Vec::new());
        puts.push(put::<Restored>(source.as_str(), &begins, Expect::Any));
    }
    if !puts.is_empty() {
        let time = store.tail(Position::START, 0).await?.head.time;
        commit(store, id, time, puts).await?;
    }
    Ok(done)
}

/// By their epochs.
type Lives = HashMap<Epoch, Restored>;

async fn lives(store: &dyn Store) -> Result<Lives, StoreError> {
    let found = store.query(&Query::all(Restored::COLLECTION, PAGE)).await?;
    let lives = found.iter().filter(|found| found.id.parse::<Service>().is_err());
    let lives = lives.map(|found| {
        let epoch = found.id.parse().map_err(StoreError::new)?;
        Ok((Epoch(epoch), decoded(found)?))
    });
    lives.collect()
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
