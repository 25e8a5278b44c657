//! How a process joins groups, and leaves them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::cursors::Cursors;
use super::shared::SharedReadings;
use super::subscription::LogSubscription;
use super::{Log, RosteredLog};
use crate::bus::keeper::{Keeper, Ledger, Tenancy};
use crate::bus::shares::{Member, Roster};
use crate::bus::{BusError, Group, Subscription};
use crate::clock::{Clock, Ids};
use crate::event::Lane;

/// Those of one process.
#[derive(Debug)]
pub struct Subscriptions {
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    process: Option<Uuid>,
    readings: Arc<SharedReadings>,
    /// The groups whose roster this process has entered under its own name.
    named: Mutex<BTreeSet<Group>>,
    /// How many subscriptions that were dropped have not given their lanes back yet.
    leaving: watch::Sender<usize>,
}

/// Tells a subscription's keeper to give everything back when it is dropped.
#[derive(Debug)]
pub(super) struct Leave {
    stop: CancellationToken,
    leaving: watch::Sender<usize>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.leaving.send_modify(|count| *count += 1);
        self.stop.cancel();
    }
}

impl Subscriptions {
    /// None yet, of a process that has this name again after a restart, and nobody else ever. Without one, what it held when
    /// it was killed lapses before it goes on.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<Ids>, process: Option<Uuid>) -> Self {
        Self {
            clock,
            ids,
            process,
            readings: Arc::default(),
            named: Mutex::default(),
            leaving: watch::Sender::new(0),
        }
    }

    /// Joins a group by its roster.
    ///
    /// # Errors
    /// If the broker is not there, or what it has is about another number of lanes.
    pub async fn open(
        &self,
        group: &Group,
        lanes: u16,
        log: Arc<dyn RosteredLog>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let (me, clock) = (self.member(group), Arc::clone(&self.clock));
        let cursors = Arc::new(Cursors::new(Arc::clone(&log) as Arc<dyn Log>, group.clone()));
        let ledger = Arc::new(Rosters {
            log: Arc::clone(&log),
            cursors: Arc::clone(&cursors),
        });
        let keeper = Keeper::join(group.clone(), me, lanes, ledger, clock).await?;
        let tenancy = keeper.tenancy();
        Ok(self.start(group, log, cursors, tenancy, |stop| keeper.run(stop)))
    }

    /// One that has joined, in whichever way. `keep` sees to its share of the lanes, which is in `tenancy`, until it is told to
    /// stop; then it gives the lanes back.
    pub fn start<K: Future<Output = ()> + Send + 'static>(
        &self,
        group: &Group,
        log: Arc<dyn Log>,
        cursors: Arc<Cursors>,
        tenancy: Arc<Tenancy>,
        keep: impl FnOnce(CancellationToken) -> K,
    ) -> Box<dyn Subscription> {
        let (stop, leaving) = (CancellationToken::new(), self.leaving.clone());
        let keeping = keep(stop.clone());
        tokio::spawn(async move {
            keeping.await;
            leaving.send_modify(|count| *count -= 1);
        });
        let leave = Leave {
            stop,
            leaving: self.leaving.clone(),
        };
        let (clock, readings) = (Arc::clone(&self.clock), Arc::clone(&self.readings));
        let subscription = LogSubscription::new(group.source, log, readings, cursors, tenancy, clock, leave);
        Box::new(subscription)
    }

    /// Waits until those that were dropped have given their lanes back.
    pub async fn close(&self) {
        // The sender is in the same structure, so it is never gone.
        let _ = self.leaving.subscribe().wait_for(|count| *count == 0).await;
    }

    /// A name that no subscription has; the first one of a group has that of the process, so that a process that was killed
    /// and is started again goes on with what it held.
    fn member(&self, group: &Group) -> Member {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let process = self.process.filter(|_| named.insert(group.clone()));
        Member(process.unwrap_or_else(|| self.ids.uuid(self.clock.now())))
    }
}

/// A roster is given to others only when they find what was acknowledged.
#[derive(Debug)]
struct Rosters {
    log: Arc<dyn RosteredLog>,
    cursors: Arc<Cursors>,
}

#[async_trait]
impl Ledger for Rosters {
    async fn read(&self) -> Result<(Roster, Option<u64>), BusError> {
        self.log.roster().await
    }

    async fn write(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError> {
        self.log.write_roster(roster, over).await
    }

    async fn settle(&self, lanes: &BTreeSet<Lane>) -> Result<(), BusError> {
        self.cursors.settle(lanes).await
    }
}
