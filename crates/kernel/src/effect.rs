//! Effects: calls to the outside. The intent is journaled, the call made with an idempotency key, the outcome journaled.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use crate::engine::Engine;
use crate::store::{Query, StoreError};
use crate::writer::{self, Priority};

/// How long a replica holds an effect (and a lane, a relay) before another may take it over.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often a holder renews its lease.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(5);
/// Outside calls under way at once, per service.
pub const EFFECTS_CONCURRENT_MAX: usize = 64;
/// Effects that wait in memory for their turn, at about 300 bytes each. Beyond that they wait in the store until their
/// lease has ended, so this is what a burst may have without a pause.
pub const EFFECTS_QUEUED_MAX: usize = 16 * 1024;
/// The longest pause before another attempt, unless an effect says otherwise.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the store is asked for effects that nobody holds.
const SWEEP: Duration = Duration::from_secs(1);

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
    /// Who runs it until then: the number of a process's life.
    #[serde(default)]
    holder: u64,
    attempts: u32,
    correlation: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<Arc<str>>,
}

impl EffectRecord {
    pub(crate) fn attempt(&self) -> Attempt {
        let context = Context {
            trace: self.trace.clone(),
            ..Context::system(Arc::clone(&self.correlation))
        };
        Attempt {
            intent: self.intent.clone(),
            number: self.attempts,
            context,
            held_until: self.due_at,
        }
    }

    pub(crate) fn started(intent: Intent, now: Timestamp, holder: u64, origin: &Context) -> Self {
        Self {
            intent,
            due_at: now + LEASE,
            holder,
            attempts: 1,
            correlation: Arc::clone(&origin.correlation),
            trace: origin.trace.clone(),
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
    /// The end of the lease with which it was begun.
    held_until: Timestamp,
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

    /// The longest that it is ever postponed; what asks for more gets this.
    fn longest_pause(&self) -> Duration {
        PAUSE_MAX
    }

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
    doubled.min(PAUSE_MAX)
}

/// Runs the service's effects until told to stop; those under way are finished or left to their lease.
///
/// Each call is a task of its own. As futures of this one they would stand still whenever it waits itself, some of them
/// with a turn at the store in their hands; and a panic in one would end them all.
pub(crate) async fn run(
    engine: Engine,
    effects: Vec<Arc<dyn Effect>>,
    mut started: mpsc::Receiver<Attempt>,
    stop: CancellationToken,
) {
    let longest_pause = effects.iter().map(|effect| effect.longest_pause()).max();
    let runner = Arc::new(Runner {
        engine,
        effects,
        horizon: longest_pause.unwrap_or(PAUSE_MAX) + LEASE,
    });
    let mut running = JoinSet::new();
    // Nobody else can hold an effect of an exclusive store: what a previous process left is taken over at once.
    let mut walk = (!runner.engine.is_shared()).then(Walk::default);
    let mut sweep_in = Some(runner.engine.clock().sleep(Duration::ZERO));
    loop {
        let free = running.len() < EFFECTS_CONCURRENT_MAX;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = running.join_next(), if !running.is_empty() => match ended {
                Ok(Ended::Call) => {}
                Ok(Ended::Sweep { due, more, walk: next }) => {
                    // A backlog is worked off as fast as calls end, not a page a second.
                    for id in due {
                        running.spawn(Arc::clone(&runner).take_over(id));
                    }
                    walk = next;
                    sweep_in = Some(runner.engine.clock().sleep(if more { Duration::ZERO } else { SWEEP }));
                }
                Err(panic) => {
                    tracing::error!(%panic, "an effect panicked; it is tried again when its lease has ended");
                    // It may have been the sweep.
                    sweep_in.get_or_insert_with(|| runner.engine.clock().sleep(SWEEP));
                }
            },
            () = async { sweep_in.as_mut().expect("checked").await }, if free && sweep_in.is_some() => {
                sweep_in = None;
                running.spawn(Arc::clone(&runner).sweep(walk.clone()));
            }
            Some(attempt) = started.recv(), if free => {
                running.spawn(Arc::clone(&runner).start(attempt));
            }
        }
    }
    let finish = async { while running.join_next().await.is_some() {} };
    tokio::select! {
        biased;
        () = finish => {}
        () = runner.engine.clock().sleep(LEASE_RENEWAL) => {}
    }
}

struct Runner {
    engine: Engine,
    effects: Vec<Arc<dyn Effect>>,
    /// Nothing is put off for longer.
    horizon: Duration,
}

/// What a task of the runner's has come to.
enum Ended {
    Call,
    /// Some intents that perhaps nobody holds.
    Sweep {
        due: Vec<Arc<str>>,
        /// Whether there are more of them.
        more: bool,
        /// What is left of the walk.
        walk: Option<Walk>,
    },
}

/// Through all that is open, by id: how far it has come.
#[derive(Clone, Debug, Default)]
struct Walk {
    after: Option<Arc<str>>,
}

impl Runner {
    /// The next step of the walk, and after that what is due.
    async fn sweep(self: Arc<Self>, walk: Option<Walk>) -> Ended {
        let looked_up = match &walk {
            Some(walk) => self.open_after(walk).await,
            None => self.due().await,
        };
        let due = match looked_up {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "effects cannot be looked up");
                let (due, more) = (Vec::new(), false);
                return Ended::Sweep { due, more, walk };
            }
        };
        let is_full = due.len() == EFFECTS_CONCURRENT_MAX;
        let more = is_full || walk.is_some();
        let after = due.last().cloned();
        let walk = walk.filter(|_| is_full).map(|_| Walk { after });
        Ended::Sweep { due, more, walk }
    }

    async fn open_after(&self, walk: &Walk) -> Result<Vec<Arc<str>>, StoreError> {
        let mut query = Query::all(EffectRecord::COLLECTION, EFFECTS_CONCURRENT_MAX);
        query.after = walk.after.clone().map(|id| (None, id));
        self.engine.reader().ids(&query).await
    }

    async fn due(&self) -> Result<Vec<Arc<str>>, StoreError> {
        let now = self.engine.clock().now();
        let mut due = Vec::new();
        for range in [
            (Bound::Unbounded, Bound::Excluded(now.into())),
            (Bound::Excluded((now + self.horizon).into()), Bound::Unbounded),
        ] {
            let limit = EFFECTS_CONCURRENT_MAX - due.len();
            if limit == 0 {
                break;
            }
            let mut query = Query::by(EffectRecord::COLLECTION, "by_due", Vec::new(), limit);
            query.range = range;
            due.extend(self.engine.reader().ids(&query).await?);
        }
        Ok(due)
    }

    async fn start(self: Arc<Self>, attempt: Attempt) -> Ended {
        // If it waited for its turn too long, it is anybody's; the next sweep finds it.
        if self.engine.clock().now() < attempt.held_until {
            self.perform(&attempt).await;
        }
        Ended::Call
    }

    /// Takes over an effect that nobody holds, unless somebody else did.
    async fn take_over(self: Arc<Self>, id: Arc<str>) -> Ended {
        let (horizon, life, is_shared) = (self.horizon, self.engine.life(), self.engine.is_shared());
        let attempt = self.edit(&id, move |record, now| {
            let has_lapsed = record.due_at < now;
            // It was written before the clock was set back.
            let is_beyond = record.due_at > now + horizon;
            let is_left_over = !is_shared && record.holder != life;
            (has_lapsed || is_beyond || is_left_over).then(|| {
                record.due_at = now + LEASE;
                record.attempts += 1;
                record.attempt()
            })
        });
        if let Some(attempt) = attempt.await {
            self.perform(&attempt).await;
        }
        Ended::Call
    }

    async fn perform(&self, attempt: &Attempt) {
        let Some(effect) = self
            .effects
            .iter()
            .find(|effect| effect.kind() == &*attempt.intent.kind)
        else {
            tracing::error!(intent = %attempt.intent, "no effect of this kind is registered");
            return;
        };
        let renew = async {
            loop {
                self.engine.clock().sleep(LEASE_RENEWAL).await;
                self.postpone(&attempt.intent, LEASE).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = effect.perform(attempt) => outcome,
            () = renew => unreachable!("it is renewed for ever"),
        };
        if let Err(Postponed { after, reason }) = outcome {
            tracing::debug!(intent = %attempt.intent, attempt = attempt.number, reason, "the effect is postponed");
            self.postpone(&attempt.intent, after.min(effect.longest_pause())).await;
        }
    }

    async fn postpone(&self, intent: &Intent, by: Duration) {
        let id = intent.id();
        let postponed = self.edit(&id, move |record, now| {
            record.due_at = now + by;
            Some(())
        });
        postponed.await;
    }

    /// Changes an open effect's record. If the store does not answer, the lease lapses by itself.
    async fn edit<R: Send + 'static>(
        &self,
        id: &Arc<str>,
        change: impl Fn(&mut EffectRecord, Timestamp) -> Option<R> + Send + 'static,
    ) -> Option<R> {
        let (id, clock, life) = (Arc::clone(id), Arc::clone(self.engine.clock()), self.engine.life());
        let edited = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("effects"), move |unit| {
                let Some(record) = unit.get::<EffectRecord>(&id) else {
                    return Ok(None);
                };
                let mut record = EffectRecord::clone(&record);
                let answer = change(&mut record, clock.now());
                if answer.is_some() {
                    record.holder = life;
                    unit.put(&id, record);
                }
                Ok(answer)
            });
        edited.await.unwrap_or_else(|error: writer::Error| {
            tracing::warn!(%error, "an effect's lease cannot be written");
            None
        })
    }
}
