//! What is taken, from whom, for whom, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::Service;
use kernel::bus::{ACKNOWLEDGED_MAX, BusError, Group};
use kernel::event::{Lane, Position, StreamId};
use kernel::store::{ENVELOPE_BYTES_MAX, EVENT_BYTES_MAX};
use kernel::wire::{self, MESSAGE_BYTES_MAX};
use tokio::time::sleep;

use super::BusFactory;
use super::fixture::{
    Journal, LANES, Received, acknowledge, group, joined, publish, receive, receive_all, stream_in, subscribe,
};

pub async fn what_is_published_again_comes_again(factory: &dyn BusFactory) {
    const TIMES: u32 = 3;
    let process = joined(factory, &[group("a")]).await;
    let messages = Journal::new().next(40);
    for _ in 0..TIMES {
        publish(&process.bus, messages.clone()).await;
    }
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut counts: BTreeMap<Position, u32> = BTreeMap::new();
    while counts.len() < messages.len() || counts.values().any(|count| *count < TIMES) {
        for message in receive(&mut subscription, 100).await {
            *counts.entry(message.event.position).or_default() += 1;
        }
    }
    // Also what was acknowledged long ago, and to a consumer that follows.
    acknowledge(&mut subscription, Received::from(BTreeMap::new()).reached()).await;
    publish(&process.bus, messages.clone()).await;
    while counts.values().any(|count| *count < TIMES + 1) {
        for message in receive(&mut subscription, 100).await {
            *counts.entry(message.event.position).or_default() += 1;
        }
    }
}

pub async fn a_declared_group_misses_nothing(factory: &dyn BusFactory) {
    let publisher = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&publisher.bus, journal.next(100)).await;
    let consumer = joined(factory, &[group("a")]).await;
    publish(&publisher.bus, journal.next(10)).await;
    let mut subscription = subscribe(&consumer.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
}

pub async fn declaring_again_changes_nothing(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a"), group("b")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(50)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
    sleep(ACKNOWLEDGED_MAX).await;

    let other = joined(factory, &[group("b"), group("a"), group("c")]).await;
    process.bus.declare(&[group("a")]).await.expect("it is there");
    publish(&other.bus, journal.next_in_each_lane()).await;
    receive_all(&mut subscription, &mut received, &journal).await;
    assert_eq!(received.repeated, 0, "its progress was forgotten");
    let mut subscription = subscribe(&other.bus, &group("b")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
}

pub async fn another_number_of_lanes_is_refused(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(10)).await;

    let other = factory.join(LANES / 2).await;
    let declared = other.bus.declare(&[group("a")]).await;
    let subscribed = other
        .bus
        .subscribe(&group("a"), vec![Position::START; usize::from(LANES / 2)])
        .await;
    let published = other.bus.publish(journal.next_in(Lane(0), 1)).await;
    for refused in [declared, subscribed.map(drop), published] {
        let error = refused.expect_err("the lanes differ");
        assert!(matches!(error, BusError::Differs { .. }), "{error}");
        let words = error.to_string();
        assert!(
            words.contains('8') && words.contains('4'),
            "it does not say what differs: {words}"
        );
    }
    let beyond = factory.join(LANES).await;
    let mut message = journal.next(1).remove(0);
    let event = Arc::make_mut(&mut message.event);
    event.lane = Lane(LANES);
    let error = beyond
        .bus
        .publish(vec![message])
        .await
        .expect_err("there is no such lane");
    assert!(matches!(error, BusError::Differs { .. }), "{error}");
}

pub async fn groups_do_not_know_of_each_other(factory: &dyn BusFactory) {
    let groups = [
        group("a"),
        group("b"),
        Group {
            service: Service::Payments,
            ..group("a")
        },
    ];
    let process = joined(factory, &groups).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(60)).await;
    let mut side_by_side = Vec::new();
    for group in &groups {
        let mut subscription = subscribe(&process.bus, group).await;
        let mut received = Received::default();
        receive_all(&mut subscription, &mut received, &journal).await;
        side_by_side.push((subscription, received));
    }
    let (one, all_of_one) = &mut side_by_side[0];
    for &lane in journal.heads().keys() {
        one.rewind(lane, Position::START).await.expect("the broker is there");
    }
    *all_of_one = Received::default();
    publish(&process.bus, journal.next(60)).await;
    for (subscription, received) in &mut side_by_side {
        receive_all(subscription, received, &journal).await;
        acknowledge(subscription, received.reached()).await;
    }
    side_by_side.remove(1);
    publish(&process.bus, journal.next(60)).await;
    for (subscription, received) in &mut side_by_side {
        receive_all(subscription, received, &journal).await;
        acknowledge(subscription, received.reached()).await;
    }
}

pub async fn a_group_receives_its_source_alone(factory: &dyn BusFactory) {
    let of_payments = Group {
        source: Service::Payments,
        ..group("a")
    };
    let process = joined(factory, &[group("a"), of_payments.clone()]).await;
    let (mut orders, mut payments) = (Journal::new(), Journal::of(Service::Payments));
    publish(&process.bus, payments.next(20)).await;
    publish(&process.bus, orders.next(30)).await;
    for (group, journal) in [(group("a"), orders), (of_payments, payments)] {
        let mut subscription = subscribe(&process.bus, &group).await;
        let mut received = Received::default();
        while !received.has_all_of(&journal) {
            for message in receive(&mut subscription, 100).await {
                assert_eq!(message.source, group.source);
                received.note(&message);
            }
        }
    }
}

pub async fn the_largest_message_passes(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX - 2));
    let mut messages = journal.next(8);
    for _ in 0..12 {
        messages.push(journal.event(stream_in(Lane(2)), &data));
    }
    messages.extend(journal.next(8));
    publish(&process.bus, messages).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
}

pub async fn what_is_too_large_is_refused_with_its_size(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    let small = journal.next_in(Lane(5), 1).remove(0);
    let large = Journal::new().event(StreamId::new("s"), &format!("\"{}\"", "x".repeat(MESSAGE_BYTES_MAX)));
    let size = wire::encode(&large).len();
    let refused = process.bus.publish(vec![small.clone(), large]).await;
    let error = refused.expect_err("it is too large");
    assert!(
        matches!(error, BusError::TooLarge { bytes, .. } if bytes == size),
        "{error}"
    );
    assert!(error.to_string().contains(&size.to_string()), "{error}");

    // What was handed over with it was not sent either.
    publish(&process.bus, vec![small]).await;
    publish(&process.bus, journal.next_in(Lane(5), 1)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    assert_eq!(received.repeated, 0, "a message came that was refused with another one");
}
