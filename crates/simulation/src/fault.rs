//! What goes wrong, how often, and how often it has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::dice::Dice;

/// Steps of all services in a run; a usual one takes some ten thousand.
const STEPS_MAX: u64 = 2_000_000;

macro_rules! faults {
    ($($(#[$doc:meta])* $Fault:ident $word:literal $chance:literal)+) => {
        /// A thing that goes wrong between two steps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $Fault,)+ }

        impl Fault {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$Fault,)+];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Fault => $word,)+ }
            }

            /// How often of 10,000 times, where the weather is as usual.
            const fn chance(self) -> u64 {
                match self { $(Self::$Fault => $chance,)+ }
            }
        }
    };
}

faults! {
    /// A service dies before its commit reaches the store.
    CrashBeforeCommit "crash before a commit" 8
    /// It dies when the store has committed, and before anybody knows.
    CrashAfterCommit "crash after a commit" 8
    /// It dies between being told of messages and handling them, or after.
    CrashOnReceipt "crash on receipt" 8
    /// It dies before the broker has what it publishes.
    CrashBeforePublish "crash before publishing" 10
    /// It dies when the broker has it, and before the cursor moves.
    CrashAfterPublish "crash after publishing" 10
    /// It dies before the provider is asked.
    CrashBeforeCall "crash before a call" 150
    /// It dies when the provider has acted, and before the answer is there.
    CrashAfterCall "crash after a call" 150
    /// It dies while nothing in particular happens.
    CrashAnyTime "crash at any time" 600
    /// The store does not answer a read.
    ReadFails "store does not read" 10
    /// The store certainly does not commit.
    CommitFails "store does not commit" 40
    /// The store does not commit, and nobody is told.
    CommitLost "commit lost, outcome unknown" 25
    /// The store commits, and nobody is told.
    CommitUnknown "commit done, outcome unknown" 25
    /// The broker does not take messages.
    PublishFails "broker does not publish" 60
    /// It takes them, and nobody is told: they come again.
    PublishUnknown "published, outcome unknown" 60
    /// A message comes twice.
    MessageTwice "message doubled" 200
    /// A message is lost on its way, and comes again after those behind it.
    MessageLate "message lost and sent again" 100
    /// A lane stands still while others go on.
    LaneLate "lane delayed" 100
    /// A consumer cannot read a message for a while.
    Unreadable "message unreadable" 80
    /// The broker is not there for a while.
    BrokerDown "broker down" 400
    /// The broker loses everything; an operator has all journals published again.
    BrokerWiped "broker wiped" 60
    /// The provider is not there, and says so.
    ProviderDown "provider not available" 500
    /// The provider is not reached, and nobody knows.
    ProviderLost "call lost" 400
    /// The provider acts, and the answer times out.
    ProviderTimesOut "provider times out after acting" 500
    /// The provider acts, and no answer ever comes.
    ProviderSilent "provider acts and stays silent" 250
    /// The wall clock jumps, back or forth.
    ClockJumps "clock jumps" 300
    /// A client goes away in the middle of its request.
    ClientGone "client gone" 300
    /// A client sends the same request twice at once.
    ClientTwice "request doubled" 500
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which faults there may be in a run; made smaller while a failing run is shrunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// The kinds.
    pub kinds: BTreeSet<Fault>,
    /// How many in all.
    pub max: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            kinds: Fault::ALL.iter().copied().collect(),
            max: u64::MAX,
        }
    }
}

/// The faults of one run.
#[derive(Debug)]
pub(crate) struct Faults {
    dice: Dice,
    weather: Weather,
    /// From none (0) over the usual (4) to rough (8).
    force: u64,
    active: AtomicBool,
    count: AtomicU64,
    struck: Mutex<BTreeMap<Fault, u64>>,
    steps: AtomicU64,
    exhausted: Notify,
}

impl Faults {
    pub(crate) fn new(dice: &Dice, weather: Weather) -> Self {
        let force = *dice.pick(&[0, 1, 2, 4, 4, 4, 8]);
        Self {
            dice: dice.clone(),
            weather,
            force,
            active: AtomicBool::new(false),
            count: AtomicU64::new(0),
            struck: Mutex::default(),
            steps: AtomicU64::new(0),
            exhausted: Notify::new(),
        }
    }

    /// From now on, or no more.
    pub(crate) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
    }

    pub(crate) fn are_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether this happens now. The dice are thrown in any case, so that a run without some faults goes like the one
    /// with them up to the first of these.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let thrown = self.dice.below(40_000) < fault.chance() * self.force;
        if !thrown || !self.are_active() || !self.weather.kinds.contains(&fault) {
            return false;
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.weather.max {
            return false;
        }
        *self.struck().entry(fault).or_default() += 1;
        true
    }

    /// Counts a step of some service: a run in which something goes round in circles never ends by its own clock.
    pub(crate) fn count_step(&self) {
        if self.steps.fetch_add(1, Ordering::Relaxed) == STEPS_MAX {
            self.exhausted.notify_one();
        }
    }

    /// Waits until there were too many steps.
    pub(crate) async fn until_exhausted(&self) {
        self.exhausted.notified().await;
    }

    /// How often each has struck.
    pub(crate) fn struck(&self) -> MutexGuard<'_, BTreeMap<Fault, u64>> {
        self.struck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
