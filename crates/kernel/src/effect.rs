//! Effects: calls to the outside. The intent is journaled, the call made with an idempotency key, the outcome journaled.

mod runner;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::context::Context;
use crate::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use crate::writer;

pub(crate) use runner::run;

/// How long a replica holds an effect (and a lane, a relay) before another may take it over.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often a holder renews its lease.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(5);
/// Outside calls under way at once, per service.
pub const EFFECTS_CONCURRENT_MAX: usize = 64;
/// Effects that wait in memory for their turn, at about 300 bytes each. Beyond that they wait in the store until their
/// lease has ended, so this is what a burst may have without a pause.
pub const EFFECTS_QUEUED_MAX: usize = 16 * 1024;

/// Which outside call is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Which of the service's effects; permanent.
    pub kind: Arc<str>,
    /// The id of what it is for; with the kind, the idempotency key of the call.
    pub subject: Arc<str>,
}

impl Intent {
    /// The record's id.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        self.to_string().into()
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.subject)
    }
}

/// An open intent, with the lease of whoever runs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EffectRecord {
    #[serde(flatten)]
    intent: Intent,
    /// When it may be (re)started by anybody; by the clock, which may be set back, and not by the journal's time.
    due_at: Timestamp,
    /// Who runs it until then: see [`Life`].
    #[serde(default)]
    holder: u64,
    attempts: u32,
    correlation: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<Arc<str>>,
}

impl EffectRecord {
    pub(crate) fn attempt(&self, tenure: Tenure) -> Attempt {
        let context = Context {
            trace: self.trace.clone(),
            ..Context::system(Arc::clone(&self.correlation))
        };
        Attempt {
            intent: self.intent.clone(),
            number: self.attempts,
            context,
            tenure,
        }
    }

    pub(crate) fn started(intent: Intent, tenure: Tenure, origin: &Context) -> Self {
        Self {
            intent,
            due_at: tenure.now + LEASE,
            holder: tenure.life,
            attempts: 1,
            correlation: Arc::clone(&origin.correlation),
            trace: origin.trace.clone(),
        }
    }
}

/// What a lease is written by. The journal's time is none of it: it stands still after the clock was set back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenure {
    /// What the clock says.
    pub(crate) now: Timestamp,
    /// The same moment, by what is never set.
    pub(crate) monotonic: Duration,
    /// See [`Life`].
    pub(crate) life: u64,
}

/// A number that tells what an engine does from what was left by one before it, or by itself before its clock was set.
#[derive(Clone, Debug)]
pub(crate) struct Life(Arc<AtomicU64>);

impl Life {
    pub(crate) fn new(number: u64) -> Self {
        Self(Arc::new(AtomicU64::new(number)))
    }

    /// Another one begins.
    fn renew(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn tenure(&self, clock: &dyn Clock) -> Tenure {
        Tenure {
            now: clock.now(),
            monotonic: clock.monotonic(),
            life: self.number(),
        }
    }
}

impl Document for EffectRecord {
    const COLLECTION: &'static Collection = &Collection {
        name: "effects",
        kind: Kind::Record,
        columns: &[Column {
            name: "due_at",
            column_type: ColumnType::Integer,
        }],
        indexes: &[Index {
            name: "by_due",
            columns: &["due_at"],
        }],
    };

    fn columns(&self) -> Vec<Value> {
        vec![self.due_at.into()]
    }
}

/// One try at an outside call.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which call; its text is the idempotency key.
    pub intent: Intent,
    /// From 1.
    pub number: u32,
    /// For the commit of the outcome.
    pub context: Context,
    /// With which it was begun.
    tenure: Tenure,
}

/// Not now: the outside does not answer, or says to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// When to try again.
    pub after: Duration,
    /// For the log.
    pub reason: String,
}

/// A kind of outside call.
#[async_trait]
pub trait Effect: Send + Sync {
    /// Its permanent name, as given to [`crate::unit::Unit::intend`].
    fn kind(&self) -> &'static str;

    /// Calls, and commits the outcome together with [`crate::unit::Unit::finish`]. A timeout is "unknown": postpone, and
    /// call again with the same key. Must be safe to run twice at once, since a lease can lapse.
    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed>;
}

impl From<writer::Error> for Postponed {
    fn from(error: writer::Error) -> Self {
        Self {
            after: Duration::from_secs(1),
            reason: error.to_string(),
        }
    }
}

/// Waits before the next attempt: doubling from 200 ms to a minute.
#[must_use]
pub fn backoff(attempt: u32) -> Duration {
    let doubled = Duration::from_millis(200).saturating_mul(1 << attempt.saturating_sub(1).min(16));
    doubled.min(Duration::from_secs(60))
}
