//! Reactions: consumers of other services' events, with their checkpoint in the same commit as their effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use contracts::{DecodeError, EventData, PublicEvent, Service, log};
use jiff::Timestamp;
use metrics::{Gauge, gauge};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bus::{Bus, Group, Message};
use crate::document::{Collection, Document, Kind};
use crate::engine::Engine;
use crate::event::{Epoch, LANES_DEFAULT, Lane, Position};
use crate::lease::{self, Duty};
use crate::relay;
use crate::store::StoreError;
use crate::unit::Unit;

mod adopt;
mod batch;
mod dead_letter;
mod hold;
mod lives;
mod runner;

pub use adopt::{Adopted, Seen, adopt, is_restored, note_restore, seen_by};
pub use dead_letter::{DeadLetter, DeadLetters, LetterError, ParkedStream};
pub use lives::Restored;

/// Events handled in one commit.
pub const BATCH_EVENTS_MAX: usize = 256;

/// Where a consumer begins on its very first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the journal's first event.
    Beginning,
    /// With what happens from now on.
    Now,
}

/// A consumer: (event, state) → commands.
pub trait Reaction: Send + Sync + 'static {
    /// Its name within its service; for ever, since its checkpoints are kept under it.
    fn name(&self) -> &'static str;

    /// The services whose journals it follows.
    fn sources(&self) -> &'static [Service];

    /// Where it begins.
    fn start(&self) -> Start {
        Start::Beginning
    }

    /// The event types it wants; the others pass by without being decoded. `None` is all.
    fn types(&self) -> Option<&'static [&'static str]>;

    /// Carries out what follows from the event. Every refusal of a command is mapped to an event or to "already so";
    /// what is returned as an error is poison, or waits.
    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed>;
}

/// Why an event could not be handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It never will be: after some tries it is parked as a dead letter.
    #[error("{0}")]
    Poison(String),
    /// Not yet: the lane waits for it without limit.
    #[error("waiting: {0}")]
    Wait(String),
}

impl From<DecodeError> for Failed {
    fn from(error: DecodeError) -> Self {
        Self::Poison(error.to_string())
    }
}

impl Message {
    /// The event as other services know it.
    pub fn public(&self) -> Result<PublicEvent, DecodeError> {
        PublicEvent::decode(&self.event.event_type, self.event.meta.schema, self.event.data.get())
    }
}

/// How far a consumer has come in one lane of one source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    /// Events handled or passed by; with the two below, every event of the lane since the consumer's start.
    pub(crate) applied: u64,
    /// Events in dead letters now.
    pub(crate) parked: u64,
    /// Dead letters that a named actor discarded.
    pub(crate) discarded: u64,
    /// Until the first event is handled, of a consumer that begins at the present on a bus that does not know where journals
    /// stand: what happened before this passes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) begins: Option<Timestamp>,
}

impl Document for Checkpoint {
    const COLLECTION: &'static Collection = &Collection {
        name: "checkpoints",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// The id of a checkpoint.
pub(crate) fn checkpoint_id(group: &Group, lane: Lane) -> String {
    format!("{}/{}/{}", group.consumer, group.source, lane.0)
}

/// The consumers of a service, running.
#[derive(Clone)]
pub struct Consumers {
    engine: Engine,
    reactions: Arc<Vec<Arc<dyn Reaction>>>,
    progress: Arc<BTreeMap<Group, Arc<Progress>>>,
}

impl std::fmt::Debug for Consumers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumers")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Consumers {
    /// The groups of a service's reactions, for [`Bus::declare`].
    pub fn groups(service: Service, reactions: &[Arc<dyn Reaction>]) -> Vec<Group> {
        let groups = reactions.iter().flat_map(|reaction| {
            reaction.sources().iter().map(|&source| Group {
                service,
                consumer: reaction.name(),
                source,
            })
        });
        groups.collect()
    }

    /// The groups that run here.
    pub fn running(&self) -> impl Iterator<Item = &Group> {
        self.progress.keys()
    }

    /// Starts a runner for each group, until the engine stops.
    #[must_use]
    pub fn start(engine: &Engine, bus: &Arc<dyn Bus>, reactions: Vec<Arc<dyn Reaction>>) -> Self {
        let mut progress = BTreeMap::new();
        let started = engine.clock().now();
        let consumes_beside_others = engine.is_shared() && bus.shares_lanes();
        if consumes_beside_others {
            engine.consume_beside_others();
        }
        for reaction in &reactions {
            for group in Self::groups(engine.service(), std::slice::from_ref(reaction)) {
                let behind = Arc::new(Progress::of(engine, &group, consumes_beside_others));
                engine.consumes(group.clone(), Arc::clone(&behind));
                progress.insert(group.clone(), Arc::clone(&behind));
                let (runs_on, bus, reaction) = (engine.clone(), Arc::clone(bus), Arc::clone(reaction));
                let run = move |stop| {
                    let (engine, bus, reaction) = (runs_on.clone(), Arc::clone(&bus), Arc::clone(&reaction));
                    runner::Runner::new(engine, bus, reaction, group.clone(), started, Arc::clone(&behind)).run(stop)
                };
                match consumes_beside_others {
                    true => engine.spawn(run),
                    false => engine.spawn_alone(run),
                }
            }
        }
        Self {
            engine: engine.clone(),
            reactions: Arc::new(reactions),
            progress: Arc::new(progress),
        }
    }

    /// Waits until every consumer has its first checkpoints, here or in another replica: what happens from now on is seen by
    /// those, too, that begin at the present. Waits as long as the bus or the store cannot be reached.
    pub async fn begun(&self) {
        let mut duty = self.engine.duty().subscribe();
        let here = async {
            for progress in self.progress.values() {
                // The sender is in the same structure, so it is never gone.
                let _ = progress.begun.subscribe().wait_for(|begun| *begun).await;
            }
        };
        tokio::select! {
            () = here => {}
            Ok(_) = duty.wait_for(|duty| matches!(duty, Duty::Theirs { .. })) => {}
        }
    }

    /// Whether what is fed from `source` is known to be behind it, or may be since nobody is known to feed it.
    #[must_use]
    pub fn is_behind(&self, source: Service) -> bool {
        if let Some(others) = self.engine.behind_elsewhere() {
            return others.is_none_or(|others| others.contains(&source)) || self.engine.behind_of().contains(&source);
        }
        match &*self.engine.duty().borrow() {
            Duty::Ours => self.engine.behind_of().contains(&source),
            Duty::Theirs { behind_of } => behind_of.contains(&source),
            Duty::Unknown => true,
        }
    }

    /// When the newest event happened that came from `source` since the process started.
    #[must_use]
    pub fn newest(&self, source: Service) -> Option<Timestamp> {
        let of_source = self.progress.iter().filter(|(group, _)| group.source == source);
        of_source.filter_map(|(_, progress)| progress.newest()).max()
    }

    /// How each consumer is doing.
    pub fn progress(&self) -> impl Iterator<Item = (&Group, &Progress)> {
        self.progress.iter().map(|(group, progress)| (group, progress.as_ref()))
    }

    /// How far a consumer has come in each lane.
    pub async fn positions(&self, group: &Group) -> Result<Vec<Position>, StoreError> {
        let ids = (0..LANES_DEFAULT).map(|lane| checkpoint_id(group, Lane(lane)));
        let checkpoints = self.engine.reader().get_many::<Checkpoint>(ids).await?;
        Ok(checkpoints
            .into_iter()
            .map(|it| it.map_or(Position::START, |it| it.position))
            .collect())
    }

    /// Whose they are.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How far the service's events have come, and those of others with it.
    pub async fn journal(&self) -> Result<log::Journal, StoreError> {
        let engine = &self.engine;
        let head = engine.reader().store().tail(Position::START, 0).await?.head;
        let (published, stopped) = match engine.is_published() {
            true => {
                let (position, stopped) = relay::published(engine, &head).await?;
                (Some(position.0), stopped)
            }
            false => (None, None),
        };
        let lanes_held = lease::lanes_held(engine).await?;
        let mut consumers = Vec::new();
        for group in self.progress.keys() {
            let ids = (0..LANES_DEFAULT).map(|lane| checkpoint_id(group, Lane(lane)));
            let found = engine.reader().get_many::<Checkpoint>(ids).await?;
            let checkpoints = || found.iter().map(|it| it.as_deref());
            consumers.push(log::Consumer {
                consumer: group.consumer.to_owned(),
                source: group.source,
                lanes: checkpoints().map(|it| it.map_or(0, |it| it.position.0)).collect(),
                dead_letters: checkpoints().map(|it| it.map_or(0, |it| it.parked)).sum(),
                lanes_held: lanes_held.get(&group.to_string()).copied().unwrap_or_default(),
            });
        }
        Ok(log::Journal {
            service: engine.service(),
            epoch: head.epoch.0.to_string(),
            position: head.position.0,
            lanes: head.lanes.iter().map(|position| position.0).collect(),
            published,
            stopped,
            consumers,
        })
    }

    /// The service's dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine.clone(), Arc::clone(&self.reactions))
    }
}

/// How a consumer is doing, for readiness reports, metrics and "catching up".
#[derive(Debug)]
pub struct Progress {
    handled: AtomicU64,
    lanes_held: AtomicU64,
    catching_up: AtomicBool,
    /// When the newest event happened that was received, in microseconds since 1970; 0 before the first.
    newest: AtomicI64,
    begun: watch::Sender<bool>,
    gauge: Gauge,
}

impl Progress {
    /// Behind, for all that is known, unless it is another replica that consumes.
    fn of(engine: &Engine, group: &Group, consumes_beside_others: bool) -> Self {
        let labels = [
            ("service", group.service.to_string()),
            ("consumer", group.consumer.to_owned()),
            ("source", group.source.to_string()),
        ];
        Self {
            gauge: gauge!("lanes_held", &labels),
            catching_up: AtomicBool::new(!engine.is_shared() || consumes_beside_others),
            handled: AtomicU64::default(),
            lanes_held: AtomicU64::default(),
            newest: AtomicI64::default(),
            begun: watch::Sender::default(),
        }
    }

    /// Whether it is known not to have seen everything.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.catching_up.load(Ordering::Relaxed) || self.lanes_held() > 0
    }

    fn received(&self, messages: &[Message]) {
        let newest = messages.iter().map(|message| message.event.time.as_microsecond()).max();
        self.newest.fetch_max(newest.unwrap_or_default(), Ordering::Relaxed);
    }

    fn newest(&self) -> Option<Timestamp> {
        let newest = Some(self.newest.load(Ordering::Relaxed)).filter(|newest| *newest > 0);
        newest.and_then(|newest| Timestamp::from_microsecond(newest).ok())
    }

    fn note(&self, lanes_held: usize, catching_up: bool) {
        self.note_held(lanes_held);
        self.catching_up.store(catching_up, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and there are few lanes")]
    fn note_held(&self, lanes: usize) {
        self.lanes_held.store(lanes as u64, Ordering::Relaxed);
        self.gauge.set(lanes as f64);
    }

    /// Lanes that wait for a retry, a missing message or an operator.
    #[must_use]
    pub fn lanes_held(&self) -> u64 {
        self.lanes_held.load(Ordering::Relaxed)
    }

    /// Events handled since the process started.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }
}
