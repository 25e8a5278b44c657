//! One group of commands: decide, commit, settle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::document::Collection;
use crate::overlay::{Beneath, Fault, Overlay};
use crate::store::{Batch, CommitError, Committed, Conflict, Query, Store};
use crate::unit::Turn;
use crate::writer::job::{Job, Verdict};
use crate::writer::{
    CONFLICT_PAUSE_MAX, CONFLICTS_MAX, Error, LOAD_ROUNDS_MAX, Setup, TIME_LEAD_MAX, UNKNOWN_OUTCOME_MAX,
};

/// The state that lasts from one group to the next.
pub(crate) struct Groups<'a> {
    setup: &'a Setup,
    /// No event is earlier than the one before it, whatever the clock does.
    not_before: Timestamp,
}

/// A group that still takes commands: what they decided is in its overlay.
pub(crate) struct Open {
    turn: Turn,
    overlay: Overlay,
    jobs: Vec<Box<dyn Job>>,
    /// Why a job cannot be carried out, in the order of the jobs.
    faults: Vec<Option<Error>>,
}

/// A group whose commit is on its way.
pub(crate) struct Flying {
    overlay: Overlay,
    /// What it writes, for the group that is decided meanwhile.
    pub(crate) beneath: Arc<Beneath>,
    jobs: Vec<Box<dyn Job>>,
    faults: Vec<Option<Error>>,
    appends: bool,
    /// `None` if there is nothing to commit.
    commit: Option<JoinHandle<Result<Committed, CommitError>>>,
}

/// A group that was not committed: its commands, undecided, and why.
pub(crate) struct Crashed {
    jobs: Vec<Box<dyn Job>>,
    error: CommitError,
}

/// Commands to carry out apart from all others, and the conflicts that they have met.
struct Again {
    jobs: Vec<Box<dyn Job>>,
    conflicts: usize,
}

impl Open {
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn into_jobs(self) -> Vec<Box<dyn Job>> {
        self.jobs
    }
}

impl Flying {
    /// Waits for its commit. Safe to drop while waiting.
    pub(crate) async fn landed(&mut self) -> Result<Option<Committed>, CommitError> {
        match &mut self.commit {
            None => Ok(None),
            Some(commit) => match commit.await {
                Ok(outcome) => outcome.map(Some),
                Err(error) => Err(CommitError::Unknown(error.to_string())),
            },
        }
    }
}

impl<'a> Groups<'a> {
    pub(crate) fn new(setup: &'a Setup) -> Self {
        Self {
            setup,
            not_before: Timestamp::UNIX_EPOCH,
        }
    }

    /// A new group, on top of the one that is on its way.
    pub(crate) fn open(&self, flying: Option<&Flying>) -> Open {
        let tenure = self.setup.life.tenure(self.setup.clock.as_ref());
        Open {
            turn: Turn {
                now: tenure.now.max(self.not_before),
                tenure,
                ids: Arc::clone(&self.setup.ids),
                lanes: self.setup.lanes,
            },
            overlay: Overlay::new(
                self.setup.cache.clone(),
                flying.map(|flying| Arc::clone(&flying.beneath)),
            ),
            jobs: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Runs decisions over the group's overlay. Those that ask for a document which is not in memory are run again after
    /// it was read, together with the others that wait.
    pub(crate) async fn decide(&self, open: &mut Open, jobs: Vec<Box<dyn Job>>) {
        let Open {
            turn,
            overlay,
            jobs: all,
            faults,
        } = open;
        let mut waiting: Vec<usize> = (all.len()..all.len() + jobs.len()).collect();
        all.extend(jobs);
        faults.resize_with(all.len(), || None);
        for _ in 0..LOAD_ROUNDS_MAX {
            waiting.retain(|&index| match decide_one(&mut all[index], overlay, turn) {
                Decided::Yes => false,
                Decided::Fault(error) => {
                    faults[index] = Some(error);
                    false
                }
                Decided::Waits => true,
            });
            if waiting.is_empty() {
                return;
            }
            if let Err(error) = self.load(overlay).await {
                for index in waiting {
                    faults[index] = Some(error.clone());
                }
                return;
            }
        }
        for index in waiting {
            faults[index] = Some(Error::Corrupt(
                format!("a decision asked for documents {LOAD_ROUNDS_MAX} times").into(),
            ));
        }
    }

    async fn load(&self, overlay: &mut Overlay) -> Result<(), Error> {
        if !self.setup.shared {
            self.learn_highest(std::mem::take(&mut overlay.unknown)).await?;
        }
        let mut keys = std::mem::take(&mut overlay.missing);
        keys.sort_unstable();
        keys.dedup();
        let stored = self.setup.store.get(&keys).await?;
        for (key, stored) in keys.into_iter().zip(stored) {
            overlay.fill(key, stored);
        }
        Ok(())
    }

    /// Asks for the highest ids of collections. What is on its way to the store is in no cache yet, and raises them when
    /// it has landed.
    async fn learn_highest(&self, mut collections: Vec<&'static Collection>) -> Result<(), Error> {
        collections.sort_unstable_by_key(|collection| collection.name);
        collections.dedup_by_key(|collection| collection.name);
        for collection in collections {
            let mut highest = Query::all(collection, 1);
            highest.descending = true;
            let found = self.setup.store.query(&highest).await?;
            let id = found.into_iter().next().map(|found| found.id);
            self.setup.cache.learn_highest(collection.name, id);
        }
        Ok(())
    }

    /// Sends a group to the store.
    pub(crate) fn begin(&mut self, open: Open) -> Flying {
        let Open {
            turn,
            mut overlay,
            jobs,
            faults,
        } = open;
        self.not_before = turn.now;
        let appends = !overlay.events.is_empty();
        let commit = if !self.setup.shared && overlay.is_unchanged() {
            None
        } else {
            let batch = self.batch(&mut overlay, &turn);
            let (store, clock) = (Arc::clone(&self.setup.store), Arc::clone(&self.setup.clock));
            Some(tokio::spawn(async move {
                settle_outcome(store.as_ref(), clock.as_ref(), Arc::new(batch?)).await
            }))
        };
        Flying {
            beneath: Arc::new(overlay.written()),
            overlay,
            jobs,
            faults,
            appends,
            commit,
        }
    }

    fn batch(&self, overlay: &mut Overlay, turn: &Turn) -> Result<Batch, CommitError> {
        let writes = overlay
            .writes()
            .map_err(|error| CommitError::Content(error.to_string()))?;
        Ok(Batch {
            id: self.setup.ids.uuid(turn.now),
            writer: Arc::clone(&self.setup.name),
            time: turn.now,
            events: std::mem::take(&mut overlay.events),
            puts: writes.puts,
            deletes: writes.deletes,
            // Nobody else writes to an exclusive store, and the writer's own cache is never stale.
            reads: if self.setup.shared { writes.reads } else { Vec::new() },
        })
    }

    /// Answers everybody in a group that was committed, or gives its commands back.
    pub(crate) fn land(&self, flying: Flying, outcome: Result<Option<Committed>, CommitError>) -> Result<(), Crashed> {
        let Flying {
            mut overlay,
            jobs,
            faults,
            appends,
            ..
        } = flying;
        let committed = match outcome {
            Ok(committed) => committed,
            Err(error) => return Err(Crashed { jobs, error }),
        };
        let effects = std::mem::take(&mut overlay.effects);
        overlay.publish();
        if let Some(committed) = committed.filter(|_| appends) {
            super::announce(&self.setup.head, committed.last);
        }
        for attempt in effects {
            // A full queue costs nothing: the effect is in the store and is found there when its lease has ended.
            let _ = self.setup.effects.try_send(attempt);
        }
        for (job, fault) in jobs.into_iter().zip(faults) {
            job.settle(fault.map_or(Ok(()), Err));
        }
        Ok(())
    }

    /// Carries out, one group after another, what was in a group that was not committed, and what was decided on top of
    /// it. If the database refuses some content, or some documents are always changed by others, a group is halved until the
    /// culprit is alone.
    pub(crate) async fn recover(&mut self, crashed: Crashed, on_top: Vec<Box<dyn Job>>) {
        let mut waiting: VecDeque<Again> = self.again(crashed, 0).into();
        if !on_top.is_empty() {
            let conflicts = 0;
            waiting.push_back(Again {
                jobs: on_top,
                conflicts,
            });
        }
        while let Some(Again { jobs, conflicts }) = waiting.pop_front() {
            if jobs.len() == 1 {
                self.setup.clock.sleep(self.pause(conflicts)).await;
            }
            let mut open = self.open(None);
            self.decide(&mut open, jobs).await;
            let mut flying = self.begin(open);
            let outcome = flying.landed().await;
            if let Err(crashed) = self.land(flying, outcome) {
                for again in self.again(crashed, conflicts).into_iter().rev() {
                    // One that has to wait lets all others go first.
                    match again.jobs.len() == 1 && again.conflicts > 1 {
                        true => waiting.push_back(again),
                        false => waiting.push_front(again),
                    }
                }
            }
        }
    }

    /// What is still worth trying of a group that was not committed; the others are answered.
    fn again(&mut self, Crashed { jobs, error }: Crashed, conflicts: usize) -> Vec<Again> {
        let error = match error {
            CommitError::Conflict(found) if conflicts + 1 < CONFLICTS_MAX => {
                // Behind the journal's time is a group as a whole.
                let is_about_some = found.iter().any(|it| !matches!(it, Conflict::Time(_)));
                self.learn(found, conflicts);
                let conflicts = conflicts + 1;
                return match is_about_some && conflicts > 1 && jobs.len() > 1 {
                    true => halves(jobs, conflicts),
                    false => vec![Again { jobs, conflicts }],
                };
            }
            CommitError::Content(_) if jobs.len() > 1 => return halves(jobs, 0),
            CommitError::Conflict(found) => {
                self.learn(found, conflicts);
                Error::Contended
            }
            CommitError::Content(reason) => Error::Content(reason.into()),
            CommitError::Unavailable(error) => Error::Unavailable(error.reason.into()),
            CommitError::Unknown(reason) => {
                // What the cache holds may be older than the store now.
                self.setup.cache.clear();
                Error::Unavailable(reason.into())
            }
        };
        for job in jobs {
            job.settle(Err(error.clone()));
        }
        Vec::new()
    }

    /// How long a command waits that met as many conflicts: the first may be chance, those that follow say that another
    /// replica is at the same documents, and the two must not go on in step.
    fn pause(&self, conflicts: usize) -> Duration {
        let longest = match conflicts {
            0 | 1 => return Duration::ZERO,
            _ => Duration::from_millis(1 << conflicts.min(10)).min(CONFLICT_PAUSE_MAX),
        };
        let mut random = [0];
        self.setup.ids.fill(&mut random);
        longest.mul_f64(f64::from(random[0]).mul_add(0.5 / 256.0, 0.5))
    }

    /// What a group has to know that is decided again, `before` conflicts having come before this one.
    fn learn(&mut self, found: Vec<Conflict>, before: usize) {
        for conflict in found {
            match conflict {
                Conflict::Document(key) => self.setup.cache.forget(&key),
                // The stream's version is known from a document; which one, only the service knows.
                Conflict::Stream(_) => self.setup.cache.clear(),
                Conflict::Time(head) => self.not_before = self.not_before.max(head + lead(before)),
            }
        }
    }
}

fn halves(mut jobs: Vec<Box<dyn Job>>, conflicts: usize) -> Vec<Again> {
    let second = jobs.split_off(jobs.len() / 2);
    [jobs, second].map(|jobs| Again { jobs, conflicts }).into()
}

/// How far beyond the journal's time a group is decided whose time was behind it as often. Replicas whose clocks are ahead
/// by more than a commit takes may leave another time there with each try.
fn lead(tries: usize) -> Duration {
    match tries {
        0 => Duration::ZERO,
        _ => Duration::from_millis(1 << tries.min(10)).min(TIME_LEAD_MAX),
    }
}

/// Commits; if the outcome stays unknown, commits the same batch again until it is known.
async fn settle_outcome(store: &dyn Store, clock: &dyn Clock, batch: Arc<Batch>) -> Result<Committed, CommitError> {
    let give_up = clock.monotonic() + UNKNOWN_OUTCOME_MAX;
    let mut pause = Duration::from_millis(50);
    let mut uncertain = false;
    loop {
        match store.commit(Arc::clone(&batch)).await {
            Err(CommitError::Unknown(reason)) if clock.monotonic() < give_up => {
                tracing::warn!(reason, "the outcome of a commit is unknown; asking again");
                uncertain = true;
            }
            // "Not available" says that this try was not committed; the one before may have been.
            Err(CommitError::Unavailable(_)) if uncertain && clock.monotonic() < give_up => {}
            Err(CommitError::Unavailable(error)) if uncertain => return Err(CommitError::Unknown(error.reason)),
            settled => return settled,
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

enum Decided {
    Yes,
    Fault(Error),
    Waits,
}

fn decide_one(job: &mut Box<dyn Job>, overlay: &mut Overlay, turn: &Turn) -> Decided {
    let savepoint = overlay.savepoint();
    let missing = overlay.missing.len();
    let verdict = job.decide(overlay, turn);
    let fault = overlay.fault.take();
    if overlay.missing.len() > missing {
        overlay.roll_back(savepoint);
        return Decided::Waits;
    }
    let error = match (verdict, fault) {
        (Verdict::Accepted, None) => return Decided::Yes,
        (Verdict::Refused, None) => None,
        (Verdict::Panicked(message), _) => Some(Error::Panicked(message)),
        (_, Some(Fault::EventTooLarge { bytes })) => Some(Error::EventTooLarge { bytes }),
        (_, Some(Fault::Corrupt(what))) => Some(Error::Corrupt(what.into())),
    };
    overlay.roll_back(savepoint);
    error.map_or(Decided::Yes, Decided::Fault)
}
