//! What a service runs on: its store, the writer, readers, time, and the tasks that go with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::Service;
use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::bus::Group;
use crate::cache::{CACHE_BYTES_MAX, Cache};
use crate::clock::{Clock, Ids};
use crate::context::Context;
use crate::deadline::{self, Deadline, Expired};
use crate::document::{Collection, Document};
use crate::effect::{self, Attempt, Effect, EffectRecord, Life, Tenure};
use crate::erasure::ErasedUser;
use crate::event::{LANES_DEFAULT, Position};
use crate::idempotency::{self, Answer};
use crate::lease::{self, Duty, Lease};
use crate::owner::{self, Owner};
use crate::reaction::{Checkpoint, DeadLetter, ParkedStream, Progress, Restored};
use crate::reader::Reader;
use crate::relay::RelayCursor;
use crate::store::{Schema, Store};
use crate::writer::{self, Priority, Setup, Writer};

pub use crate::owner::StartError;

/// The collections that every service has besides its own.
pub const KERNEL_COLLECTIONS: &[&Collection] = &[
    Answer::COLLECTION,
    Checkpoint::COLLECTION,
    DeadLetter::COLLECTION,
    ParkedStream::COLLECTION,
    EffectRecord::COLLECTION,
    ErasedUser::COLLECTION,
    RelayCursor::COLLECTION,
    Lease::COLLECTION,
    Owner::COLLECTION,
    Restored::COLLECTION,
    crate::secret::Secret::COLLECTION,
];

/// How often the journal is asked for what other replicas have added to it.
const HEAD_POLL: Duration = Duration::from_millis(100);
/// The same, while the store does not answer.
const HEAD_POLL_DOWN: Duration = Duration::from_secs(1);

/// The schema of a service: its own collections and the kernel's.
#[must_use]
pub fn schema(own: &[&'static Collection]) -> Schema {
    Schema {
        collections: KERNEL_COLLECTIONS.iter().chain(own).copied().collect(),
        lanes: LANES_DEFAULT,
    }
}

/// What an engine is built from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The service's store, migrated.
    pub store: Arc<dyn Store>,
    /// Where other processes may write to the same store, the name of this one among them: nobody else has it, and it
    /// keeps it over a restart. `None` where the store is its own.
    pub replica: Option<Uuid>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<Ids>,
}

/// A service's foundation; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// The services whose events other replicas' consumers have not seen all of; `None` while that is not known.
pub(crate) type Others = Option<BTreeSet<Service>>;

struct Inner {
    service: Service,
    parts: Parts,
    life: Life,
    writer: Writer,
    reader: Reader,
    head: watch::Receiver<Position>,
    /// Whose the background work is, where there are several replicas.
    duty: watch::Sender<Duty>,
    /// Whether a relay brings the journal to a broker.
    is_published: AtomicBool,
    /// Where replicas share the lanes of their consumers: what is known of the others.
    others: Mutex<Option<Others>>,
    /// How each consumer does, with the service whose events it follows.
    consumers: Mutex<Vec<(Group, Arc<Progress>)>>,
    tasks: Tasks,
}

/// The tasks of a service, in the order in which they end: first what reacts, then the writer.
struct Tasks {
    background: TaskTracker,
    background_stop: CancellationToken,
    writer: TaskTracker,
    writer_stop: CancellationToken,
    /// Set by the first that panics.
    failed: Arc<AtomicBool>,
    effects: Mutex<Option<mpsc::Receiver<Attempt>>>,
}

impl Tasks {
    /// The task; should it panic, that is noted, since nobody waits for it.
    fn watched(
        &self,
        service: Service,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let failed = Arc::clone(&self.failed);
        AssertUnwindSafe(task).catch_unwind().map(move |ended| {
            if let Err(panic) = ended {
                let message = writer::panic_message(panic.as_ref());
                tracing::error!(%service, message = &*message, "a task of the service has panicked; start the process again");
                failed.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("service", &self.inner.service)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the writer. Timers, effects and reactions start when their service asks for it.
    ///
    /// # Errors
    /// If the store does not answer, or is another service's.
    pub async fn start(service: Service, parts: Parts) -> Result<Self, StartError> {
        let position = parts.store.tail(Position::START, 0).await?.head.position;
        let (head_changes, head) = watch::channel(position);
        let (effects_started, effects) = mpsc::channel(effect::EFFECTS_QUEUED_MAX);
        let cache = Cache::new(CACHE_BYTES_MAX);
        let writer_id = parts.ids.uuid(parts.clock.now());
        let life = Life::new(writer_id.as_u64_pair().1);
        let (writer, task) = writer::writer(Setup {
            // Where others write too, a name that nobody has had, so that its last batch is found when an outcome is
            // unknown: what a predecessor sent before it was killed may still arrive. That leaves a small row behind for each
            // start. An exclusive store has one writer, and needs one row.
            name: match parts.replica {
                Some(_) => writer_id.to_string().into(),
                None => service.as_str().into(),
            },
            store: Arc::clone(&parts.store),
            cache: cache.clone(),
            clock: Arc::clone(&parts.clock),
            ids: Arc::clone(&parts.ids),
            lanes: LANES_DEFAULT,
            life: life.clone(),
            shared: parts.replica.is_some(),
            head: head_changes.clone(),
            effects: effects_started,
        });
        let tasks = Tasks {
            background: TaskTracker::new(),
            background_stop: CancellationToken::new(),
            writer: TaskTracker::new(),
            writer_stop: CancellationToken::new(),
            failed: Arc::default(),
            effects: Mutex::new(Some(effects)),
        };
        tasks
            .writer
            .spawn(tasks.watched(service, task.run(tasks.writer_stop.clone())));
        let reader = Reader::new(Arc::clone(&parts.store), cache, parts.replica.is_some());
        let replica = parts.replica;
        let duty = replica.map_or(Duty::Ours, |_| Duty::Unknown);
        let engine = Self {
            inner: Arc::new(Inner {
                service,
                parts,
                life,
                writer,
                reader,
                head,
                duty: watch::Sender::new(duty),
                is_published: AtomicBool::new(false),
                others: Mutex::default(),
                consumers: Mutex::default(),
                tasks,
            }),
        };
        if let Err(error) = owner::claim(&engine).await {
            engine.stop().await;
            return Err(error);
        }
        if let Some(replica) = replica {
            engine.spawn(|stop| follow_head(engine.clone(), head_changes, stop));
            engine.spawn(|stop| lease::keep(engine.clone(), replica, stop));
        }
        engine.watch(Arc::new(idempotency::Expiry { engine: engine.clone() }));
        Ok(engine)
    }

    /// Whose engine it is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.inner.service
    }

    /// The way to change anything.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// The way to read anything.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.parts.clock
    }

    /// Ids and secrets.
    #[must_use]
    pub fn ids(&self) -> &Arc<Ids> {
        &self.inner.parts.ids
    }

    /// Notes that the journal is published to a broker.
    pub(crate) fn publishes(&self) {
        self.inner.is_published.store(true, Ordering::Relaxed);
    }

    /// Whether the journal is published to a broker.
    pub(crate) fn is_published(&self) -> bool {
        self.inner.is_published.load(Ordering::Relaxed)
    }

    /// Whether other processes write to the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.parts.replica.is_some()
    }

    /// This process's name among those.
    pub(crate) fn replica(&self) -> Option<Uuid> {
        self.inner.parts.replica
    }

    /// What a lease is written by, now.
    pub(crate) fn tenure(&self) -> Tenure {
        self.inner.life.tenure(self.clock().as_ref())
    }

    /// The life of this engine, which tells what it does from what was left before.
    pub(crate) fn life(&self) -> &Life {
        &self.inner.life
    }

    /// The journal's last position, as this process knows it: changes with each commit, and soon after one by another
    /// replica.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Position> {
        self.inner.head.clone()
    }

    /// Runs a task until the service stops.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce(CancellationToken) -> F) {
        let tasks = &self.inner.tasks;
        let task = task(tasks.background_stop.clone());
        tasks.background.spawn(tasks.watched(self.service(), task));
    }

    /// Runs a task on one replica at a time, until the service stops. It may be told to stop and be started again.
    pub fn spawn_alone<F: Future<Output = ()> + Send + 'static>(
        &self,
        task: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) {
        let duty = self.inner.duty.subscribe();
        self.spawn(move |stop| lease::while_ours(duty, stop, task));
    }

    /// Whose the background work is.
    pub(crate) fn duty(&self) -> &watch::Sender<Duty> {
        &self.inner.duty
    }

    /// Notes that consumers here have a part of the lanes, and those of other replicas the rest.
    pub(crate) fn consume_beside_others(&self) {
        *self.others() = Some(Others::default());
    }

    /// The services whose events consumers of other replicas have not seen all of, where they have lanes of their own;
    /// `Some(None)` while that is not known.
    pub(crate) fn behind_elsewhere(&self) -> Option<Others> {
        self.others().clone()
    }

    /// Notes it, or that it is not known.
    pub(crate) fn learn_of_others(&self, others: Others) {
        *self.others() = Some(others);
    }

    fn others(&self) -> MutexGuard<'_, Option<Others>> {
        self.inner.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a consumer among those that tell whether events of its source are still to be seen.
    pub(crate) fn consumes(&self, group: Group, progress: Arc<Progress>) {
        self.consumers().push((group, progress));
    }

    /// The services whose events the consumers here have not seen all of.
    pub(crate) fn behind_of(&self) -> Vec<Service> {
        let consumers = self.consumers();
        let behind = consumers.iter().filter(|(_, progress)| progress.is_behind());
        behind
            .map(|(group, _)| group.source)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Lanes that the consumers here hold, by group; those that hold none are left out.
    pub(crate) fn lanes_held(&self) -> BTreeMap<String, u64> {
        let consumers = self.consumers();
        let held = consumers
            .iter()
            .map(|(group, progress)| (group.to_string(), progress.lanes_held()));
        held.filter(|(_, lanes)| *lanes > 0).collect()
    }

    fn consumers(&self) -> MutexGuard<'_, Vec<(Group, Arc<Progress>)>> {
        self.inner.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of the service's tasks has panicked, which none should: the process is to be started again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.inner.tasks.failed.load(Ordering::Relaxed)
    }

    /// Completes when the service begins to end: for what is open without being a task, such as a live stream.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.tasks.background_stop.clone().cancelled_owned()
    }

    /// Watches a kind of timer.
    pub fn watch(&self, deadline: Arc<dyn Deadline>) {
        let engine = self.clone();
        self.spawn_alone(move |stop| deadline::run(engine.clone(), Arc::clone(&deadline), stop));
    }

    /// Runs the service's effects. To be called once, with all of them, before any command is given.
    pub fn perform(&self, effects: Vec<Arc<dyn Effect>>) {
        let taken = self
            .inner
            .tasks
            .effects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let started = taken.expect("a service names its effects once");
        let engine = self.clone();
        self.spawn(move |stop| effect::run(engine, effects, started, stop));
    }

    /// Deletes records by id.
    pub(crate) async fn forget<D: Document>(&self, ids: Vec<Arc<str>>) -> Expired {
        let deleted = self
            .writer()
            .execute(Priority::Background, Context::system("expiry"), move |unit| {
                unit.load::<D>(&ids);
                for id in &ids {
                    unit.delete::<D>(id);
                }
                Ok::<(), writer::Error>(())
            });
        Ok(deleted.await?)
    }

    /// Ends the background tasks alone. To be called for all services of a process before any is stopped: what reacts to
    /// another's journal should not see it end.
    pub async fn stop_background(&self) {
        let tasks = &self.inner.tasks;
        tasks.background_stop.cancel();
        tasks.background.close();
        tasks.background.wait().await;
    }

    /// Ends the background tasks, then the writer, which finishes what was accepted.
    pub async fn stop(&self) {
        self.stop_background().await;
        let tasks = &self.inner.tasks;
        tasks.writer_stop.cancel();
        tasks.writer.close();
        tasks.writer.wait().await;
    }
}

/// Tells of what other replicas have added to the journal.
async fn follow_head(engine: Engine, head: watch::Sender<Position>, stop: CancellationToken) {
    let mut pause = HEAD_POLL;
    while stop.run_until_cancelled(engine.clock().sleep(pause)).await.is_some() {
        let tail = engine.reader().store().tail(Position::START, 0).await;
        pause = if tail.is_ok() { HEAD_POLL } else { HEAD_POLL_DOWN };
        if let Ok(tail) = tail {
            writer::announce(&head, tail.head.position);
        }
    }
}
