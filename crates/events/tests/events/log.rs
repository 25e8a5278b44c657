//! The log: what is in it, and reading it.

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::{CloudEvent, EventData, EventId, PublicEvent, Role, Service};
use events::{COLLECTIONS, Error, SCANNED_EVENTS_MAX};
use kernel::bus::Bus;
use kernel::event::{Position, Recorded};
use kernel::store::EVENT_BYTES_MAX;
use kernel::writer;
use serde_json::json;
use testkit::faults::StutteringBus;
use testkit::harness::Harness;

use crate::rig::{Rig, rig, rig_on};

/// The public events of a service's journal, by stream.
async fn public(rig: &Rig, source: Service) -> BTreeMap<String, Vec<Recorded>> {
    let journal = rig
        .harness
        .source(source)
        .reader()
        .store()
        .tail(Position::START, 100_000)
        .await
        .unwrap();
    let mut streams: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for event in journal
        .events
        .into_iter()
        .filter(|event| PublicEvent::is_public(&event.event_type))
    {
        streams.entry(event.stream.to_string()).or_default().push(event);
    }
    streams
}

/// The log holds every public event of every service once, in the order of its stream, and nothing else.
async fn assert_log_is_complete(rig: &Rig) {
    let mut logged: BTreeMap<(Service, String), Vec<CloudEvent>> = BTreeMap::new();
    for event in rig.log().await {
        logged
            .entry((event.source, event.subject.clone()))
            .or_default()
            .push(event);
    }
    for &source in Service::ALL.iter().filter(|&&source| source != Service::Events) {
        for (stream, events) in public(rig, source).await {
            let copies = logged.remove(&(source, stream.clone())).unwrap_or_default();
            assert_eq!(copies.len(), events.len(), "{stream}");
            for (copy, event) in copies.iter().zip(&events) {
                assert_eq!(
                    (copy.id, &*copy.r#type, copy.streamversion),
                    (event.id, &*event.event_type, event.version)
                );
                assert_eq!((copy.time, copy.data.get()), (event.time, event.data.get()));
                assert_eq!((copy.schemaversion, &copy.partitionkey), (event.meta.schema, &stream));
                assert_eq!(copy.actor.as_deref(), Some(&*event.meta.actor));
                assert_eq!(copy.correlationid, *event.meta.correlation);
                assert!(copy.decode::<PublicEvent>().is_ok());
            }
        }
    }
    assert!(logged.is_empty(), "{logged:?}");
}

#[tokio::test(start_paused = true)]
async fn the_log_is_the_public_events_of_all_services_in_the_order_of_their_streams() {
    let rig = rig().await;
    for _ in 0..40 {
        let user = rig.registered().await;
        rig.journey(user).await;
    }
    rig.settle().await;
    assert_eq!(rig.log().await.len(), 40 * 7);
    assert_log_is_complete(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_says_where_in_the_log_it_is() {
    let rig = rig().await;
    for _ in 0..5 {
        rig.journey(rig.registered().await).await;
    }
    rig.settle().await;
    let head = rig.engine.reader().store().tail(Position::START, 0).await.unwrap().head;
    let mut last: BTreeMap<u16, u64> = BTreeMap::new();
    for (position, event) in (1..).zip(rig.log().await) {
        assert_eq!((event.sequence, event.epoch), (position, head.epoch.0.to_string()));
        assert_eq!(event.prev, last.insert(event.lane, position).unwrap_or(0));
    }
}

#[tokio::test(start_paused = true)]
async fn redelivery_and_restarts_leave_no_trace_in_the_log() {
    let harness = Harness::new(Service::Events, COLLECTIONS).await;
    let bus: Arc<dyn Bus> = Arc::new(StutteringBus::new(Arc::clone(harness.bus())));
    let mut rig = rig_on(harness, &bus).await;
    for _ in 0..5 {
        for _ in 0..10 {
            rig.journey(rig.registered().await).await;
        }
        rig.publish("between").await;
        rig.restart(&bus).await;
    }
    rig.settle().await;
    let custom = rig
        .log()
        .await
        .iter()
        .filter(|event| event.source == Service::Events)
        .count();
    assert_eq!(custom, 5);
    assert_eq!(rig.log().await.len(), 50 * 7 + 5);
}

#[tokio::test(start_paused = true)]
async fn events_are_found_by_type_subject_and_source() {
    let rig = rig().await;
    let order = rig.journey(rig.registered().await).await;
    rig.journey(rig.registered().await).await;
    rig.settle().await;
    let count = async |query| rig.page(query).await.data.len();
    assert_eq!(count(json!({"type": "order.*"})).await, 6);
    assert_eq!(count(json!({"type": "order.paid"})).await, 2);
    assert_eq!(count(json!({"type": "*"})).await, 14);
    assert_eq!(count(json!({"subject": order})).await, 3);
    assert_eq!(count(json!({"source": "payments"})).await, 4);
    assert_eq!(count(json!({"source": "payments", "subject": order})).await, 0);
    assert_eq!(
        count(json!({"subject": order, "type": "order.confirmed", "source": "orders"})).await,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other_and_the_last_one_says_so() {
    let rig = rig().await;
    for _ in 0..10 {
        rig.publish("a").await;
    }
    let first = rig.page(json!({"limit": 4})).await;
    assert_eq!(
        (first.data.len(), first.next_cursor.as_ref().map(|it| it.as_str())),
        (4, Some("4"))
    );
    let last = rig.page(json!({"limit": 6, "after": 4})).await;
    assert_eq!((last.data.len(), last.next_cursor), (6, None));
    let beyond = rig.page(json!({"after": 10})).await;
    assert_eq!((beyond.data.len(), beyond.next_cursor), (0, None));
    let far_beyond = rig.page(json!({"after": u64::MAX})).await;
    assert_eq!((far_beyond.data.len(), far_beyond.next_cursor), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_page_looks_at_so_many_events_and_then_says_where_to_go_on() {
    let rig = rig().await;
    let total = SCANNED_EVENTS_MAX + 3000;
    for _ in 0..total / 1000 {
        futures::future::join_all((0..1000).map(|_| rig.publish("hay"))).await;
    }
    rig.publish("needle").await;
    let first = rig.page(json!({"subject": "needle"})).await;
    assert_eq!(first.data.len(), 0);
    let after: u64 = first.next_cursor.unwrap().as_str().parse().unwrap();
    assert!((SCANNED_EVENTS_MAX as u64..=total as u64).contains(&after), "{after}");
    let second = rig.page(json!({"subject": "needle", "after": after})).await;
    assert_eq!((second.data.len(), second.next_cursor), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_page_of_large_events_ends_early() {
    let rig = rig().await;
    let data = json!({"text": "x".repeat(200_000)});
    for _ in 0..30 {
        rig.publish_with("large", data.clone()).await;
    }
    let page = rig.page(json!({"limit": 200})).await;
    assert!((20..30).contains(&page.data.len()), "{}", page.data.len());
    assert_eq!(rig.log().await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn custom_events_stay_in_the_order_of_their_subject() {
    let rig = rig().await;
    let mut published: Vec<EventId> = Vec::new();
    for number in 0..6 {
        published.push(rig.publish(["a", "a/b"][number % 2]).await);
    }
    let log = rig.log().await;
    assert!(log.iter().map(|event| event.id).eq(published));
    let versions: Vec<(&str, u64)> = log.iter().map(|event| (&*event.subject, event.streamversion)).collect();
    assert_eq!(
        versions,
        [("a", 1), ("a/b", 1), ("a", 2), ("a/b", 2), ("a", 3), ("a/b", 3)]
    );
    assert!(
        log.iter()
            .all(|event| event.source == Service::Events && event.r#type == "custom.tested")
    );
}

#[tokio::test(start_paused = true)]
async fn the_largest_event_that_a_service_can_have_is_in_the_log() {
    let rig = rig().await;
    let user = rig.user(Role::Customer).id;
    let order_id = rig.order();
    // The name of a field that changed stands for whatever can be long.
    let updated = |bytes| contracts::order::Updated {
        order_id,
        user_id: user,
        changed: vec!["x".repeat(bytes)],
    };
    let rest = PublicEvent::from(updated(0)).encode().unwrap().get().len();
    rig.harness
        .publish(Service::Orders, order_id, updated(EVENT_BYTES_MAX - rest))
        .await;
    rig.settle().await;
    assert_eq!(rig.log().await.len(), 1);
    assert_eq!(rig.log().await[0].data.get().len(), EVENT_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_custom_event_is_no_larger_than_any_other() {
    let rig = rig().await;
    let publish = async |bytes: usize| {
        let data = json!({"text": "x".repeat(bytes - r#"{"text":""}"#.len())});
        let event = json!({"type": "custom.tested", "subject": "large", "data": data});
        let context = rig.harness.context(rig.user(Role::Admin).id);
        rig.events
            .publish(serde_json::from_value(event).unwrap(), context)
            .await
    };
    let refused = publish(EVENT_BYTES_MAX + 1).await;
    let bytes_max = EVENT_BYTES_MAX;
    assert!(
        matches!(refused, Err(Error::Write(writer::Error::EventTooLarge { bytes })) if bytes == bytes_max + 1),
        "{refused:?}"
    );
    publish(EVENT_BYTES_MAX).await.unwrap();
    assert_eq!(rig.log().await.len(), 1);
}
