//! SQLite: one writer connection on a thread of its own, and a small pool of connections that only read.

mod carry;
mod checkpoint;
mod failure;
mod journal;
mod latest;
mod open;
mod prepared;
mod readers;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::document::{ColumnType, Key};
use kernel::event::{Position, Recorded, StreamId};
use kernel::store::carry::{Load, Snapshot};
use kernel::store::{Batch, CommitError, Committed, Found, Opened, Query, Schema, Store, StoreError, Stored, Tail};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::open::OpenError;
use crate::sqlite::carry::SqliteSnapshot;
use crate::sqlite::checkpoint::Passes;
use crate::sqlite::latest::Latest;
use crate::sqlite::readers::Readers;
use crate::sqlite::writer::Job;

/// SQLite's own words.
pub(crate) const SQLITE: Dialect = Dialect {
    create_table: "CREATE TABLE",
    unless_there: "",
    number: "INTEGER",
    key: "TEXT",
    text: "TEXT",
    holds: |name, column_type| match column_type {
        ColumnType::Integer => name == "INTEGER",
        ColumnType::Text => name == "TEXT",
    },
    table_options: " STRICT",
    small_table_options: " STRICT, WITHOUT ROWID",
    has_partial_indexes: true,
    compares_rows: true,
    indexes_belong_to_tables: false,
    rewords_indexes: false,
    walk_index: |name| format!(" INDEXED BY {name}"),
    no_index: "+",
    parameter: |place| format!("?{place}"),
    contains: |column, part| format!("instr({column}, {part}) > 0"),
};

/// Commits that may wait for the writer's thread; further callers wait for a place.
const COMMITS_QUEUED_MAX: usize = 64;

/// Where a store is and what it holds.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file; made if it is not there. SQLite keeps two more beside it, `-wal` and `-shm`.
    pub path: PathBuf,
    /// What the service keeps.
    pub schema: Schema,
    /// The epoch of the journal, should it be made now.
    pub new_epoch: Uuid,
    /// The time of opening, for the list of migrations.
    pub now: Timestamp,
    /// How many reads run at once, each on a connection of its own.
    pub readers: usize,
    /// Whether nobody else may open the file so: what was committed here is then all there is, and the journal's latest
    /// events are read from memory. Kept by a lock on a file beside it, `-lock`.
    pub alone: bool,
    /// Collections to empty, because the caller is about to fill them again from the journal or by a consumer. They get
    /// the columns and indexes declared now. The store remembers them, and opens only for a caller that names them
    /// again, until [`Opened::finish_rebuild`]: a rebuild cut short is never mistaken for the whole.
    pub rebuild: Vec<&'static str>,
}

impl SqliteOptions {
    /// The usual: four readers, perhaps not alone, nothing to rebuild.
    pub fn new(path: impl Into<PathBuf>, schema: Schema, new_epoch: Uuid, now: Timestamp) -> Self {
        Self {
            path: path.into(),
            schema,
            new_epoch,
            now,
            readers: 4,
            alone: false,
            rebuild: Vec::new(),
        }
    }
}

/// Refuses a file that a process has open as its own.
pub fn check_unused(path: &Path) -> Result<(), OpenError> {
    open::lock(path).map(drop)
}

/// What is in a file at one moment, whether somebody writes to it or not. Blocks while it opens the file.
pub fn snapshot(path: &Path) -> Result<Box<dyn Snapshot>, StoreError> {
    Ok(Box::new(SqliteSnapshot::of(path)?))
}

/// A service's store in one SQLite file.
///
/// Two processes must not have the same file open, which [`SqliteOptions::alone`] sees to. Dropping the store finishes
/// the commits that are queued and waits for them; [`Opened::close`] does so without blocking the runtime.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    schema: Schema,
    readers: Arc<Readers>,
    /// Unless others write here too.
    latest: Option<Arc<Latest>>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// Held until the store is closed, if it is this process's alone.
    lock: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens the store or makes it, with whatever the schema declares. Blocks while it does.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let lock = match options.alone {
            true => Some(open::lock(&options.path)?),
            false => None,
        };
        let connection = open::writer(&options)?;
        let readers = (0..options.readers.max(1))
            .map(|_| open::reader(&options.path))
            .collect::<Result<_, _>>()?;
        let passes = Passes::start(open::checkpointer(&options.path)?).map_err(OpenError::Thread)?;
        let (jobs, queue) = mpsc::channel(COMMITS_QUEUED_MAX);
        let (ready, started) = std::sync::mpsc::channel();
        // Linux shows fifteen characters of it, so whose it is comes first.
        let name = options.path.file_stem().unwrap_or_default().to_string_lossy();
        let schema = options.schema.clone();
        let latest = Arc::new(Latest::default());
        let filled = Arc::clone(&latest);
        let writer = std::thread::Builder::new()
            .name(format!("{name}-writer"))
            .spawn(move || writer::run(connection, &schema, &filled, passes, queue, &ready))
            .map_err(OpenError::Thread)?;
        started.recv().expect("the thread answers first of all")?;
        Ok(Self {
            path: options.path,
            schema: options.schema,
            readers: Arc::new(Readers::new(readers)),
            latest: options.alone.then_some(latest),
            jobs: Some(jobs),
            writer: Some(writer),
            lock: Mutex::new(lock),
        })
    }

    /// The statements that [`SqliteStore::open`] would run, in order. Changes nothing, and blocks while it reads.
    pub fn plan(options: &SqliteOptions) -> Result<Vec<String>, OpenError> {
        open::plan(options)
    }

    /// Has the writer's thread do something between two commits.
    async fn between_commits<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.send(job(answer)).await?;
        outcome.await.map_err(|_| StoreError::new("the writer has stopped"))?
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self
            .jobs
            .as_ref()
            .expect("the queue is there until the store is dropped");
        jobs.send(job).await.map_err(|_| StoreError::new("the store is closed"))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of a store panicked");
        }
    }
}

#[async_trait]
impl Opened for SqliteStore {
    async fn finish_rebuild(&self) -> Result<(), StoreError> {
        self.between_commits(Job::FinishRebuild).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || snapshot(&path))
            .await
            .map_err(StoreError::new)?
    }

    async fn load(&self, load: Load) -> Result<(), CommitError> {
        let (answer, outcome) = oneshot::channel();
        self.send(Job::Load(load, answer)).await?;
        outcome
            .await
            .unwrap_or_else(|_| Err(CommitError::Unknown("the writer has stopped".into())))
    }

    async fn insert(&self, batches: Vec<Arc<Batch>>, mut after: Position) -> Result<(), CommitError> {
        for batch in batches {
            let events = batch.events.len() as u64;
            let (answer, outcome) = oneshot::channel();
            self.send(Job::Insert(batch, after, answer)).await?;
            outcome
                .await
                .unwrap_or_else(|_| Err(CommitError::Unknown("the writer has stopped".into())))?;
            after = after.plus(events);
        }
        Ok(())
    }

    /// Writes everything into the one file, too.
    async fn close(&self) {
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.send(Job::Close(done)).await.is_ok() {
            // An error means that the writer had already gone.
            let _ = closed.await;
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        batch.check(&self.schema)?;
        let (answer, outcome) = oneshot::channel();
        self.send(Job::Commit(batch, answer)).await?;
        outcome
            .await
            .unwrap_or_else(|_| Err(CommitError::Unknown("the writer has stopped".into())))
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        if let Some(unknown) = keys.iter().find(|key| self.schema.collection(key.collection).is_none()) {
            return Err(StoreError::new(format_args!(
                "the schema has no collection {}",
                unknown.collection
            )));
        }
        let keys = keys.to_vec();
        self.readers
            .read(move |connection| readers::get(connection, &keys))
            .await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        query.check()?;
        let query = query.clone();
        self.readers
            .read(move |connection| readers::query(connection, &query))
            .await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let id = id.clone();
        self.readers
            .read(move |connection| journal::stream(connection, &id, from_version, limit))
            .await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        let remembered = self.latest.as_ref().and_then(|latest| latest.tail(after, limit));
        if let Some(tail) = remembered {
            return Ok(tail);
        }
        self.readers
            .read(move |connection| journal::tail(connection, after, limit))
            .await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.between_commits(Job::Scrub).await
    }
}
