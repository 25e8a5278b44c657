//! Checkpoints after a restore: what they say of the journal's earlier life holds in the next one too, up to where both
//! are the same.

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

/// Left in a journal that was restored: which life it continues, and up to where. Its id is that life's epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// Of the life that began with the restore.
    epoch: Epoch,
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
    let restored = Restored { epoch, lanes };
    let put = put::<Restored>(&continued.0.to_string(), &restored, Expect::Any);
    commit(store, id, time, vec![put]).await
}

/// Lets the consumers in `store` go on in the present life of the journal of `source`, where they are no further than what
/// both lives have.
pub async fn adopt(store: &dyn Store, id: Uuid, source: Service, journal: &dyn Store) -> Result<Adopted, CommitError> {
    let epoch = journal.tail(Position::START, 0).await?.head.epoch;
    let mut done = Adopted::default();
    let mut puts = Vec::new();
    let restores = journal.query(&Query::all(Restored::COLLECTION, PAGE)).await?;
    let checkpoints = store.query(&Query::all(Checkpoint::COLLECTION, PAGE)).await?;
    for found in restores {
        let continued: Uuid = found.id.parse().map_err(StoreError::new)?;
        let restored: Restored = decoded(&found)?;
        if restored.epoch != epoch {
            continue;
        }
        for found in &checkpoints {
            let Some(seen) = seen(&found.id, &found.stored.document).filter(|seen| seen.source == source) else {
                continue;
            };
            if seen.epoch != Epoch(continued) {
                continue;
            }
            if restored
                .lanes
                .get(seen.lane.index())
                .is_none_or(|last| seen.position > *last)
            {
                done.beyond += 1;
                continue;
            }
            let checkpoint = Checkpoint {
                epoch,
                ..decoded(found)?
            };
            puts.push(put::<Checkpoint>(
                &found.id,
                &checkpoint,
                Expect::Version(found.stored.version),
            ));
        }
    }
    done.adopted = puts.len();
    if !puts.is_empty() {
        let time = store.tail(Position::START, 0).await?.head.time;
        commit(store, id, time, puts).await?;
    }
    Ok(done)
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
