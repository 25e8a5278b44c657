//! The event service with the journals of all the others in the test's hand.

use std::sync::Arc;
use std::time::Duration;

use contracts::log::{ListEvents, PublishEvent, StreamEvents};
use contracts::{CloudEvent, Currency, EventId, Money, OrderId, Page, PaymentId, Role, Service, SessionId, UserId};
use contracts::{order, payment, stock, user};
use events::{COLLECTIONS, Entry, Events, Live};
use kernel::access::AccessEvents;
use kernel::auth::User;
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids};
use kernel::context::Context;
use kernel::engine::{Engine, Parts};
use kernel::event::{Meta, NewEvent, Position, StreamId};
use kernel::writer::{self, Priority};
use serde_json::json;
use testkit::harness::Harness;

pub(crate) struct Rig {
    pub(crate) harness: Harness,
    pub(crate) engine: Engine,
    pub(crate) access: AccessEvents,
    pub(crate) events: Events,
}

pub(crate) async fn rig() -> Rig {
    let harness = Harness::new(Service::Events, COLLECTIONS).await;
    let bus = Arc::clone(harness.bus());
    rig_on(harness, &bus).await
}

pub(crate) async fn rig_on(harness: Harness, bus: &Arc<dyn Bus>) -> Rig {
    let engine = harness.engine();
    let access = AccessEvents::new(Arc::clone(engine.clock()), Arc::clone(engine.ids()));
    let events = Events::start(engine.clone(), bus, harness.verifier(), access.clone())
        .await
        .unwrap();
    Rig {
        harness,
        engine,
        access,
        events,
    }
}

impl Rig {
    pub(crate) fn user(&self, role: Role) -> User {
        let (id, session) = (
            UserId::from_uuid(self.harness.uuid()),
            SessionId::from_uuid(self.harness.uuid()),
        );
        User { id, role, session }
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::from_uuid(self.harness.uuid())
    }

    pub(crate) async fn settle(&self) {
        self.harness.settle(self.events.consumers()).await;
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.harness.clock().sleep(time).await;
    }

    /// An event that others than its service do not see.
    pub(crate) async fn internal(&self, source: Service, stream: impl std::fmt::Display) {
        let engine = self.harness.source(source);
        let stream = StreamId::new(stream.to_string());
        let version = engine.reader().history(&stream).await.unwrap().len() as u64 + 1;
        let recorded = engine
            .writer()
            .execute(Priority::Background, Context::system("test"), move |unit| {
                let meta = Meta {
                    schema: 1,
                    actor: "system".into(),
                    correlation: "test".into(),
                    causation: None,
                    trace: None,
                };
                unit.record(NewEvent {
                    id: EventId::from_uuid(unit.uuid()),
                    stream: stream.clone(),
                    version,
                    lane: unit.lane_of(&stream),
                    event_type: "order.considered".into(),
                    time: unit.now(),
                    data: serde_json::from_str("{}").unwrap(),
                    meta: Arc::new(meta),
                });
                Ok::<(), writer::Error>(())
            });
        recorded.await.unwrap();
    }

    /// What an order goes through, over several services; an internal event among it.
    pub(crate) async fn journey(&self, user_id: UserId) -> OrderId {
        let order_id = self.order();
        let payment_id = PaymentId::from_uuid(self.harness.uuid());
        let reservation_id = contracts::ReservationId::of(order_id);
        let total = eur(2500);
        let publish = &self.harness;
        let placed = order::Placed {
            order_id,
            user_id,
            lines: vec![],
            total,
            details: vec![],
        };
        publish.publish(Service::Orders, order_id, placed).await;
        self.internal(Service::Orders, order_id).await;
        let reserved = stock::Reserved {
            reservation_id,
            order_id,
            user_id,
            lines: vec![],
        };
        publish.publish(Service::Inventory, reservation_id, reserved).await;
        publish
            .publish(Service::Orders, order_id, confirmed(order_id, user_id))
            .await;
        let authorized = payment::Authorized {
            payment_id,
            order_id,
            user_id,
            amount: total,
        };
        self.internal(Service::Payments, payment_id).await;
        publish.publish(Service::Payments, payment_id, authorized).await;
        let captured = payment::Captured {
            payment_id,
            order_id,
            user_id,
            amount: total,
        };
        publish.publish(Service::Payments, payment_id, captured).await;
        let paid_by = order::PaidBy::Payment { payment_id };
        publish
            .publish(
                Service::Orders,
                order_id,
                order::Paid {
                    order_id,
                    user_id,
                    amount: total,
                    paid_by,
                },
            )
            .await;
        order_id
    }

    pub(crate) async fn registered(&self) -> UserId {
        let user_id = UserId::from_uuid(self.harness.uuid());
        let registered = user::Registered {
            user_id,
            role: Role::Customer,
        };
        self.harness.publish(Service::Users, user_id, registered).await;
        user_id
    }

    pub(crate) async fn publish(&self, subject: &str) -> EventId {
        self.publish_with(subject, json!({})).await
    }

    pub(crate) async fn publish_with(&self, subject: &str, data: serde_json::Value) -> EventId {
        let event = json!({"type": "custom.tested", "subject": subject, "data": data});
        let event: PublishEvent = serde_json::from_value(event).unwrap();
        let context = self.harness.context(UserId::from_uuid(self.harness.uuid()));
        self.events.publish(event, context).await.unwrap().id
    }

    pub(crate) async fn page(&self, query: serde_json::Value) -> Page<Arc<Entry>> {
        let query: ListEvents = serde_json::from_value(query).unwrap();
        self.events.log(&query).await.unwrap()
    }

    /// The whole log, a page after the other.
    pub(crate) async fn log(&self) -> Vec<CloudEvent> {
        let mut log = Vec::new();
        let mut after = 0;
        loop {
            let page = self.page(json!({"after": after, "limit": 200})).await;
            log.extend(page.data.iter().map(|entry| cloud_event(entry.json())));
            let Some(cursor) = page.next_cursor else { return log };
            after = cursor.as_str().parse().unwrap();
        }
    }

    pub(crate) async fn stream(&self, user: User, from: Option<u64>) -> Live {
        self.filtered(user, json!({}), from).await
    }

    pub(crate) async fn filtered(&self, user: User, query: serde_json::Value, from: Option<u64>) -> Live {
        let query: StreamEvents = serde_json::from_value(query).unwrap();
        let until = self.harness.clock().now() + jiff::SignedDuration::from_mins(15);
        self.events
            .stream(user, until, query, from.map(Position))
            .await
            .unwrap()
    }

    /// The process ends and another one goes on with its store.
    pub(crate) async fn restart(&mut self, bus: &Arc<dyn Bus>) {
        self.engine.stop().await;
        let clock = Arc::clone(self.harness.clock());
        let (store, ids) = (Arc::clone(self.engine.reader().store()), Arc::new(Ids::from_seed(8)));
        self.engine = Engine::start(
            Service::Events,
            Parts {
                store,
                replica: None,
                clock,
                ids,
            },
        )
        .await
        .unwrap();
        let started = Events::start(self.engine.clone(), bus, self.harness.verifier(), self.access.clone()).await;
        self.events = started.unwrap();
    }
}

pub(crate) fn cloud_event(json: &str) -> CloudEvent {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR).unwrap()
}

pub(crate) fn confirmed(order_id: OrderId, user_id: UserId) -> order::Confirmed {
    order::Confirmed {
        order_id,
        user_id,
        total: eur(2500),
        expires_at: "2026-01-01T12:30:00Z".parse().unwrap(),
    }
}

/// One message of a live stream, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) data: Option<String>,
    pub(crate) comment: bool,
}

impl Frame {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let text = text.strip_suffix("\n\n").expect("a frame ends with an empty line");
        let mut frame = Self {
            id: None,
            data: None,
            comment: false,
        };
        for line in text.lines() {
            match line.split_once(':').expect("a line has a colon") {
                ("id", id) => frame.id = Some(id.trim().parse().unwrap()),
                ("data", data) => {
                    assert!(
                        frame.data.replace(data.trim_start().to_owned()).is_none(),
                        "data is one line"
                    );
                }
                ("retry", _) => {}
                ("", _) => frame.comment = true,
                _ => panic!("{line}"),
            }
        }
        frame
    }

    pub(crate) fn event(&self) -> CloudEvent {
        cloud_event(self.data.as_deref().expect("the frame has data"))
    }
}

/// The next event of a stream, past what is none.
pub(crate) async fn next(live: &mut Live) -> Option<Frame> {
    loop {
        let frame = Frame::read(&live.next().await?);
        if frame.data.is_some() {
            return Some(frame);
        }
    }
}
