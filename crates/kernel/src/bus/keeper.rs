//! Keeps a subscription's share of the lanes of its group: reads the roster, writes what [`shares`](super::shares) plans, and
//! says which lanes the subscription may receive. For brokers that have no exclusive consumers.
//!
//! An adapter gives a [`Ledger`], runs [`Keeper::run`] beside the subscription, and asks [`Tenancy`] in each
//! [`receive`](super::Subscription::receive).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::bus::shares::{Member, Roster, Shares};
use crate::bus::{BusError, Group};
use crate::clock::Clock;
use crate::event::Lane;

/// How often the roster is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after somebody else was faster.
const RACE: Duration = Duration::from_millis(20);
/// How often leaving is tried. After that the membership lapses by itself.
const LEAVE_ATTEMPTS_MAX: u32 = 10;

/// Where the broker keeps the roster of one group.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug {
    /// The roster and its version; the default and `None` before anybody has written it.
    async fn read(&self) -> Result<(Roster, Option<u64>), BusError>;

    /// Writes it, if its version still is what was read. False if somebody else was faster.
    async fn write(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError>;

    /// Makes sure that the broker has what was acknowledged in these lanes: somebody else receives them next.
    async fn settle(&self, lanes: &BTreeSet<Lane>) -> Result<(), BusError>;
}

/// What a subscription may receive, between it and its keeper.
#[derive(Debug, Default)]
pub struct Tenancy {
    state: Mutex<State>,
    /// Tells the subscription of changes.
    changes: watch::Sender<()>,
    /// Tells the keeper that a lane was left.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    granted: BTreeSet<Lane>,
    until: Duration,
    /// What the subscription has last said that it receives; it may be at work on messages of these.
    used: BTreeSet<Lane>,
}

impl Tenancy {
    /// The lanes to receive from now on. The subscription has let go of all others, and is at work on nothing.
    pub fn enter(&self) -> BTreeSet<Lane> {
        let mut state = self.state();
        if !state.used.is_subset(&state.granted) {
            self.left.notify_one();
        }
        state.used = state.granted.clone();
        state.used.clone()
    }

    /// Whether what was granted still holds at this time; if not, nothing may be handed out.
    #[must_use]
    pub fn holds(&self, now: Duration) -> bool {
        now < self.state().until
    }

    /// Whether the lane is granted.
    #[must_use]
    pub fn has(&self, lane: Lane) -> bool {
        self.state().granted.contains(&lane)
    }

    /// Changes when there is something new to enter, or when a grant was renewed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Withdraws lanes. Gives those of them that are not in use any more.
    pub fn withdraw(&self, lanes: &BTreeSet<Lane>) -> BTreeSet<Lane> {
        let mut state = self.state();
        state.granted.retain(|lane| !lanes.contains(lane));
        let free = lanes.difference(&state.used).copied().collect();
        drop(state);
        self.changes.send_replace(());
        free
    }

    /// Grants these lanes and no others, until then by the clock's monotonic time.
    pub fn grant(&self, lanes: BTreeSet<Lane>, until: Duration) {
        let mut state = self.state();
        (state.granted, state.until) = (lanes, until);
        drop(state);
        self.changes.send_replace(());
    }

    /// Completes when a lane that was withdrawn is not in use any more.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One member's side of the roster.
#[derive(Debug)]
pub struct Keeper {
    group: Group,
    shares: Shares,
    lanes: u16,
    ledger: Arc<dyn Ledger>,
    tenancy: Arc<Tenancy>,
    clock: Arc<dyn Clock>,
}

impl Keeper {
    /// Of a subscription that has joined, so far as that was possible at once.
    ///
    /// # Errors
    /// If the roster cannot be read or written, or is about another number of lanes.
    pub async fn join(
        group: Group,
        me: Member,
        lanes: u16,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BusError> {
        let mut keeper = Self {
            group,
            shares: Shares::new(me, lanes),
            lanes,
            ledger,
            tenancy: Arc::default(),
            clock,
        };
        keeper.look().await?;
        Ok(keeper)
    }

    /// What the subscription asks.
    #[must_use]
    pub fn tenancy(&self) -> Arc<Tenancy> {
        Arc::clone(&self.tenancy)
    }

    /// Renews, takes and gives lanes until told to stop; then gives everything back. A broker that is away is waited for:
    /// meanwhile the grant runs out.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut pause, mut is_away) = (LOOK, false);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.tenancy.left() => {}
                () = self.clock.sleep(pause) => {}
            }
            let looked = self.look().await;
            if let Err(error) = &looked
                && !is_away
            {
                tracing::warn!(group = %self.group, %error, "the share of lanes cannot be looked at; it is tried again");
            }
            is_away = looked.is_err();
            pause = if matches!(looked, Ok(false)) { RACE } else { LOOK };
        }
        if let Err(error) = self.leave().await {
            tracing::warn!(group = %self.group, %error, "lanes were not given back; others take them once they lapse");
        }
    }

    /// Does what there is to do about the roster. False if somebody else changed it meanwhile.
    async fn look(&mut self) -> Result<bool, BusError> {
        let now = self.clock.monotonic();
        let (roster, version) = self.ledger.read().await?;
        let Some(mut plan) = self.shares.plan(now, &roster) else {
            return Err(BusError::lanes(self.group.source, roster.holders.len(), self.lanes));
        };
        if !plan.surplus.is_empty() {
            let free = self.tenancy.withdraw(&plan.surplus);
            self.ledger.settle(&free).await?;
            plan.let_go(&free);
        }
        if let Some(next) = plan.signed(&roster) {
            if !self.ledger.write(&next, version).await? {
                return Ok(false);
            }
            self.shares.renewed(now);
        }
        self.tenancy.grant(plan.keep, self.shares.until());
        Ok(true)
    }

    async fn leave(&self) -> Result<(), BusError> {
        let all = (0..self.lanes).map(Lane).collect();
        self.ledger.settle(&all).await?;
        for _ in 0..LEAVE_ATTEMPTS_MAX {
            let (roster, version) = self.ledger.read().await?;
            let Some(next) = self.shares.without(&roster) else {
                return Ok(());
            };
            if self.ledger.write(&next, version).await? {
                return Ok(());
            }
            self.clock.sleep(RACE).await;
        }
        Err(BusError::new("others were always faster"))
    }
}
