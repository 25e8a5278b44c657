//! A store on a database server, read through its adapter: each database would be another auditor.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, mpsc};

use kernel::clock::{Ids, SystemClock};
use kernel::event::{Position, Recorded};
use kernel::store::carry::Snapshot;
use kernel::store::{Opened, StoreError};
use testkit::books::Event;
use tokio::runtime::{Builder, Runtime};
use tradewind::stores::Place;
use tradewind::system::{Described, SERVICES};

use super::Stored;

/// Questions come from tests, which have runtimes of their own and wait for the answer.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
});

fn wait<T: Send + 'static>(asked: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    RUNTIME.spawn(async move {
        let _ = sender.send(asked.await);
    });
    receiver.recv().expect("reading does not panic")
}

/// Opened once, and closed when it is dropped.
#[derive(Debug)]
pub(super) struct Database {
    described: &'static Described,
    store: Arc<dyn Opened>,
}

impl Database {
    pub(super) fn open(service: &str, place: Place) -> Self {
        let described = SERVICES.iter().find(|described| described.service.as_str() == service);
        let described = described.expect("every service is described");
        let opened = wait(async move {
            let (ids, clock) = (Ids::from_entropy(), SystemClock::new());
            place.open(described, Vec::new(), &ids, &clock).await
        });
        let store = opened.unwrap_or_else(|error| panic!("{error:#}"));
        Self { described, store }
    }

    /// Reads it as it is at one moment.
    fn read<T, F>(&self, read: impl FnOnce(Box<dyn Snapshot>) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let store = Arc::clone(&self.store);
        wait(async move { read(store.snapshot().await?).await }).unwrap()
    }

    fn recorded(&self) -> Vec<Recorded> {
        self.read(async |mut snapshot| {
            let mut events: Vec<Recorded> = Vec::new();
            loop {
                let after = events.last().map_or(Position::START, |event| event.position);
                let piece = snapshot.events(after).await?;
                if piece.is_empty() {
                    return Ok(events);
                }
                events.extend(piece);
            }
        })
    }

    pub(super) fn journal(&self) -> Vec<Event> {
        let events = self.recorded().into_iter().map(|event| Event {
            position: event.position.0,
            prev: event.prev.0,
            stream: event.stream.as_str().to_owned(),
            version: event.version,
            lane: event.lane.index(),
            id: event.id.to_string(),
            event_type: event.event_type.into_owned(),
            time: event.time.as_microsecond(),
            data: serde_json::from_str(event.data.get()).unwrap(),
        });
        events.collect()
    }

    /// What each event says, and of whom it came.
    pub(super) fn told(&self) -> Vec<String> {
        let events = self.recorded().into_iter();
        events
            .map(|event| format!("{}{}", event.data, serde_json::to_string(&event.meta).unwrap()))
            .collect()
    }

    pub(super) fn head(&self) -> (u64, Vec<u64>) {
        let store = Arc::clone(&self.store);
        let tail = wait(async move { store.tail(Position::START, 0).await });
        let head = tail.unwrap().head;
        (head.position.0, head.lanes.iter().map(|lane| lane.0).collect())
    }

    /// The names of its collections.
    pub(super) fn collections(&self) -> Vec<String> {
        let all = self.described.by_name().into_iter();
        all.map(|collection| collection.name.to_owned()).collect()
    }

    pub(super) fn documents(&self, collection: &str) -> BTreeMap<String, Stored> {
        let mut all = self.described.by_name().into_iter();
        let collection = all.find(|declared| declared.name == collection);
        let collection = collection.expect("only collections that it has are asked for");
        self.read(async |mut snapshot| {
            let mut documents = BTreeMap::new();
            let mut after: Option<Arc<str>> = None;
            loop {
                let piece = snapshot.documents(collection, after.as_deref()).await?;
                let Some(last) = piece.last() else {
                    return Ok(documents);
                };
                after = Some(Arc::clone(&last.id));
                let stored = piece.into_iter();
                documents.extend(stored.map(|it| (it.id.to_string(), (it.version, it.document.to_string()))));
            }
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let store = Arc::clone(&self.store);
        wait(async move { store.close().await });
    }
}
