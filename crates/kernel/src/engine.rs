//! What a service runs on: its store, the writer, readers, time, and the tasks that go with them.

use std::fmt;
use std::sync::Arc;

use contracts::Service;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::{CACHE_BYTES_MAX, Cache};
use crate::clock::{Clock, Ids};
use crate::context::Context;
use crate::deadline::{self, Deadline, Expired};
use crate::document::{Collection, Document};
use crate::effect::{self, Attempt, Effect, EffectRecord};
use crate::erasure::ErasedUser;
use crate::event::{LANES_DEFAULT, Position};
use crate::idempotency::{self, Answer};
use crate::reaction::{Checkpoint, DeadLetter, ParkedStream};
use crate::reader::Reader;
use crate::relay::RelayCursor;
use crate::store::{Schema, Store, StoreError};
use crate::writer::{self, Priority, Setup, Writer};

/// The collections that every service has besides its own.
pub const KERNEL_COLLECTIONS: &[&Collection] = &[
    Answer::COLLECTION,
    Checkpoint::COLLECTION,
    DeadLetter::COLLECTION,
    ParkedStream::COLLECTION,
    EffectRecord::COLLECTION,
    ErasedUser::COLLECTION,
    RelayCursor::COLLECTION,
    crate::secret::Secret::COLLECTION,
];

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
    /// Whether other processes write to the same store.
    pub shared: bool,
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

struct Inner {
    service: Service,
    parts: Parts,
    writer: Writer,
    reader: Reader,
    head: watch::Receiver<Position>,
    tasks: Tasks,
}

/// The tasks of a service, in the order in which they end: first what reacts, then the writer.
struct Tasks {
    background: TaskTracker,
    background_stop: CancellationToken,
    writer: TaskTracker,
    writer_stop: CancellationToken,
    effects: std::sync::Mutex<Option<mpsc::Receiver<Attempt>>>,
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
    pub async fn start(service: Service, parts: Parts) -> Result<Self, StoreError> {
        let position = parts.store.tail(Position::START, 0).await?.head.position;
        let (head_changes, head) = watch::channel(position);
        let (effects_started, effects) = mpsc::channel(effect::EFFECTS_QUEUED_MAX);
        let cache = Cache::new(CACHE_BYTES_MAX);
        let writer_id = parts.ids.uuid(parts.clock.now());
        let (writer, task) = writer::writer(Setup {
            // A replica's own name, so that its last batch is found when an outcome is unknown. An exclusive store has
            // one writer, and needs one row.
            name: if parts.shared {
                writer_id.to_string().into()
            } else {
                service.as_str().into()
            },
            store: Arc::clone(&parts.store),
            cache: cache.clone(),
            clock: Arc::clone(&parts.clock),
            ids: Arc::clone(&parts.ids),
            lanes: LANES_DEFAULT,
            shared: parts.shared,
            head: head_changes,
            effects: effects_started,
        });
        let tasks = Tasks {
            background: TaskTracker::new(),
            background_stop: CancellationToken::new(),
            writer: TaskTracker::new(),
            writer_stop: CancellationToken::new(),
            effects: std::sync::Mutex::new(Some(effects)),
        };
        tasks.writer.spawn(task.run(tasks.writer_stop.clone()));
        let reader = Reader::new(Arc::clone(&parts.store), cache, parts.shared);
        let engine = Self {
            inner: Arc::new(Inner {
                service,
                parts,
                writer,
                reader,
                head,
                tasks,
            }),
        };
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

    /// Whether other processes write to the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.parts.shared
    }

    /// The journal's last position, as this process knows it; changes with each commit.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Position> {
        self.inner.head.clone()
    }

    /// Runs a task until the service stops.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce(CancellationToken) -> F) {
        let stop = self.inner.tasks.background_stop.clone();
        self.inner.tasks.background.spawn(task(stop));
    }

    /// Completes when the service begins to end: for what is open without being a task, such as a live stream.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.tasks.background_stop.clone().cancelled_owned()
    }

    /// Watches a kind of timer.
    pub fn watch(&self, deadline: Arc<dyn Deadline>) {
        let engine = self.clone();
        self.spawn(|stop| deadline::run(engine, deadline, stop));
    }

    /// Runs the service's effects. To be called once, with all of them, before any command is given.
    pub fn perform(&self, effects: Vec<Arc<dyn Effect>>) {
        let taken = self
            .inner
            .tasks
            .effects
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let started = taken.expect("a service names its effects once");
        let (engine, began) = (self.clone(), self.clock().now());
        self.spawn(move |stop| effect::run(engine, effects, started, began, stop));
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

    /// Ends the background tasks, then the writer, which finishes what was accepted.
    pub async fn stop(&self) {
        let tasks = &self.inner.tasks;
        tasks.background_stop.cancel();
        tasks.background.close();
        tasks.background.wait().await;
        tasks.writer_stop.cancel();
        tasks.writer.close();
        tasks.writer.wait().await;
    }
}
