//! A source, a broker, and a consumer that notes what it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use contracts::{DecodeError, EventData, EventKind, Service};
use kernel::aggregate::{Occurrence, Projected};
use kernel::bus::{Bus, Message};
use kernel::clock::{Ids, ManualClock};
use kernel::context::Context;
use kernel::document::{Collection, Document, Kind};
use kernel::embedded::{EmbeddedBus, Journal};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::{Position, StreamId};
use kernel::memory::MemoryStore;
use kernel::memory::bus::MemoryBus;
use kernel::reaction::{Checkpoint, Consumers, Failed, Reaction, Start};
use kernel::relay;
use kernel::store::{Query, Store};
use kernel::unit::{Unit, Views};
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

pub(crate) const STREAMS: u64 = 20;

/// Something that happens in the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Happened {
    pub(crate) number: u64,
}

impl EventData for Happened {
    const TYPES: &'static [EventKind] = &[EventKind {
        name: "thing.happened",
        schema: 1,
        public: true,
    }];

    fn kind(&self) -> EventKind {
        Self::TYPES[0]
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        serde_json::value::to_raw_value(self)
    }

    fn decode(_: &str, _: u16, data: &str) -> Result<Self, DecodeError> {
        Ok(serde_json::from_str(data).expect("the test's own data"))
    }
}

impl Projected for Happened {
    fn project(&self, _: &Occurrence<'_>, _: &mut Views<'_>) {}
}

/// The versions of a stream that the consumer saw, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) versions: Vec<u64>,
}

impl Document for Seen {
    const COLLECTION: &'static Collection = &Collection {
        name: "seen",
        kind: Kind::Replica { consumer: "witness" },
        columns: &[],
        indexes: &[],
    };
}

/// Notes what it sees; trips over version 2 of the stream `bad` as told.
#[derive(Clone, Default)]
pub(crate) struct Witness {
    pub(crate) trips: Arc<AtomicBool>,
    pub(crate) panics: bool,
    pub(crate) waits: Arc<AtomicBool>,
    pub(crate) from_now: bool,
}

impl Reaction for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Catalog]
    }

    fn start(&self) -> Start {
        if self.from_now { Start::Now } else { Start::Beginning }
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let event = &message.event;
        let mut seen = unit
            .get::<Seen>(&event.stream)
            .map(|seen| Seen::clone(&seen))
            .unwrap_or_default();
        seen.versions.push(event.version);
        unit.put(&event.stream, seen);
        let stumbles = event.stream.as_str() == "bad" && event.version == 2;
        if stumbles && self.waits.load(Ordering::Relaxed) {
            return Err(Failed::Wait("for something".to_owned()));
        }
        if stumbles && self.trips.load(Ordering::Relaxed) {
            assert!(!self.panics, "told to panic");
            return Err(Failed::Poison("told to fail".to_owned()));
        }
        Ok(())
    }
}

static SEEDS: AtomicU64 = AtomicU64::new(1);

pub(crate) fn store(epoch: u128) -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(
        schema(&[Seen::COLLECTION]),
        uuid::Uuid::from_u128(epoch),
    ))
}

pub(crate) async fn engine(service: Service, store: Arc<dyn Store>) -> Engine {
    engine_at("2026-01-01T00:00:00Z", service, store).await
}

pub(crate) async fn engine_at(time: &str, service: Service, store: Arc<dyn Store>) -> Engine {
    let clock = Arc::new(ManualClock::starting_at(time.parse().unwrap()));
    let ids = Arc::new(Ids::from_seed(SEEDS.fetch_add(1, Ordering::Relaxed)));
    Engine::start(
        service,
        Parts {
            store,
            replica: None,
            clock,
            ids,
        },
    )
    .await
    .unwrap()
}

/// A source whose journal is relayed to a broker.
pub(crate) struct Source {
    pub(crate) engine: Engine,
    pub(crate) bus: MemoryBus,
    pub(crate) stop: CancellationToken,
}

impl Source {
    pub(crate) async fn new() -> Self {
        let source = Self {
            engine: engine(Service::Catalog, store(1)).await,
            bus: MemoryBus::default(),
            stop: CancellationToken::new(),
        };
        tokio::spawn(relay::run(
            source.engine.clone(),
            Arc::new(source.bus.clone()),
            source.stop.clone(),
        ));
        source
    }

    pub(crate) fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.bus.clone())
    }
}

/// The `version`th event of a stream happens.
pub(crate) async fn happen(engine: &Engine, stream: &str, version: u64) {
    let stream = StreamId::new(stream);
    let happened = engine
        .writer()
        .execute(Priority::Background, Context::system("test"), move |unit| {
            unit.append(stream.clone(), version, Happened { number: version });
            Ok::<(), writer::Error>(())
        });
    happened.await.unwrap();
}

pub(crate) async fn happen_much(engine: &Engine, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        for stream in 0..STREAMS {
            happen(engine, &format!("s{stream}"), version).await;
        }
    }
}

pub(crate) async fn seen(engine: &Engine, stream: &str) -> Vec<u64> {
    engine
        .reader()
        .get::<Seen>(stream)
        .await
        .unwrap()
        .map(|seen| seen.versions.clone())
        .unwrap_or_default()
}

/// Waits until a stream was seen up to a version; fails after ten minutes of its own time.
pub(crate) async fn until_seen(engine: &Engine, stream: &str, version: u64) {
    for _ in 0..6000 {
        if seen(engine, stream).await.last().is_some_and(|last| *last >= version) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "{stream} was seen up to {:?}, not {version}",
        seen(engine, stream).await
    );
}

pub(crate) async fn assert_all_seen_once(engine: &Engine, last: u64) {
    for stream in 0..STREAMS {
        until_seen(engine, &format!("s{stream}"), last).await;
        assert_eq!(
            seen(engine, &format!("s{stream}")).await,
            (1..=last).collect::<Vec<_>>(),
            "stream {stream}"
        );
    }
}

/// What has become of the source's events: how many were applied, are parked, were discarded. Together, in each lane, as
/// many as there were up to the checkpoint.
pub(crate) async fn accounts(target: &Engine, source: &Engine) -> [u64; 3] {
    let journal = source
        .reader()
        .store()
        .tail(Position::START, 1000)
        .await
        .unwrap()
        .events;
    let checkpoints = Query::all(Checkpoint::COLLECTION, 1000);
    let mut sums = [0; 3];
    for found in target.reader().store().query(&checkpoints).await.unwrap() {
        let checkpoint: serde_json::Value = serde_json::from_str(&found.stored.document).unwrap();
        let lane: u16 = found.id.rsplit('/').next().unwrap().parse().unwrap();
        let counts = ["applied", "parked", "discarded"].map(|name| checkpoint[name].as_u64().unwrap());
        let position = checkpoint["position"].as_u64().unwrap();
        let events = journal
            .iter()
            .filter(|event| event.lane.0 == lane && event.position.0 <= position);
        assert_eq!(
            counts.iter().sum::<u64>(),
            events.count() as u64,
            "{} {checkpoint}",
            found.id
        );
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    sums
}

pub(crate) fn witness(engine: &Engine, bus: &Arc<dyn Bus>, witness: Witness) -> Consumers {
    Consumers::start(engine, bus, vec![Arc::new(witness)])
}

pub(crate) fn embedded(source: &Engine) -> Arc<dyn Bus> {
    let journal = Journal {
        store: Arc::clone(source.reader().store()),
        head: source.head(),
    };
    Arc::new(EmbeddedBus::new([(Service::Catalog, journal)]))
}
