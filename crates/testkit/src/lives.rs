//! Lives of aggregates: whatever is asked of one in whatever order, some things hold at every step of all of them.
//!
//! A property makes the commands up and says what must hold of its own aggregate; what must hold of any is here.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use contracts::{EventData, Service};
use jiff::{SignedDuration, Timestamp};
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::document::{Collection, Kind};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::StreamId;
use kernel::memory::MemoryStore;
use kernel::rebuild::{Fold, rebuild};
use kernel::store::{Query, Store};
use kernel::writer::{self, Priority};

use crate::aggregate::NOON;

/// An aggregate from its first command on.
#[derive(Debug)]
pub struct Life<A: Aggregate> {
    state: Option<A>,
    /// The same, from nothing but what is stored: after each event it is written and read again.
    stored: Option<A>,
    events: Vec<A::Event>,
    now: Timestamp,
}

impl<A: Aggregate> Default for Life<A> {
    fn default() -> Self {
        Self {
            state: None,
            stored: None,
            events: Vec::new(),
            now: NOON.parse().expect("a constant time"),
        }
    }
}

impl<A> Life<A>
where
    A: Aggregate + PartialEq + Debug,
    A::Command: Clone + Debug,
    A::Event: Clone + PartialEq + Debug,
    A::Error: Debug,
{
    /// What it is now.
    #[must_use]
    pub fn state(&self) -> Option<&A> {
        self.state.as_ref()
    }

    /// Everything that has happened to it.
    #[must_use]
    pub fn events(&self) -> &[A::Event] {
        &self.events
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Time goes by.
    pub fn pass(&mut self, seconds: u32) {
        self.now += SignedDuration::from_secs(seconds.into());
    }

    /// Asks for something, and lets what is decided happen. Answers that: nothing, if it is refused or already so.
    ///
    /// # Panics
    /// If the same question has two answers, if an event is not stored as it happened, if a state that is read from its
    /// stored form goes another way, or if the versions have a gap.
    #[track_caller]
    pub fn ask(&mut self, command: A::Command) -> Vec<A::Event> {
        let decided = A::decide(self.state(), command.clone(), self.now);
        let again = A::decide(self.stored.as_ref(), command.clone(), self.now);
        assert_eq!(
            format!("{decided:?}"),
            format!("{again:?}"),
            "{command:?} has two answers"
        );
        let events = decided.unwrap_or_default();
        for event in &events {
            self.happen(event);
        }
        events
    }

    #[track_caller]
    fn happen(&mut self, event: &A::Event) {
        self.events.push(event.clone());
        let at = Occurrence {
            stream: &StreamId::new("test"),
            version: self.events.len() as u64,
            time: self.now,
        };
        A::apply(&mut self.state, event, &at);
        A::apply(&mut self.stored, &read_back(event), &at);
        assert_eq!(self.state, self.stored, "{event:?} is not stored as it happened");
        let state = self.state().expect("something happened to it, so it exists");
        assert_eq!(state.version(), at.version, "after {event:?}");
        let columns = A::COLLECTION.columns;
        assert_eq!(state.columns().len(), columns.len(), "after {event:?}");
        let json = serde_json::to_string(state).expect("a state has a stored form");
        let read: A = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(state, &read, "a state is not stored as it is");
        self.stored = Some(read);
    }
}

fn read_back<E: EventData>(event: &E) -> E {
    let data = event.encode().expect("an event has a stored form");
    E::decode(event.event_type(), event.schema(), data.get()).expect("what was written can be read")
}

/// Asks all this of aggregates by their ids, each in a commit of a service's writer, and then folds the journal anew.
///
/// # Panics
/// If a view is not the same as before, byte for byte.
pub fn assert_views_are_the_fold<A>(
    service: Service,
    collections: &'static [&'static Collection],
    fold: Fold,
    commands: impl IntoIterator<Item = (String, A::Command)>,
) where
    A: Aggregate,
    A::Command: Clone + Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(async {
        let origin: Timestamp = NOON.parse().expect("a constant time");
        let (clock, ids) = (Arc::new(ManualClock::starting_at(origin)), Arc::new(Ids::from_seed(7)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(schema(collections), ids.uuid(origin)));
        let parts = Parts {
            store: Arc::clone(&store),
            replica: None,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::clone(&ids),
        };
        let engine = Engine::start(service, parts).await.expect("a memory store answers");
        for (id, command) in commands {
            let decided = engine
                .writer()
                .execute(Priority::Client, Context::system("test"), move |unit| {
                    // A refusal changes nothing, which is all that matters here.
                    drop(unit.decide::<A>(&id, command.clone()));
                    Ok::<(), writer::Error>(())
                });
            decided.await.expect("a memory store answers");
        }
        engine.stop().await;
        let live = views(&store, collections).await;
        rebuild(&store, collections, fold, &ids, |_, _| {})
            .await
            .expect("a memory store answers");
        assert_eq!(
            views(&store, collections).await,
            live,
            "views are not the fold of the journal"
        );
    });
}

type Views = BTreeMap<(&'static str, Arc<str>), Arc<str>>;

async fn views(store: &Arc<dyn Store>, collections: &[&'static Collection]) -> Views {
    let mut views = Views::new();
    for collection in collections.iter().filter(|collection| collection.kind == Kind::View) {
        let found = store.query(&Query::all(collection, usize::MAX)).await;
        let found = found.expect("a memory store answers");
        views.extend(
            found
                .into_iter()
                .map(|it| ((collection.name, it.id), it.stored.document)),
        );
    }
    views
}
