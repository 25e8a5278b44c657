//! What one replica of a service does at a time: consumers, timers and the relay. It holds a lease, which the others watch.
//!
//! Whether it has lapsed goes by each replica's own time since it saw the last renewal: clocks differ. A lease only spares work: what is done under one that has lapsed unnoticed is refused or found done by the versions
//! of checkpoints, cursors and documents, as it would be without any.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::Service;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::context::Context;
use crate::document::{Collection, Document, Key, Kind};
use crate::effect::{LEASE, LEASE_RENEWAL};
use crate::engine::{Engine, Others};
use crate::store::{Query, Store, StoreError};
use crate::writer::{self, Priority};

/// How often the others look at it.
const LOOK: Duration = Duration::from_secs(1);
/// Replicas that are heard of.
const REPLICAS_MAX: usize = 200;
const BACKGROUND: &str = "background";

/// Who works in the background, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// See [`crate::engine::Parts::replica`].
    holder: Uuid,
    /// Counts on with each, so that a renewal is seen.
    renewals: u64,
    /// The services whose events the holder's consumers have not seen all of.
    behind_of: Vec<Service>,
    /// Lanes that the holder's consumers hold, by group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lanes_held: BTreeMap<String, u64>,
}

impl Document for Lease {
    const COLLECTION: &'static Collection = &Collection {
        name: "leases",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// Who works in the background, as this replica knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Not known yet, or not any more.
    Unknown,
    /// This replica.
    Ours,
    /// Another one, whose consumers have not seen all events of these services.
    Theirs { behind_of: Vec<Service> },
}

/// Whether some replica works on this store now. Takes a renewal to say, or, where the last one has not ended in order, as long as
/// one that waits for its lease may take to have it.
pub async fn is_in_use(store: &dyn Store, clock: &dyn Clock) -> Result<bool, StoreError> {
    let key = [Key::of::<Lease>(BACKGROUND)];
    let seen = store.get(&key).await?;
    if seen == [None] {
        return Ok(false);
    }
    let until = clock.monotonic() + LEASE + LEASE_RENEWAL;
    while clock.monotonic() < until {
        clock.sleep(LOOK).await;
        if store.get(&key).await? != seen {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lanes that consumers hold, by group: those here, and those in other replicas, as they last said.
pub(crate) async fn lanes_held(engine: &Engine) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut held = engine.lanes_held();
    let Some(replica) = engine.replica() else {
        return Ok(held);
    };
    let all = Query::all(Lease::COLLECTION, REPLICAS_MAX);
    // Where each has lanes of its own, it tells in a record of its own; else whoever holds the lease has them all.
    let each_tells = engine.behind_elsewhere().is_some();
    for (id, lease) in engine.reader().query::<Lease>(&all).await? {
        let is_own = *id == *lease.holder.to_string();
        if lease.holder != replica && is_own == each_tells {
            for (group, lanes) in &lease.lanes_held {
                *held.entry(group.clone()).or_default() += lanes;
            }
        }
    }
    Ok(held)
}

/// Holds the lease when nobody else does, until told to stop; then it is given back.
pub(crate) async fn keep(engine: Engine, replica: Uuid, stop: CancellationToken) {
    let mut keeper = Keeper {
        engine,
        replica,
        seen: None,
        held_until: Duration::ZERO,
        told: None,
        others: BTreeMap::new(),
    };
    let mut look_at = Duration::ZERO;
    let mut found = Duty::Unknown;
    loop {
        if keeper.engine.clock().monotonic() >= look_at {
            found = keeper.look().await;
            let pause = if found == Duty::Ours { LEASE_RENEWAL } else { LOOK };
            look_at = keeper.engine.clock().monotonic() + pause;
        }
        let mut pause = look_at.saturating_sub(keeper.engine.clock().monotonic());
        if keeper.engine.behind_elsewhere().is_some() {
            let others = keeper.hear_of_others().await;
            keeper.engine.learn_of_others(others);
            pause = pause.min(LOOK);
        }
        keeper.engine.duty().send_if_modified(|duty| {
            let changed = *duty != found;
            duty.clone_from(&found);
            changed
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = keeper.engine.clock().sleep(pause) => {}
        }
    }
    keeper.give_back().await;
}

/// What a replica tells of its consumers: the services that they are behind, and the lanes that they hold.
type Told = (Vec<Service>, BTreeMap<String, u64>);

fn told(engine: &Engine) -> Told {
    (engine.behind_of(), engine.lanes_held())
}

struct Keeper {
    engine: Engine,
    replica: Uuid,
    /// Another's lease, and since when it has not been renewed.
    seen: Option<(Lease, Duration)>,
    held_until: Duration,
    /// What this replica has told the others of itself, and when.
    told: Option<(Told, Duration)>,
    /// What the others have told, and since when they have told nothing new.
    others: BTreeMap<Uuid, (Lease, Duration)>,
}

impl Keeper {
    async fn look(&mut self) -> Duty {
        let now = self.engine.clock().monotonic();
        match self.hold_or_see(now).await {
            Ok(lease) if lease.holder == self.replica => {
                self.held_until = now + LEASE;
                Duty::Ours
            }
            Ok(Lease { behind_of, .. }) => Duty::Theirs { behind_of },
            Err(error) => {
                tracing::warn!(service = %self.engine.service(), error, "the lease for background work cannot be looked at");
                match now < self.held_until {
                    true => Duty::Ours,
                    false => Duty::Unknown,
                }
            }
        }
    }

    /// The lease as it is in the end: ours, if it was or if nobody keeps it up.
    async fn hold_or_see(&mut self, now: Duration) -> Result<Lease, String> {
        let found = self.engine.reader().get::<Lease>(BACKGROUND).await;
        let found = found.map_err(|error| error.to_string())?;
        let lapsed = match found.as_deref() {
            Some(lease) if lease.holder != self.replica => {
                if self.seen.as_ref().is_none_or(|(seen, _)| seen != lease) {
                    self.seen = Some((lease.clone(), now));
                }
                let lapsed = self
                    .seen
                    .as_ref()
                    .filter(|(_, since)| now.saturating_sub(*since) >= LEASE);
                match lapsed {
                    Some((lapsed, _)) => Some(lapsed.clone()),
                    None => return Ok(lease.clone()),
                }
            }
            _ => None,
        };
        let held = self.hold(lapsed).await;
        held.map_err(|error| error.to_string())
    }

    /// Takes or renews the lease, unless somebody else has by now another one than what has lapsed.
    async fn hold(&self, lapsed: Option<Lease>) -> Result<Lease, writer::Error> {
        let (holder, (behind_of, lanes_held)) = (self.replica, told(&self.engine));
        self.engine
            .writer()
            .execute(Priority::Background, Context::system("lease"), move |unit| {
                let found = unit.get::<Lease>(BACKGROUND);
                if let Some(other) = found.as_deref().filter(|lease| lease.holder != holder)
                    && lapsed.as_ref() != Some(other)
                {
                    return Ok(other.clone());
                }
                let lease = Lease {
                    holder,
                    renewals: found.map_or(0, |lease| lease.renewals) + 1,
                    behind_of: behind_of.clone(),
                    lanes_held: lanes_held.clone(),
                };
                unit.put(BACKGROUND, lease.clone());
                Ok(lease)
            })
            .await
    }

    /// What other replicas say of their lanes; tells them of those here. `None` if that cannot be known now.
    async fn hear_of_others(&mut self) -> Others {
        let now = self.engine.clock().monotonic();
        let news = told(&self.engine);
        let is_told = |(told, at): &(Told, Duration)| *told == news && now.saturating_sub(*at) < LEASE_RENEWAL;
        if !self.told.as_ref().is_some_and(is_told) {
            self.tell(news.clone()).await.ok()?;
            self.told = Some((news, now));
        }
        let all = Query::all(Lease::COLLECTION, REPLICAS_MAX);
        let all = self.engine.reader().query::<Lease>(&all).await.ok()?;
        let others = all
            .iter()
            .filter(|(id, lease)| **id == *lease.holder.to_string() && lease.holder != self.replica);
        let others: BTreeMap<Uuid, (Lease, Duration)> = others
            .map(|(_, lease)| {
                let seen = self.others.get(&lease.holder).filter(|(seen, _)| seen == &**lease);
                let since = seen.map_or(now, |(_, since)| *since);
                (lease.holder, (Lease::clone(lease), since))
            })
            .collect();
        self.others = others;
        let live = self
            .others
            .values()
            .filter(|(_, since)| now.saturating_sub(*since) < LEASE);
        Some(live.flat_map(|(lease, _)| lease.behind_of.iter().copied()).collect())
    }

    /// Tells the others, in a record of this replica's own. Those of replicas that have lapsed are removed on the way.
    async fn tell(&self, (behind_of, lanes_held): Told) -> Result<(), writer::Error> {
        let holder = self.replica;
        let now = self.engine.clock().monotonic();
        let lapsed = self
            .others
            .iter()
            .filter(|(_, (_, since))| now.saturating_sub(*since) >= LEASE);
        let lapsed: Vec<(Uuid, Lease)> = lapsed.map(|(&replica, (lease, _))| (replica, lease.clone())).collect();
        self.engine
            .writer()
            .execute(Priority::Background, Context::system("lease"), move |unit| {
                let renewals = unit.get::<Lease>(holder).map_or(0, |lease| lease.renewals) + 1;
                let lease = Lease {
                    holder,
                    renewals,
                    behind_of: behind_of.clone(),
                    lanes_held: lanes_held.clone(),
                };
                unit.put(holder, lease);
                for (replica, lease) in &lapsed {
                    if unit.get::<Lease>(replica).is_some_and(|found| *found == *lease) {
                        unit.delete::<Lease>(replica);
                    }
                }
                Ok(())
            })
            .await
    }

    async fn give_back(self) {
        let holder = self.replica;
        let given = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("lease"), move |unit| {
                if unit
                    .get::<Lease>(BACKGROUND)
                    .is_some_and(|lease| lease.holder == holder)
                {
                    unit.delete::<Lease>(BACKGROUND);
                }
                if unit.get::<Lease>(holder).is_some() {
                    unit.delete::<Lease>(holder);
                }
                Ok::<(), writer::Error>(())
            });
        if let Err(error) = given.await {
            tracing::warn!(service = %self.engine.service(), %error, "the lease for background work was not given back; it will lapse");
        }
    }
}

/// Runs a task whenever it is this replica's duty, until told to stop.
pub(crate) async fn while_ours<F: Future<Output = ()>>(
    mut duty: watch::Receiver<Duty>,
    stop: CancellationToken,
    task: impl Fn(CancellationToken) -> F,
) {
    loop {
        let ours = async { duty.wait_for(|duty| *duty == Duty::Ours).await.is_ok() };
        if stop.run_until_cancelled(ours).await != Some(true) {
            return;
        }
        let shift = stop.child_token();
        let work = task(shift.clone());
        tokio::pin!(work);
        let relieved = async { duty.wait_for(|duty| *duty != Duty::Ours).await.is_ok() };
        tokio::select! {
            biased;
            _ = relieved => {}
            () = &mut work => return,
        }
        shift.cancel();
        work.await;
    }
}
