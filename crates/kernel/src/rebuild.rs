//! Rebuilding: views are emptied and folded again from the journal, offline.

use std::sync::Arc;

use contracts::DecodeError;
use jiff::Timestamp;

use crate::aggregate::{Occurrence, Projected};
use crate::cache::{CACHE_BYTES_MAX, Cache};
use crate::clock::Ids;
use crate::document::{Collection, Key, Kind};
use crate::event::{Position, Recorded};
use crate::overlay::Overlay;
use crate::store::{Batch, CommitError, Delete, Expect, Query, Store, StoreError};
use crate::unit::Views;

/// Events folded, or documents deleted, in one commit.
const PAGE: usize = 1000;

/// How a service folds a recorded event, of whichever of its aggregates, into its views.
pub type Fold = fn(&Recorded, &mut Views<'_>) -> Result<(), DecodeError>;

/// Folds an event of one aggregate. False if it is of another's.
pub fn fold<E: Projected>(recorded: &Recorded, views: &mut Views<'_>) -> Result<bool, DecodeError> {
    if !E::TYPES.iter().any(|kind| kind.name == recorded.event_type) {
        return Ok(false);
    }
    let event = E::decode(&recorded.event_type, recorded.meta.schema, recorded.data.get())?;
    let at = Occurrence {
        stream: &recorded.stream,
        version: recorded.version,
        time: recorded.time,
    };
    event.project(&at, views);
    Ok(true)
}

/// Why views could not be rebuilt. They are incomplete then: run it again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not take the views.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// An event does not decode.
    #[error("the event at position {position} does not decode: {source}")]
    Decode {
        /// Where it is.
        position: Position,
        /// Why.
        source: DecodeError,
    },
    /// A view does not encode or decode.
    #[error("a view is not as expected: {0}")]
    View(String),
}

/// Empties the views of `collections` and folds the whole journal again. `progress` is told the position reached and
/// the last one. No other writer may be at work.
pub async fn rebuild(
    store: &Arc<dyn Store>,
    collections: &[&'static Collection],
    fold: Fold,
    ids: &Ids,
    mut progress: impl FnMut(Position, Position),
) -> Result<u64, Error> {
    for collection in collections.iter().filter(|collection| collection.kind == Kind::View) {
        empty(store, collection, ids).await?;
    }
    // Views fit in memory a page at a time; the cache keeps the hot ones between pages.
    let cache = Cache::new(CACHE_BYTES_MAX);
    let mut after = Position::START;
    loop {
        let tail = store.tail(after, PAGE).await?;
        let Some(last) = tail.events.last().map(|event| event.position) else {
            return Ok(after.0);
        };
        fold_page(store, &cache, &tail.events, fold, ids).await?;
        after = last;
        progress(after, tail.head.position);
    }
}

async fn empty(store: &Arc<dyn Store>, collection: &'static Collection, ids: &Ids) -> Result<(), Error> {
    loop {
        let found = store.query(&Query::all(collection, PAGE)).await?;
        if found.is_empty() {
            return Ok(());
        }
        let deletes = found.into_iter().map(|found| {
            let key = Key {
                collection: collection.name,
                id: found.id,
            };
            Delete {
                key,
                expect: Expect::Version(found.stored.version),
            }
        });
        let deletes = deletes.collect();
        commit(
            store,
            Batch {
                deletes,
                ..batch(store, ids).await?
            },
        )
        .await?;
    }
}

async fn fold_page(
    store: &Arc<dyn Store>,
    cache: &Cache,
    events: &[Recorded],
    fold: Fold,
    ids: &Ids,
) -> Result<(), Error> {
    let mut overlay = Overlay::new(cache.clone(), None);
    for event in events {
        loop {
            let savepoint = overlay.savepoint();
            let folded = fold(event, &mut Views { overlay: &mut overlay });
            folded.map_err(|source| Error::Decode {
                position: event.position,
                source,
            })?;
            let missing = std::mem::take(&mut overlay.missing);
            if missing.is_empty() {
                break;
            }
            overlay.roll_back(savepoint);
            for (key, stored) in missing.iter().cloned().zip(store.get(&missing).await?) {
                overlay.fill(key, stored);
            }
        }
        if let Some(fault) = overlay.fault.take() {
            return Err(Error::View(format!("{fault:?}")));
        }
    }
    let writes = overlay.writes().map_err(|error| Error::View(error.to_string()))?;
    let batch = Batch {
        puts: writes.puts,
        deletes: writes.deletes,
        ..batch(store, ids).await?
    };
    commit(store, batch).await?;
    overlay.publish();
    Ok(())
}

async fn batch(store: &Arc<dyn Store>, ids: &Ids) -> Result<Batch, StoreError> {
    let time: Timestamp = store.tail(Position::START, 0).await?.head.time;
    Ok(Batch {
        id: ids.uuid(time),
        writer: "rebuild".into(),
        time,
        events: Vec::new(),
        puts: Vec::new(),
        deletes: Vec::new(),
        reads: Vec::new(),
    })
}

async fn commit(store: &Arc<dyn Store>, batch: Batch) -> Result<(), CommitError> {
    store.commit(Arc::new(batch)).await.map(|_| ())
}
