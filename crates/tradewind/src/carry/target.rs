//! A store that is being filled: empty at first, and refused to everybody else until it is whole.

use std::sync::Arc;

use anyhow::{Result, bail};
use kernel::clock::{Clock, Ids};
use kernel::engine::schema;
use kernel::event::Position;
use kernel::store::{Opened, Query};

use crate::stores::{Place, is_unfinished};
use crate::system::Described;

/// What the store says of itself until it is whole: by this name the same command goes on, and no other opens it.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// By `tradewind copy`.
    Copy,
    /// By `tradewind restore`.
    Restore,
}

impl Purpose {
    fn mark(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Restore => "restore",
        }
    }
}

/// Opens stores to fill them: those that are empty, or that the same command began to fill. None is touched before all were
/// looked at, and until each is whole nobody else opens any of them.
pub async fn open_all(
    places: &[(&Described, Place)],
    purpose: Purpose,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<Vec<Arc<dyn Opened>>> {
    for (described, place) in places {
        check_free(place, described, ids, clock).await?;
    }
    let opening = places
        .iter()
        .map(|(described, place)| place.open(described, vec![purpose.mark()], ids, clock));
    futures::future::try_join_all(opening).await
}

async fn check_free(place: &Place, described: &Described, ids: &Ids, clock: &dyn Clock) -> Result<()> {
    match place.open(described, Vec::new(), ids, clock).await {
        Ok(store) => {
            let is_empty = is_empty(store.as_ref(), described).await?;
            store.close().await;
            if !is_empty {
                bail!(
                    "{place} has data of {} already; name another place, or remove it",
                    described.service
                );
            }
            Ok(())
        }
        Err(error) if is_unfinished(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn is_empty(store: &dyn Opened, described: &Described) -> Result<bool> {
    if store.tail(Position::START, 0).await?.head.position > Position::START {
        return Ok(false);
    }
    for collection in schema(described.collections).collections {
        if !store.query(&Query::all(collection, 1)).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
