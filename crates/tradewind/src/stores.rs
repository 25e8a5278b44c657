//! Where the services' stores are, and opening them.

mod opening;
mod reading;
mod url;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use contracts::Service;
use kernel::clock::{Clock, Ids};
use kernel::store::Opened;
use kernel::store::opening::Refusal;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::stores::opening::Opening;
pub use crate::stores::reading::Source;
pub use crate::stores::url::{Driver, ServerUrl, StoreUrl, UrlArgument};
use crate::system::{Described, SERVICES};
use crate::topology::Topology;

/// Where the store of one service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    service: Service,
    /// What its part of a database is called.
    name: &'static str,
    url: StoreUrl,
}

impl Place {
    /// As configured: its own, or its part of the one for all, or a file in the data directory.
    #[must_use]
    pub fn of(service: Service, config: &Config, data: &DataDirectory) -> Self {
        let url = match (config.store_of(service), &config.store) {
            (Some(own), _) => own.clone(),
            (None, Some(all)) => all.part(service.as_str()),
            (None, None) => StoreUrl::Sqlite(data.store(service)),
        };
        Self::called(service, service.as_str(), url)
    }

    /// A service's part of one for all.
    #[must_use]
    pub fn within(service: Service, all: &StoreUrl) -> Self {
        Self::beside(service, service.as_str(), all)
    }

    /// A store like that of a service, under another name beside those of all services.
    #[must_use]
    pub fn beside(service: Service, name: &'static str, all: &StoreUrl) -> Self {
        Self::called(service, name, all.part(name))
    }

    /// This one, for this service alone.
    #[must_use]
    pub fn at(service: Service, url: &StoreUrl) -> Self {
        Self::called(service, service.as_str(), url.clone())
    }

    fn called(service: Service, name: &'static str, url: StoreUrl) -> Self {
        Self { service, name, url }
    }

    /// What a person is told of the stores: those that lie elsewhere than in the data directory, one line each.
    #[must_use]
    pub fn summary(config: &Config, topology: &Topology, data: &DataDirectory) -> Vec<String> {
        let here = || SERVICES.iter().filter(|it| topology.runs(it.service));
        let shares_one = here().any(|it| config.store_of(it.service).is_none());
        let all = config.store.iter().filter(|_| shares_one).map(ToString::to_string);
        let own = here().filter(|it| config.store_of(it.service).is_some());
        let own = own.map(|it| format!("{}, of {}", Self::of(it.service, config, data), it.service));
        all.chain(own).collect()
    }

    /// Refuses a configuration in which two services would write into one store: it has room for one journal.
    pub fn check_apart(config: &Config) -> Result<()> {
        let data = DataDirectory::imagine(&config.data)?;
        let places = SERVICES.map(|described| Self::of(described.service, config, &data));
        for (number, place) in places.iter().enumerate() {
            let same = places[..number].iter().find(|other| other.is_same_store(place));
            if let Some(other) = same {
                bail!(
                    "{} and {} would share the store {place}, which has room for one of them: give each its own, or set \
                     TRADEWIND_STORE alone",
                    other.service,
                    place.service
                );
            }
        }
        Ok(())
    }

    fn is_same_store(&self, other: &Self) -> bool {
        let parts_by_name = matches!(self.url, StoreUrl::Server(Driver::Postgres, _));
        match (&self.url, &other.url) {
            (StoreUrl::Server(_, one), StoreUrl::Server(_, two)) => {
                one.is_same_database(two) && (!parts_by_name || self.name == other.name)
            }
            (one, two) => one == two,
        }
    }

    /// Whether other processes may write there too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.url, StoreUrl::Server(..))
    }

    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.url {
            StoreUrl::Sqlite(path) => Some(path),
            StoreUrl::Server(..) => None,
        }
    }

    /// Opens, and so makes and migrates, the store. The collections of `rebuild` are emptied, to be filled again.
    pub async fn open(
        &self,
        described: &Described,
        rebuild: Vec<&'static str>,
        ids: &Ids,
        clock: &dyn Clock,
    ) -> Result<Arc<dyn Opened>> {
        let opened = async { Opening::of(self, described, rebuild, ids, clock)?.open().await };
        opened.await.with_context(|| self.unopened())
    }

    /// Refuses a store that a running shop uses, as far as others may use it at all. It is made and migrated if need be.
    pub async fn check_unused(&self, described: &Described, ids: &Ids, clock: &dyn Clock) -> Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        // What its own collections lack is what a rebuild is for.
        let kernel_only = Described {
            collections: &[],
            ..*described
        };
        match self.open(&kernel_only, Vec::new(), ids, clock).await {
            Ok(store) => {
                let checked = reading::check_unused(self, store.as_ref(), clock).await;
                store.close().await;
                checked
            }
            // No shop starts on it before it is whole.
            Err(error) if is_unfinished(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What opening it would run, in order: SQL, or commands for mongosh. Changes nothing; refuses what opening refuses.
    pub async fn plan(&self, described: &Described, ids: &Ids, clock: &dyn Clock) -> Result<Vec<String>> {
        let planned = async { Opening::of(self, described, Vec::new(), ids, clock)?.plan().await };
        planned.await.with_context(|| self.unopened())
    }

    /// How a remark begins in the language of a plan.
    #[must_use]
    pub fn remark(&self) -> &'static str {
        match self.url {
            StoreUrl::Server(Driver::Mongodb, _) => "//",
            StoreUrl::Sqlite(_) | StoreUrl::Server(..) => "--",
        }
    }

    fn unopened(&self) -> String {
        format!("cannot open the store of {} at {self}", self.service)
    }
}

/// Whether a store was not opened because it is not whole: filling it was begun and not finished.
#[must_use]
pub fn is_unfinished(error: &anyhow::Error) -> bool {
    #[cfg(feature = "mongodb")]
    if let Some(store_mongodb::OpenError::Refused(refusal)) = error.downcast_ref() {
        return matches!(refusal, Refusal::Unfinished(_));
    }
    matches!(
        error.downcast_ref(),
        Some(store_sql::OpenError::Refused(Refusal::Unfinished(_)))
    )
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            StoreUrl::Sqlite(path) => write!(f, "{}", path.display()),
            StoreUrl::Server(Driver::Postgres, _) => write!(f, "{} (schema {})", self.url, self.name),
            StoreUrl::Server(..) => write!(f, "{}", self.url),
        }
    }
}
