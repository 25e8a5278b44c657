//! Group commit: the one task that changes a service's data.
//!
//! It takes what has queued, runs the decisions one after another over an in-memory overlay, commits once, and only then
//! answers everybody, refusals included. While a commit is on its way, the next group is decided on top of it; should
//! the commit fail, that group is decided anew.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::clock::{Clock, Ids};
use crate::context::Context;
use crate::effect::{Attempt, Life};
use crate::event::Position;
use crate::store::{Store, StoreError};
use crate::unit::Unit;

mod group;
mod job;

use group::{Flying, Groups, Open};
pub(crate) use job::panic_message;
use job::{Call, Job};

/// Commands decided and committed together.
pub const BATCH_COMMANDS_MAX: usize = 512;
/// Commands of reactions, timers and effects gather for so long since the last group began, unless a client's comes: a
/// commit costs the same for one as for many, and a busy saga would else pay it for each event.
pub const BACKGROUND_PACE: Duration = Duration::from_millis(5);
/// Commands of clients that wait; one more is refused as overloaded.
pub const QUEUE_CLIENT_MAX: usize = 4096;
/// Commands of reactions, timers and effects that wait; one more waits outside.
pub const QUEUE_BACKGROUND_MAX: usize = 1024;
/// How often a command is decided again after conflicts, which is for half a second or more.
pub const CONFLICTS_MAX: usize = 16;
/// How long a command waits at most before it is decided again after another conflict.
pub const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(64);
/// How far ahead of a journal's time a group is decided that was behind it over and over.
pub const TIME_LEAD_MAX: Duration = Duration::from_secs(1);
/// How often a decision may ask for documents that are not in memory.
pub const LOAD_ROUNDS_MAX: usize = 32;
/// How long the outcome of a commit is asked for before the writer gives up on it.
pub const UNKNOWN_OUTCOME_MAX: Duration = Duration::from_secs(30);

/// Whose commands come first when both wait: those that finish what was begun, so that load never starves the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Reactions, timers, effects. Waits when the queue is full.
    Background,
    /// A client's request. Refused when the queue is full.
    Client,
}

/// Why a command was not carried out although nobody refused it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The queue is full; try again in a moment.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The store does not answer. The command was not carried out, unless the outcome stayed unknown.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// Other writers were faster, over and over.
    #[error("the command met conflicting changes {CONFLICTS_MAX} times")]
    Contended,
    /// The decision panicked; nothing was changed.
    #[error("the decision panicked: {0}")]
    Panicked(Arc<str>),
    /// An event is larger than every broker takes.
    #[error(
        "an event of {bytes} bytes is larger than the limit of {} bytes",
        crate::store::EVENT_BYTES_MAX
    )]
    EventTooLarge {
        /// Size of its data.
        bytes: usize,
    },
    /// The database will not take a value.
    #[error("the database refuses the content: {0}")]
    Content(Arc<str>),
    /// A stored document or answer does not decode.
    #[error("stored data is not as expected: {0}")]
    Corrupt(Arc<str>),
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The first request with this idempotency key has no answer yet.
    #[error("the first request with this idempotency key is still being worked on")]
    InProgress,
    /// The process is ending.
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.reason.into())
    }
}

/// The way to the writer; cheap to clone.
#[derive(Clone)]
pub struct Writer {
    client: mpsc::Sender<Box<dyn Job>>,
    background: mpsc::Sender<Box<dyn Job>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("client_queue_free", &self.client.capacity())
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Decides, commits, answers. The command finishes even when the caller goes away.
    pub async fn execute<R, E, F>(&self, priority: Priority, context: Context, decide: F) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnMut(&mut Unit<'_>) -> Result<R, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Call::new(context, decide, answer));
        match priority {
            Priority::Client => self.client.try_send(job).map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => Error::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Error::ShuttingDown,
            })?,
            Priority::Background => self.background.send(job).await.map_err(|_| Error::ShuttingDown)?,
        }
        answered.await.unwrap_or_else(|_| Err(Error::ShuttingDown.into()))
    }
}

/// What the writer task works with.
pub(crate) struct Setup {
    pub(crate) name: Arc<str>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cache: Cache,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) lanes: u16,
    /// For the leases of effects.
    pub(crate) life: Life,
    /// Whether other processes write to the same store, so that what was read must be checked.
    pub(crate) shared: bool,
    /// Told the head after each commit.
    pub(crate) head: watch::Sender<Position>,
    /// Told the effects that a commit began.
    pub(crate) effects: mpsc::Sender<Attempt>,
}

/// Tells how far the journal goes, unless that is known.
pub(crate) fn announce(head: &watch::Sender<Position>, last: Position) {
    head.send_if_modified(|head| {
        let news = *head < last;
        *head = last.max(*head);
        news
    });
}

/// The writer and the task that must run for it to answer.
pub(crate) fn writer(setup: Setup) -> (Writer, Task) {
    let (client, client_jobs) = mpsc::channel(QUEUE_CLIENT_MAX);
    let (background, background_jobs) = mpsc::channel(QUEUE_BACKGROUND_MAX);
    (
        Writer { client, background },
        Task {
            setup,
            client_jobs,
            background_jobs,
        },
    )
}

pub(crate) struct Task {
    setup: Setup,
    client_jobs: mpsc::Receiver<Box<dyn Job>>,
    background_jobs: mpsc::Receiver<Box<dyn Job>>,
}

impl Task {
    /// Runs until `stop`; then what was already queued is still carried out.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self {
            setup,
            client_jobs,
            background_jobs,
        } = self;
        let mut queues = [Queue::new(background_jobs), Queue::new(client_jobs)];
        let mut groups = Groups::new(&setup);
        let mut flying: Option<Flying> = None;
        let mut open: Option<Open> = None;
        // Whether a client waits for the open group.
        let mut hasty = false;
        let mut paced = Duration::ZERO;
        loop {
            let [background, client] = &mut queues;
            let room = BATCH_COMMANDS_MAX - open.as_ref().map_or(0, Open::len);
            // How long the open group still waits for others, if none is on its way to the store.
            let due = match (&flying, &open) {
                (None, Some(_)) if hasty || room == 0 || background.is_over => Some(Duration::ZERO),
                (None, Some(_)) => Some(paced.saturating_sub(setup.clock.monotonic())),
                (None, None) if background.is_over && client.is_over => return,
                _ => None,
            };
            if let Some(group) = open.take_if(|_| due == Some(Duration::ZERO)) {
                flying = Some(groups.begin(group));
                hasty = false;
                paced = setup.clock.monotonic() + BACKGROUND_PACE;
                continue;
            }
            let first = tokio::select! {
                biased;
                outcome = async { flying.as_mut().expect("it is there").landed().await }, if flying.is_some() => {
                    let flown = flying.take().expect("it is there");
                    if let Err(crashed) = groups.land(flown, outcome) {
                        // What was decided on top of it was decided on what is not so.
                        let on_top = open.take().map(Open::into_jobs);
                        groups.recover(crashed, on_top.unwrap_or_default()).await;
                        hasty = false;
                    }
                    continue;
                }
                () = stop.cancelled(), if !background.is_closed => {
                    background.close();
                    client.close();
                    continue;
                }
                job = background.next(), if room > 0 && !background.is_over => job,
                job = client.next(), if room > 0 && !client.is_over => {
                    hasty |= job.is_some();
                    job
                }
                () = setup.clock.sleep(due.unwrap_or_default()), if due.is_some() => continue,
            };
            let mut jobs: Vec<_> = first.into_iter().collect();
            jobs.extend(std::iter::from_fn(|| background.jobs.try_recv().ok()).take(room - jobs.len()));
            let before = jobs.len();
            jobs.extend(std::iter::from_fn(|| client.jobs.try_recv().ok()).take(room - jobs.len()));
            hasty |= jobs.len() > before;
            if jobs.is_empty() {
                continue;
            }
            let group = open.get_or_insert_with(|| groups.open(flying.as_ref()));
            groups.decide(group, jobs).await;
        }
    }
}

/// Commands that wait.
struct Queue {
    jobs: mpsc::Receiver<Box<dyn Job>>,
    /// Takes no more.
    is_closed: bool,
    /// Has no more, and takes none.
    is_over: bool,
}

impl Queue {
    fn new(jobs: mpsc::Receiver<Box<dyn Job>>) -> Self {
        Self {
            jobs,
            is_closed: false,
            is_over: false,
        }
    }

    fn close(&mut self) {
        self.jobs.close();
        self.is_closed = true;
    }

    /// Waits for one.
    async fn next(&mut self) -> Option<Box<dyn Job>> {
        let job = self.jobs.recv().await;
        self.is_over = job.is_none();
        job
    }
}
