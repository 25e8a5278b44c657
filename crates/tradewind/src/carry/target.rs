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

/// Opens a store to fill it: one that is empty, or that the same command began to fill.
pub async fn open(
    place: &Place,
    described: &Described,
    purpose: Purpose,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<Arc<dyn Opened>> {
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
        }
        Err(error) if is_unfinished(&error) => {}
        Err(error) => return Err(error),
    }
    place.open(described, vec![purpose.mark()], ids, clock).await
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
