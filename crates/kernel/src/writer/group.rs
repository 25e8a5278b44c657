//! One group of commands: decide, commit, settle.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::Position;
use crate::overlay::{Fault, Overlay};
use crate::store::{Batch, CommitError, Committed, Conflict};
use crate::unit::Turn;
use crate::writer::job::{Job, Verdict};
use crate::writer::{CONFLICTS_MAX, Error, LOAD_ROUNDS_MAX, Setup, UNKNOWN_OUTCOME_MAX};

/// The state that lasts from one group to the next.
pub(crate) struct Group<'a> {
    setup: &'a Setup,
    /// No event is earlier than the one before it, whatever the clock does.
    not_before: Timestamp,
}

/// What became of a group that could not be committed.
enum Failed {
    /// Nothing can be done for any of them now.
    All(Error),
    /// One of them holds content that the database refuses.
    Content(Error),
}

impl<'a> Group<'a> {
    pub(crate) fn new(setup: &'a Setup) -> Self {
        Self {
            setup,
            not_before: Timestamp::UNIX_EPOCH,
        }
    }

    /// Carries out all the jobs. If the database refuses some content, the group is halved until the culprit is alone.
    pub(crate) async fn process(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut groups = vec![jobs];
        while let Some(mut jobs) = groups.pop() {
            match self.carry_out(&mut jobs).await {
                Ok(faults) => {
                    for (job, fault) in jobs.into_iter().zip(faults) {
                        job.settle(fault.map_or(Ok(()), Err));
                    }
                }
                Err(Failed::Content(_)) if jobs.len() > 1 => {
                    let second = jobs.split_off(jobs.len() / 2);
                    groups.push(second);
                    groups.push(jobs);
                }
                Err(Failed::All(error) | Failed::Content(error)) => {
                    for job in jobs {
                        job.settle(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Decides and commits, again after a conflict. Answers with each job's own fault.
    async fn carry_out(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Option<Error>>, Failed> {
        for _ in 0..CONFLICTS_MAX {
            let turn = Turn {
                now: self.setup.clock.now().max(self.not_before),
                ids: Arc::clone(&self.setup.ids),
                lanes: self.setup.lanes,
            };
            let (overlay, faults) = self.decide(jobs, &turn).await?;
            match self.commit(overlay, &turn).await {
                Ok(()) => {
                    self.not_before = turn.now;
                    return Ok(faults);
                }
                Err(CommitError::Conflict(conflicts)) => self.learn(conflicts),
                Err(CommitError::Content(reason)) => return Err(Failed::Content(Error::Content(reason.into()))),
                Err(CommitError::Unavailable(error)) => {
                    return Err(Failed::All(Error::Unavailable(error.reason.into())));
                }
                Err(CommitError::Unknown(reason)) => {
                    // What the cache holds may be older than the store now.
                    self.setup.cache.clear();
                    return Err(Failed::All(Error::Unavailable(reason.into())));
                }
            }
        }
        Err(Failed::All(Error::Contended))
    }

    fn learn(&mut self, conflicts: Vec<Conflict>) {
        for conflict in conflicts {
            match conflict {
                Conflict::Document(key) => self.setup.cache.forget(&key),
                // The stream's version is known from a document; which one, only the service knows.
                Conflict::Stream(_) => self.setup.cache.clear(),
                Conflict::Time(head) => self.not_before = self.not_before.max(head),
            }
        }
    }

    /// Runs the decisions over one overlay. Those that ask for a document which is not in memory are run again after it
    /// was read, together with the others that wait.
    async fn decide(&self, jobs: &mut [Box<dyn Job>], turn: &Turn) -> Result<(Overlay, Vec<Option<Error>>), Failed> {
        let mut overlay = Overlay::new(self.setup.cache.clone());
        let mut faults: Vec<Option<Error>> = jobs.iter().map(|_| None).collect();
        let mut waiting: Vec<usize> = (0..jobs.len()).collect();
        for _ in 0..LOAD_ROUNDS_MAX {
            waiting.retain(|&index| match decide_one(&mut jobs[index], &mut overlay, turn) {
                Decided::Yes => false,
                Decided::Fault(error) => {
                    faults[index] = Some(error);
                    false
                }
                Decided::Waits => true,
            });
            if waiting.is_empty() {
                return Ok((overlay, faults));
            }
            self.load(&mut overlay).await?;
        }
        for index in waiting {
            faults[index] = Some(Error::Corrupt(
                format!("a decision asked for documents {LOAD_ROUNDS_MAX} times").into(),
            ));
        }
        Ok((overlay, faults))
    }

    async fn load(&self, overlay: &mut Overlay) -> Result<(), Failed> {
        let mut keys = std::mem::take(&mut overlay.missing);
        keys.sort_unstable();
        keys.dedup();
        let stored = self.setup.store.get(&keys).await;
        let stored = stored.map_err(|error| Failed::All(Error::Unavailable(error.reason.into())))?;
        for (key, stored) in keys.into_iter().zip(stored) {
            overlay.fill(key, stored);
        }
        Ok(())
    }

    async fn commit(&self, mut overlay: Overlay, turn: &Turn) -> Result<(), CommitError> {
        if !self.setup.shared && overlay.is_unchanged() {
            overlay.publish();
            return Ok(());
        }
        let writes = overlay
            .writes()
            .map_err(|error| CommitError::Content(error.to_string()))?;
        let events = std::mem::take(&mut overlay.events);
        let appended = !events.is_empty();
        let batch = Arc::new(Batch {
            id: self.setup.ids.uuid(turn.now),
            writer: Arc::clone(&self.setup.name),
            time: turn.now,
            events,
            puts: writes.puts,
            deletes: writes.deletes,
            // Nobody else writes to an exclusive store, and the writer's own cache is never stale.
            reads: if self.setup.shared { writes.reads } else { Vec::new() },
        });
        let committed = self.settle_outcome(batch).await?;
        let effects = std::mem::take(&mut overlay.effects);
        overlay.publish();
        if appended {
            self.announce(committed.last);
        }
        for attempt in effects {
            // A full queue costs nothing: the effect is in the store and is found there when its lease has ended.
            let _ = self.setup.effects.try_send(attempt);
        }
        Ok(())
    }

    /// Commits; if the outcome stays unknown, commits the same batch again until it is known.
    async fn settle_outcome(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        let give_up = self.setup.clock.monotonic() + UNKNOWN_OUTCOME_MAX;
        let mut pause = Duration::from_millis(50);
        let mut uncertain = false;
        loop {
            match self.setup.store.commit(Arc::clone(&batch)).await {
                Err(CommitError::Unknown(reason)) if self.setup.clock.monotonic() < give_up => {
                    tracing::warn!(reason, "the outcome of a commit is unknown; asking again");
                    uncertain = true;
                }
                // "Not available" says that this try was not committed; the one before may have been.
                Err(CommitError::Unavailable(_)) if uncertain && self.setup.clock.monotonic() < give_up => {}
                Err(CommitError::Unavailable(error)) if uncertain => return Err(CommitError::Unknown(error.reason)),
                settled => return settled,
            }
            self.setup.clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn announce(&self, last: Position) {
        self.setup.head.send_if_modified(|head| {
            let news = *head < last;
            *head = last.max(*head);
            news
        });
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
