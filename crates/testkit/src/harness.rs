//! A service on memory stores: its engine, a bus fed by the test, tokens, and time that stands still unless waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contracts::{EventData, PublicEvent, Role, Service, SessionId, UserId};
use jiff::Timestamp;
use kernel::aggregate::{Occurrence, Projected};
use kernel::auth::{Jwks, SigningKey, User, Verifier};
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids, ManualClock};
use kernel::context::Context;
use kernel::document::Collection;
use kernel::embedded::{EmbeddedBus, Journal};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::{Position, StreamId};
use kernel::memory::MemoryStore;
use kernel::reaction::Consumers;
use kernel::store::Store;
use kernel::unit::Views;
use kernel::writer::{self, Priority};

/// One service under test, with the journals of all the others in the test's hand.
///
/// Use under `#[tokio::test(start_paused = true)]`: timers then run as soon as everything else waits.
#[derive(Debug)]
pub struct Harness {
    engine: Engine,
    sources: BTreeMap<Service, Engine>,
    bus: Arc<dyn Bus>,
    verifier: Arc<Verifier>,
    clock: Arc<ManualClock>,
    ids: Arc<Ids>,
    key: Arc<SigningKey>,
}

impl Harness {
    /// An empty service with these collections.
    pub async fn new(service: Service, collections: &[&'static Collection]) -> Self {
        let origin: Timestamp = crate::aggregate::NOON.parse().expect("a constant time");
        let clock = Arc::new(ManualClock::starting_at(origin));
        let ids = Arc::new(Ids::from_seed(7));
        let mut engines = BTreeMap::new();
        for source in Service::ALL.iter().copied() {
            let own = if source == service { collections } else { &[] };
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new(schema(own), ids.uuid(origin)));
            let parts = Parts {
                store,
                replica: None,
                clock: Arc::clone(&clock) as _,
                ids: Arc::clone(&ids),
            };
            engines.insert(
                source,
                Engine::start(source, parts).await.expect("a memory store answers"),
            );
        }
        let journals = engines.iter().map(|(&service, engine)| {
            (
                service,
                Journal {
                    store: Arc::clone(engine.reader().store()),
                    head: engine.head(),
                },
            )
        });
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new(journals));
        let key = Arc::new(SigningKey::generate(&ids));
        let verifier = Arc::new(Verifier::new(
            Arc::new(Jwks {
                keys: vec![key.jwk().clone()],
            }),
            Arc::clone(&clock) as _,
        ));
        let engine = engines.remove(&service).expect("all services have an engine");
        Self {
            engine,
            sources: engines,
            bus,
            verifier,
            clock,
            ids,
            key,
        }
    }

    /// The engine of the service under test.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// What its consumers subscribe to.
    #[must_use]
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Verifies the tokens of [`Harness::token`].
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// The time, which can be made to jump.
    #[must_use]
    pub fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    /// A new id.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        self.ids.uuid(self.clock.now())
    }

    /// A bearer token for a user in a role.
    #[must_use]
    pub fn token(&self, id: UserId, role: Role) -> String {
        let user = User {
            id,
            role,
            session: SessionId::from_uuid(self.uuid()),
        };
        self.key.sign(&kernel::auth::Claims::of_user(user, self.clock.now()))
    }

    /// A bearer token of one of our services.
    #[must_use]
    pub fn service_token(&self, service: Service) -> String {
        self.key
            .sign(&kernel::auth::Claims::of_service(service, self.clock.now()))
    }

    /// A command's context in a user's name.
    #[must_use]
    pub fn context(&self, user: UserId) -> Context {
        Context {
            actor: user.to_string().into(),
            ..Context::system("test")
        }
    }

    /// The engine behind another service's journal, for what [`Harness::publish`] does not do.
    #[must_use]
    pub fn source(&self, source: Service) -> &Engine {
        self.sources
            .get(&source)
            .expect("the service under test has its own engine")
    }

    /// Another service's event happens: it is appended to that service's journal.
    pub async fn publish(&self, source: Service, stream: impl std::fmt::Display, event: impl Into<PublicEvent>) {
        let engine = self.source(source);
        let stream = StreamId::new(stream.to_string());
        let event = Foreign(event.into());
        let version = engine
            .reader()
            .history(&stream)
            .await
            .expect("a memory store answers")
            .len() as u64
            + 1;
        let published = engine
            .writer()
            .execute(Priority::Background, Context::system("test"), move |unit| {
                unit.append(stream.clone(), version, event.clone());
                Ok::<(), writer::Error>(())
            });
        published.await.expect("a memory store answers");
    }

    /// Waits until the consumers have handled everything that was published, or fails after a minute.
    pub async fn settle(&self, consumers: &Consumers) {
        for _ in 0..600 {
            let mut behind = false;
            for (group, _) in consumers.progress() {
                let source = if group.source == self.engine.service() {
                    &self.engine
                } else {
                    &self.sources[&group.source]
                };
                let head = source
                    .reader()
                    .store()
                    .tail(Position::START, 0)
                    .await
                    .expect("a memory store answers")
                    .head;
                let seen = consumers.positions(group).await.expect("a memory store answers");
                behind |= seen.iter().zip(&head.lanes).any(|(seen, head)| seen < head);
            }
            if !behind {
                return;
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
        panic!("consumers have not handled everything: {consumers:?}");
    }

    /// The public and internal events of the service under test, by type, in order.
    pub async fn journal(&self) -> Vec<String> {
        let tail = self
            .engine
            .reader()
            .store()
            .tail(Position::START, 10_000)
            .await
            .expect("a memory store answers");
        tail.events
            .into_iter()
            .map(|event| event.event_type.into_owned())
            .collect()
    }
}

/// An event of a service that is not there.
#[derive(Clone)]
struct Foreign(PublicEvent);

impl EventData for Foreign {
    const TYPES: &'static [contracts::EventKind] = PublicEvent::TYPES;

    fn kind(&self) -> contracts::EventKind {
        self.0.kind()
    }

    fn encode(&self) -> Result<Box<serde_json::value::RawValue>, serde_json::Error> {
        self.0.encode()
    }

    fn decode(event_type: &str, schema: u16, data: &str) -> Result<Self, contracts::DecodeError> {
        PublicEvent::decode(event_type, schema, data).map(Self)
    }
}

impl Projected for Foreign {
    fn project(&self, _: &Occurrence<'_>, _: &mut Views<'_>) {}
}
