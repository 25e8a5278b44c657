//! Runs a service's effects: what its commits begin, what is due, and what others have left.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Attempt, EFFECTS_CONCURRENT_MAX, Effect, EffectRecord, Intent, LEASE, LEASE_RENEWAL, Postponed, Tenure};
use crate::context::Context;
use crate::document::Document as _;
use crate::engine::Engine;
use crate::store::Query;
use crate::writer::{self, Priority};

/// By how many microseconds the clock may be moved without meaning anything.
const SKEW_MAX: u64 = 1_000_000;
/// How often the store is asked for effects that nobody holds.
const SWEEP: Duration = Duration::from_secs(1);

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
    let runner = Arc::new(Runner {
        engine,
        effects,
        under_way: Mutex::default(),
    });
    let engine = &runner.engine;
    let mut running = JoinSet::new();
    // Nobody else can hold an effect of an exclusive store: what a previous process left is taken over at once.
    let mut walk = (!engine.is_shared()).then(Walk::default);
    // Whether something was not taken over since the last step began.
    let mut is_left = false;
    let mut skew = runner.skew();
    let mut sweep_in = Some(engine.clock().sleep(Duration::ZERO));
    loop {
        let free = EFFECTS_CONCURRENT_MAX.saturating_sub(running.len());
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = running.join_next(), if !running.is_empty() => match ended {
                Ok(Ended::Call) => {}
                Ok(Ended::Sweep { due, more, walk: next }) => {
                    for id in due {
                        running.spawn(Arc::clone(&runner).take_over(id));
                    }
                    walk = if is_left { walk } else { next };
                    // A backlog is worked off as fast as calls end, not a page a second.
                    let pause = if more && !is_left { Duration::ZERO } else { SWEEP };
                    sweep_in = Some(engine.clock().sleep(pause));
                }
                Ok(Ended::Untaken) => {
                    // The store does not answer: nothing is taken over for a while, and what the walk has passed may
                    // be left, also by a step that is under way.
                    (walk, is_left) = ((!engine.is_shared()).then(Walk::default), true);
                    sweep_in = sweep_in.map(|_| engine.clock().sleep(SWEEP));
                }
                Err(panic) => {
                    tracing::error!(%panic, "an effect panicked; it is tried again when its lease has ended");
                    // It may have been the sweep.
                    sweep_in.get_or_insert_with(|| engine.clock().sleep(SWEEP));
                }
            },
            () = async { sweep_in.as_mut().expect("checked").await }, if free > 0 && sweep_in.is_some() => {
                (sweep_in, is_left) = (None, false);
                let jumped = runner.skew().abs_diff(skew) > SKEW_MAX;
                if jumped && !engine.is_shared() {
                    // Times in the store mean something else now.
                    engine.life().renew();
                    (skew, walk) = (runner.skew(), Some(Walk::default()));
                }
                running.spawn(Arc::clone(&runner).sweep(walk.clone(), free));
            }
            Some(attempt) = started.recv(), if free > 0 => {
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
    /// What this process calls for at the moment.
    under_way: Mutex<HashSet<Arc<str>>>,
}

/// What a task of the runner's has come to.
enum Ended {
    Call,
    /// An intent could not be taken over, nor seen that somebody holds it.
    Untaken,
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
    /// By how many microseconds the clock is ahead of what is never set.
    fn skew(&self) -> i64 {
        let clock = self.engine.clock();
        let monotonic = i64::try_from(clock.monotonic().as_micros()).unwrap_or(i64::MAX);
        clock.now().as_microsecond().saturating_sub(monotonic)
    }

    /// The next step of the walk, and after that what is due.
    async fn sweep(self: Arc<Self>, walk: Option<Walk>, limit: usize) -> Ended {
        let query = match &walk {
            Some(walk) => {
                let mut query = Query::all(EffectRecord::COLLECTION, limit);
                query.after = walk.after.clone().map(|id| (None, id));
                query
            }
            None => {
                let mut query = Query::by(EffectRecord::COLLECTION, "by_due", Vec::new(), limit);
                query.range = (Bound::Unbounded, Bound::Excluded(self.engine.clock().now().into()));
                query
            }
        };
        match self.engine.reader().ids(&query).await {
            Ok(mut due) => {
                let is_full = due.len() == limit;
                let after = due.last().cloned();
                due.retain(|id| !self.under_way().contains(id));
                Ended::Sweep {
                    more: walk.is_some() || is_full && !due.is_empty(),
                    walk: walk.filter(|_| is_full).map(|_| Walk { after }),
                    due,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "effects cannot be looked up");
                let (due, more) = (Vec::new(), false);
                Ended::Sweep { due, more, walk }
            }
        }
    }

    async fn start(self: Arc<Self>, attempt: Attempt) -> Ended {
        let Tenure { monotonic, life, .. } = attempt.tenure;
        // If it waited for its turn too long, or in another life, it is anybody's; a sweep finds it.
        if life == self.engine.life().number() && self.engine.clock().monotonic() < monotonic + LEASE {
            self.perform(&attempt).await;
        }
        Ended::Call
    }

    /// Takes over an effect that nobody holds, unless somebody else did.
    async fn take_over(self: Arc<Self>, id: Arc<str>) -> Ended {
        let is_shared = self.engine.is_shared();
        let attempt = self.edit(&id, move |record, tenure| {
            let has_lapsed = record.due_at < tenure.now;
            let is_left_over = !is_shared && record.holder != tenure.life;
            (has_lapsed || is_left_over).then(|| {
                record.due_at = tenure.now + LEASE;
                record.attempts += 1;
                record.attempt(tenure)
            })
        });
        match attempt.await {
            Ok(Some(attempt)) => self.perform(&attempt).await,
            Ok(None) => {}
            Err(Unwritten) => return Ended::Untaken,
        }
        Ended::Call
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
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
        let _under_way = UnderWay::new(self, attempt.intent.id());
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
            self.postpone(&attempt.intent, after).await;
        }
    }

    async fn postpone(&self, intent: &Intent, by: Duration) {
        let id = intent.id();
        let postponed = self.edit(&id, move |record, tenure| {
            record.due_at = tenure.now + by;
            Some(())
        });
        // If it is not written, the lease lapses by itself.
        let _ = postponed.await;
    }

    /// Changes an open effect's record.
    async fn edit<R: Send + 'static>(
        &self,
        id: &Arc<str>,
        change: impl Fn(&mut EffectRecord, Tenure) -> Option<R> + Send + 'static,
    ) -> Result<Option<R>, Unwritten> {
        let (id, engine) = (Arc::clone(id), self.engine.clone());
        let edited = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("effects"), move |unit| {
                let Some(record) = unit.get::<EffectRecord>(&id) else {
                    return Ok(None);
                };
                let mut record = EffectRecord::clone(&record);
                let tenure = engine.tenure();
                let answer = change(&mut record, tenure);
                if answer.is_some() {
                    record.holder = tenure.life;
                    unit.put(&id, record);
                }
                Ok(answer)
            });
        edited.await.map_err(|error: writer::Error| {
            tracing::warn!(%error, "an effect's lease cannot be written");
            Unwritten
        })
    }
}

/// A record could not be changed, which the log says.
struct Unwritten;

/// Keeps an intent among those that are under way, until its call ends or panics.
struct UnderWay<'a> {
    runner: &'a Runner,
    id: Arc<str>,
}

impl<'a> UnderWay<'a> {
    fn new(runner: &'a Runner, id: Arc<str>) -> Self {
        runner.under_way().insert(Arc::clone(&id));
        Self { runner, id }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.runner.under_way().remove(&self.id);
    }
}
