//! Stores that are read as they are, whoever uses them meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kernel::clock::{Clock, Ids};
use kernel::lease;
use kernel::store::Opened;
use kernel::store::carry::Snapshot;

use crate::stores::{Place, StoreUrl};
use crate::system::Described;

/// A store to read.
#[derive(Debug)]
pub struct Source {
    place: Place,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// Opened for each look.
    InFile(PathBuf),
    OnServer(Arc<dyn Opened>),
}

impl Source {
    /// Makes and migrates nothing: what opening would change is refused.
    pub async fn of(place: &Place, described: &Described, ids: &Ids, clock: &dyn Clock) -> Result<Self> {
        let kept = match &place.url {
            StoreUrl::Sqlite(path) if path.exists() => Kept::InFile(path.clone()),
            StoreUrl::Sqlite(_) => bail!("there is no store of {} at {place}: check the path", place.service),
            StoreUrl::Server(..) => {
                if !place.plan(described, ids, clock).await?.is_empty() {
                    bail!(
                        "there is no store of {} at {place} in the form that this version keeps: check the URL, or run \
                         `tradewind migrate`, which `--plan` explains",
                        place.service
                    );
                }
                Kept::OnServer(place.open(described, Vec::new(), ids, clock).await?)
            }
        };
        Ok(Self {
            place: place.clone(),
            kept,
        })
    }

    /// The store as it is now.
    pub async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let snapshot = match &self.kept {
            Kept::OnServer(store) => store.snapshot().await,
            Kept::InFile(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || store_sql::snapshot(&path)).await?
            }
        };
        snapshot.with_context(|| format!("cannot read the store of {} at {}", self.place.service, self.place))
    }

    /// Refuses one that a running shop uses.
    pub async fn check_unused(&self, clock: &dyn Clock) -> Result<()> {
        match &self.kept {
            Kept::OnServer(store) => check_unused(&self.place, store.as_ref(), clock).await,
            Kept::InFile(path) => Ok(store_sql::check_unused(path)?),
        }
    }

    /// Lets go of it.
    pub async fn close(&self) {
        if let Kept::OnServer(store) = &self.kept {
            store.close().await;
        }
    }
}

pub(super) async fn check_unused(place: &Place, store: &dyn Opened, clock: &dyn Clock) -> Result<()> {
    if lease::is_in_use(store, clock).await? {
        bail!(
            "{place} is in use by a running tradewind, which does the background work of {}; stop that one first",
            place.service
        );
    }
    Ok(())
}
