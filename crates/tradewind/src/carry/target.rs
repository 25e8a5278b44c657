//! A store that is being filled: empty at first, and refused to everybody else until it is whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use contracts::Service;
use kernel::clock::{Clock, Ids};
use kernel::engine::schema;
use kernel::event::Position;
use kernel::reaction::is_restored;
use kernel::store::{Head, Opened, Query};

use crate::stores::{Place, is_unfinished};
use crate::system::Described;

/// What stores are filled for, and of each what it has when that is done.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// `tradewind copy`: how far the journals go that are copied.
    Copy(BTreeMap<Service, Head>),
    /// `tradewind restore`: the checksums of what was backed up.
    Restore(BTreeMap<Service, String>),
}

impl Purpose {
    /// What a store says of itself until it is whole: by this name the same command goes on, and no other opens it.
    fn mark(&self) -> &'static str {
        match self {
            Self::Copy(_) => "copy",
            Self::Restore(_) => "restore",
        }
    }

    /// Whether a store has been filled already, by a command that was cut short later, and not been used since.
    pub async fn is_done(&self, service: Service, store: &dyn Opened) -> Result<bool> {
        match self {
            Self::Copy(heads) => {
                let head = store.tail(Position::START, 0).await?.head;
                let copied = heads.get(&service);
                Ok(copied.is_some_and(|copied| (copied.epoch, copied.position) == (head.epoch, head.position)))
            }
            Self::Restore(checksums) => match checksums.get(&service) {
                Some(checksum) => Ok(is_restored(store, checksum).await?),
                None => Ok(false),
            },
        }
    }
}

/// A store to be filled.
pub struct Target {
    /// It, open.
    pub store: Arc<dyn Opened>,
    /// It is whole already, by a command that was cut short later: it is left as it is.
    pub is_whole: bool,
}

/// Opens stores to fill them: those that are empty, or that the same command began to fill, or has filled and nobody has used
/// since. None is touched before all were looked at, and until each is whole nobody else opens any of them.
pub async fn open_all(
    places: &[(&Described, Place)],
    purpose: &Purpose,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<Vec<Target>> {
    let mut whole = Vec::new();
    for (described, place) in places {
        whole.push(is_whole(place, described, purpose, ids, clock).await?);
    }
    let opening = places.iter().zip(whole).map(async |((described, place), is_whole)| {
        let mark = if is_whole { Vec::new() } else { vec![purpose.mark()] };
        let store = place.open(described, mark, ids, clock).await?;
        anyhow::Ok(Target { store, is_whole })
    });
    futures::future::try_join_all(opening).await
}

/// Whether it was filled already; refuses what has data otherwise, or is in use.
async fn is_whole(
    place: &Place,
    described: &Described,
    purpose: &Purpose,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<bool> {
    let service = described.service;
    let store = match place.open(described, Vec::new(), ids, clock).await {
        Ok(store) => store,
        Err(error) if is_unfinished(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_empty = is_empty(store.as_ref(), described).await?;
    let is_done = !is_empty && purpose.is_done(service, store.as_ref()).await?;
    store.close().await;
    if is_empty {
        return Ok(false);
    }
    if !is_done {
        bail!("{place} has data of {service} already; name another place, or remove it");
    }
    place.check_unused(described, ids, clock).await?;
    Ok(true)
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
