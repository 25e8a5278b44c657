//! A store that is being filled: empty at first, and refused to everybody else until it is whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use contracts::Service;
use kernel::clock::{Clock, Ids};
use kernel::engine::schema;
use kernel::event::{Epoch, Position};
use kernel::reaction::is_restored;
use kernel::store::{Head, Opened, Query};

use crate::stores::{Place, is_unfinished};
use crate::system::Described;

/// What stores are filled for, and of each what it has when that is done.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// `tradewind copy`: how far the journals go that are copied.
    Copy(BTreeMap<Service, Head>),
    /// `tradewind restore`: the lives of the journals that were backed up.
    Restore(BTreeMap<Service, Epoch>),
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
            Self::Restore(epochs) => match epochs.get(&service) {
                Some(&epoch) => Ok(is_restored(store, epoch).await?),
                None => Ok(false),
            },
        }
    }
}

/// Opens stores to fill them: those that are empty, or that the same command began to fill. None is touched before all were
/// looked at, and until each is whole nobody else opens any of them.
pub async fn open_all(
    places: &[(&Described, Place)],
    purpose: &Purpose,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<Vec<Arc<dyn Opened>>> {
    for (described, place) in places {
        check_free(place, described, purpose, ids, clock).await?;
    }
    let opening = places
        .iter()
        .map(|(described, place)| place.open(described, vec![purpose.mark()], ids, clock));
    futures::future::try_join_all(opening).await
}

async fn check_free(
    place: &Place,
    described: &Described,
    purpose: &Purpose,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<()> {
    let service = described.service;
    match place.open(described, Vec::new(), ids, clock).await {
        Ok(store) => {
            let is_free =
                is_empty(store.as_ref(), described).await? || purpose.is_done(service, store.as_ref()).await?;
            store.close().await;
            if !is_free {
                bail!("{place} has data of {service} already; name another place, or remove it");
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
