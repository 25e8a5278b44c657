//! What is to happen within the process, told to it by whoever starts it.

use std::path::PathBuf;

use contracts::Service;
use serde::{Deserialize, Serialize};

/// The environment variable with the plan, as JSON. A process with one is the shop; without, it is the harness.
pub(crate) const VARIABLE: &str = "CRASH_PLAN";

/// What is to happen within one life of the process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where it dies.
    pub(crate) death: Option<Death>,
    /// How its wall clock jumps.
    pub(crate) jump: Option<Jump>,
    /// Where what was published is written down, if journals are published rather than read.
    pub(crate) broker: Option<PathBuf>,
}

/// The process kills itself where a point is reached for the nth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Death {
    pub(crate) point: Point,
    pub(crate) service: Service,
    /// From 1.
    pub(crate) nth: u32,
}

/// The wall clock jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Jump {
    /// After so many milliseconds.
    pub(crate) after_ms: u64,
    /// By so many seconds, forth or back.
    pub(crate) by_s: i64,
}

/// A point between two steps of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Point {
    /// A batch of commands is decided, and the store has it not yet.
    BeforeCommit,
    /// The store has it, and nobody knows.
    AfterCommit,
    /// What a consumer has decided and its checkpoint, which are one batch, are not in the store yet.
    BeforeCheckpoint,
    /// They are, and the bus does not know.
    AfterCheckpoint,
    /// A request is done with, and its client has no answer.
    BeforeAnswer,
    /// A consumer has been handed messages, and has looked at none.
    OnReceipt,
    /// A consumer is done with messages, and the bus does not know.
    BeforeAcknowledgement,
    /// The relay has read the journal, and the broker has nothing.
    BeforePublish,
    /// The broker has it, and the relay's cursor stands where it stood.
    AfterPublish,
    /// The provider is about to be asked.
    BeforeCall,
    /// The provider has acted, and the payment service does not know.
    AfterCall,
}

impl Point {
    /// All there are.
    pub(crate) const ALL: [Self; 11] = [
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeCheckpoint,
        Self::AfterCheckpoint,
        Self::BeforeAnswer,
        Self::OnReceipt,
        Self::BeforeAcknowledgement,
        Self::BeforePublish,
        Self::AfterPublish,
        Self::BeforeCall,
        Self::AfterCall,
    ];

    /// Whether it is there only where journals are published.
    pub(crate) fn needs_a_broker(self) -> bool {
        matches!(self, Self::BeforePublish | Self::AfterPublish)
    }

    /// The services that reach it while customers order, pay and cancel.
    pub(crate) fn services(self) -> &'static [Service] {
        use Service::{Events, Inventory, Notifications, Orders, Payments};
        match self {
            Self::BeforeCommit | Self::AfterCommit => &[Orders, Payments, Notifications],
            Self::BeforeCheckpoint | Self::AfterCheckpoint | Self::OnReceipt | Self::BeforeAcknowledgement => {
                &[Orders, Inventory, Payments, Notifications, Events]
            }
            Self::BeforeAnswer => &[Orders, Payments],
            Self::BeforePublish | Self::AfterPublish => &[Orders, Inventory, Payments],
            Self::BeforeCall | Self::AfterCall => &[Payments],
        }
    }
}
