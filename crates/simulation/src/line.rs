//! What every port of a service goes through: the service's life, chance, and the trace.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use contracts::Service;
use kernel::clock::Clock;
use kernel::memory::bus::MemoryBus;
use tokio::sync::watch;

use crate::dice::Dice;
use crate::fault::{Fault, Faults};
use crate::trace::Trace;

/// How long a step may take.
const STEP_MAX: Duration = Duration::from_millis(4);

/// One life of a service, from its start to its crash.
#[derive(Debug)]
pub(crate) struct Life {
    ended: watch::Sender<bool>,
    /// As the broker sees it: cut off with the life, so that others may have its lanes.
    pub(crate) connection: MemoryBus,
}

impl Life {
    pub(crate) fn new(connection: MemoryBus) -> Arc<Self> {
        let (ended, _) = watch::channel(false);
        Arc::new(Self { ended, connection })
    }

    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
        self.connection.cut();
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub(crate) async fn until_ended(&self) {
        // The sender is here, so it is never gone.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// The line between a service and the world. When the service's life has ended, whatever of it still runs gets no
/// further than its next step.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) service: Service,
    pub(crate) life: Arc<Life>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Dice,
    pub(crate) faults: Arc<Faults>,
    pub(crate) trace: Trace,
}

impl Line {
    /// Takes a moment, or none.
    pub(crate) async fn step(&self) {
        self.faults.count_step();
        if self.dice.below(4) == 0 {
            self.clock.sleep(self.dice.up_to(STEP_MAX)).await;
        }
        self.alive().await;
    }

    /// Goes on only if the service is alive.
    pub(crate) async fn alive(&self) {
        if self.life.has_ended() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the fault happens now, which the trace tells.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let strikes = self.faults.strikes(fault);
        if strikes {
            self.note(|| fault);
        }
        strikes
    }

    /// The service dies here, if the fault happens now.
    pub(crate) async fn may_die(&self, fault: Fault) {
        if self.strikes(fault) {
            self.life.end();
        }
        self.alive().await;
    }

    pub(crate) fn note<T: Display>(&self, what: impl FnOnce() -> T) {
        self.trace
            .note(self.clock.as_ref(), || format!("{}: {}", self.service, what()));
    }
}
