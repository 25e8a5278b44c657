//! Stores and buses that go wrong when a test says so.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::document::Key;
use kernel::event::{Lane, Position, Recorded, StreamId};
use kernel::store::{Batch, CommitError, Committed, Found, Query, Store, StoreError, Stored, Tail};
use tokio::sync::Semaphore;

/// What a commit does instead of just succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It certainly does not happen.
    Unavailable,
    /// It happens, and nobody is told.
    UnknownAfter,
    /// It does not happen, and nobody is told.
    UnknownBefore,
}

/// Something done by somebody else.
type Other = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What happens before each commit.
#[derive(Default)]
struct Before(Option<Arc<Other>>);

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Before").field(&self.0.is_some()).finish()
    }
}

/// A store whose commits fail as told, and wait when told; and whose reads take turns when told.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    readers: Mutex<Option<(Arc<Semaphore>, Duration)>>,
    faults: Mutex<VecDeque<Fault>>,
    refused: Mutex<Option<String>>,
    gate: Semaphore,
    commits: Mutex<Vec<Arc<Batch>>>,
    scrubs: Mutex<Scrubs>,
    before: Mutex<Before>,
}

/// What became of the wishes to be scrubbed.
#[derive(Debug, Default)]
struct Scrubs {
    refused: bool,
    done: usize,
}

impl FaultyStore {
    /// Over a store that works. Commits go through until told otherwise.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            readers: Mutex::default(),
            faults: Mutex::default(),
            refused: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            commits: Mutex::default(),
            scrubs: Mutex::default(),
            before: Mutex::default(),
        })
    }

    /// The next commits go wrong like this, one after another.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.faults).extend(faults);
    }

    /// Documents that contain this text are refused by the "database".
    pub fn refuse_content(&self, text: &str) {
        *lock(&self.refused) = Some(text.to_owned());
    }

    /// Before each commit this happens from now on, as if another replica were always faster.
    pub fn overtake<F>(&self, other: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        lock(&self.before).0 = Some(Arc::new(Box::new(move || Box::pin(other()))));
    }

    /// Commits wait from now on, until [`FaultyStore::open`].
    pub fn close(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets waiting commits go on.
    pub fn open(&self) {
        self.gate
            .add_permits(Semaphore::MAX_PERMITS - self.gate.available_permits());
    }

    /// Reads take so long each from now on, and a turn: so many at once, as from a pool of connections.
    pub fn limit_readers(&self, at_once: usize, each: Duration) {
        *lock(&self.readers) = Some((Arc::new(Semaphore::new(at_once)), each));
    }

    async fn read<T>(&self, read: impl Future<Output = T> + Send) -> T {
        let readers = lock(&self.readers).clone();
        let Some((readers, each)) = readers else {
            return read.await;
        };
        let _turn = readers.acquire().await.expect("it is never closed");
        tokio::time::sleep(each).await;
        read.await
    }

    /// The batches that were committed.
    #[must_use]
    pub fn commits(&self) -> Vec<Arc<Batch>> {
        lock(&self.commits).clone()
    }

    /// Refuses to be scrubbed from now on, or no more.
    pub fn refuse_scrubs(&self, refused: bool) {
        lock(&self.scrubs).refused = refused;
    }

    /// How often it was scrubbed.
    #[must_use]
    pub fn scrubs(&self) -> usize {
        lock(&self.scrubs).done
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        let _open = self.gate.acquire().await.map_err(StoreError::new)?;
        let before = lock(&self.before).0.clone();
        if let Some(other) = before {
            other().await;
        }
        let refused = lock(&self.refused).clone();
        if let Some(text) = refused
            && batch.puts.iter().any(|put| put.document.contains(&text))
        {
            return Err(CommitError::Content("told to refuse".to_owned()));
        }
        let fault = lock(&self.faults).pop_front();
        match fault {
            Some(Fault::Unavailable) => return Err(StoreError::new("told to fail").into()),
            Some(Fault::UnknownBefore) => return Err(CommitError::Unknown("told to be unknown".to_owned())),
            Some(Fault::UnknownAfter) | None => {}
        }
        let committed = self.inner.commit(Arc::clone(&batch)).await?;
        lock(&self.commits).push(batch);
        match fault {
            Some(Fault::UnknownAfter) => Err(CommitError::Unknown("told to be unknown".to_owned())),
            _ => Ok(committed),
        }
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.read(self.inner.get(keys)).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        self.read(self.inner.query(query)).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.read(self.inner.stream(id, from_version, limit)).await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        self.read(self.inner.tail(after, limit)).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        if lock(&self.scrubs).refused {
            return Err(StoreError::new("told not to scrub"));
        }
        self.inner.scrub().await?;
        lock(&self.scrubs).done += 1;
        Ok(())
    }
}

/// What becomes of a message on its way to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It arrives.
    Once,
    /// It arrives twice.
    Twice,
    /// It is lost, though the broker thinks that it was delivered.
    Lost,
}

/// A bus that loses and doubles messages as told by a function of the position, once each.
pub struct LossyBus<F> {
    inner: Arc<dyn Bus>,
    fate: Arc<F>,
}

impl<F> std::fmt::Debug for LossyBus<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LossyBus")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<F: Fn(&Message) -> Delivery + Send + Sync + 'static> LossyBus<F> {
    /// Over a bus that works.
    pub fn new(inner: Arc<dyn Bus>, fate: F) -> Self {
        Self {
            inner,
            fate: Arc::new(fate),
        }
    }
}

#[async_trait]
impl<F: Fn(&Message) -> Delivery + Send + Sync + 'static> Bus for LossyBus<F> {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.inner.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.inner.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let inner = self.inner.subscribe(group, from).await?;
        Ok(Box::new(Lossy {
            inner,
            fate: Arc::clone(&self.fate),
        }))
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct Lossy<F> {
    inner: Box<dyn Subscription>,
    fate: Arc<F>,
}

#[async_trait]
impl<F: Fn(&Message) -> Delivery + Send + Sync + 'static> Subscription for Lossy<F> {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            let received = self.inner.receive(max).await?;
            let arrived = received.into_iter().flat_map(|message| match (self.fate)(&message) {
                Delivery::Once => vec![message],
                Delivery::Twice => vec![message.clone(), message],
                Delivery::Lost => Vec::new(),
            });
            let arrived: Vec<Message> = arrived.collect();
            if !arrived.is_empty() {
                return Ok(arrived);
            }
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.inner.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.inner.head().await
    }
}

/// A bus that delivers every batch twice.
#[derive(Debug)]
pub struct StutteringBus(Arc<dyn Bus>);

impl StutteringBus {
    /// Over a bus that works.
    #[must_use]
    pub fn new(inner: Arc<dyn Bus>) -> Self {
        Self(inner)
    }
}

struct Stuttered {
    inner: Box<dyn Subscription>,
    again: Vec<Message>,
}

#[async_trait]
impl Bus for StutteringBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.0.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.0.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let inner = self.0.subscribe(group, from).await?;
        Ok(Box::new(Stuttered {
            inner,
            again: Vec::new(),
        }))
    }
}

#[async_trait]
impl Subscription for Stuttered {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        if self.again.is_empty() {
            self.again = self.inner.receive(max).await?;
            return Ok(self.again.clone());
        }
        Ok(std::mem::take(&mut self.again))
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.inner.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.inner.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.inner.head().await
    }
}
