//! What comes, in which order, how often, and when it comes again.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::bus::{ACKNOWLEDGED_MAX, HANDOVER_MAX};
use kernel::event::{Lane, Position, StreamId};
use kernel::wire;
use tokio::time::{sleep, timeout};

use super::BusFactory;
use super::fixture::{
    COMES_MAX, Journal, LANES, Received, acknowledge, group, joined, publish, receive, receive_all, subscribe,
};

pub async fn messages_arrive_as_they_were_published(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    let mut sent = journal.next(40);
    for data in [
        "{\"z\": 1.0,\n\"a\":\"\\u00e9 🦀\" }",
        "[0.10, 1e400]",
        "\"\\u0000\"",
        "null",
    ] {
        sent.push(journal.event(StreamId::new("sku:\"é\"\n/*.>"), data));
    }
    publish(&process.bus, sent.clone()).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut came = BTreeMap::new();
    while came.len() < sent.len() {
        for message in receive(&mut subscription, 100).await {
            came.insert(message.event.position, wire::encode(&message));
        }
    }
    for message in &sent {
        let (came, sent) = (&came[&message.event.position], wire::encode(message));
        assert_eq!(String::from_utf8_lossy(came), String::from_utf8_lossy(&sent));
    }
}

pub async fn within_a_lane_messages_come_in_the_order_of_publication(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    for round in 0..4 {
        for count in [1, 60, 2, 33, 7] {
            publish(&process.bus, journal.next(count + round)).await;
        }
        receive_all(&mut subscription, &mut received, &journal).await;
    }
}

pub async fn no_more_messages_come_at_once_than_were_asked_for(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(50)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    while !received.has_all_of(&journal) {
        let messages = receive(&mut subscription, 3).await;
        assert!(messages.len() <= 3, "{} messages", messages.len());
        messages.iter().for_each(|message| received.note(message));
    }
}

/// For each lane, the position of the message in the middle of what was received.
fn middle(journal: &Journal, mut published: Journal) -> BTreeMap<Lane, Position> {
    let mut lanes: BTreeMap<Lane, Vec<Position>> = BTreeMap::new();
    let last = journal.heads().values().max().expect("something was published");
    for message in published.next(last.0) {
        lanes
            .entry(message.event.lane)
            .or_default()
            .push(message.event.position);
    }
    lanes
        .into_iter()
        .map(|(lane, all)| (lane, all[all.len() / 2]))
        .collect()
}

pub async fn what_was_not_acknowledged_comes_again_to_whoever_subscribes_next(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(200)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
    let acknowledged = middle(&journal, Journal::new());
    acknowledge(&mut subscription, &acknowledged).await;
    drop(subscription);

    let other = joined(factory, &[group("a")]).await;
    for process in [&process, &other] {
        let mut subscription = subscribe(&process.bus, &group("a")).await;
        let mut received = Received::from(acknowledged.clone());
        receive_all(&mut subscription, &mut received, &journal).await;
        drop(subscription);
        process.bus.close().await;
    }
}

pub async fn what_was_not_acknowledged_comes_again_after_a_rewind(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(200)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    // Of what a client has read ahead, nothing comes before what it is asked for.
    for _ in 0..3 {
        receive(&mut subscription, 10).await;
        sleep(Duration::from_millis(50)).await;
        for lane in (0..LANES).map(Lane) {
            let rewound = subscription.rewind(lane, Position::START).await;
            rewound.expect("the bus is there");
        }
    }
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
    let acknowledged = middle(&journal, Journal::new());
    acknowledge(&mut subscription, &acknowledged).await;
    for round in 0..3 {
        for (&lane, &position) in &acknowledged {
            subscription.rewind(lane, position).await.expect("the bus is there");
        }
        let mut received = Received::from(acknowledged.clone());
        let again = receive_all(&mut subscription, &mut received, &journal);
        let outcome = timeout(HANDOVER_MAX, again).await;
        outcome.unwrap_or_else(|_| panic!("after rewind {round} it does not come at once"));
        assert_eq!(received.repeated, 0, "what was acknowledged came again");
    }
    // One lane alone is rewound alone.
    let (&lane, &position) = acknowledged.first_key_value().expect("there are lanes");
    subscription.rewind(lane, position).await.expect("the bus is there");
    publish(&process.bus, journal.next_in_each_lane()).await;
    let mut expected = Received::from(journal.heads().clone());
    let mut received = Received::from(BTreeMap::from([(lane, position)]));
    while received.reached_in(lane) < journal.heads()[&lane] {
        for message in receive(&mut subscription, 100).await {
            match message.event.lane == lane {
                true => received.note(&message),
                false => expected.note(&message),
            }
        }
    }
    assert!(expected.repeated <= u64::from(LANES), "other lanes came again");
}

pub async fn what_was_acknowledged_does_not_come_again(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(100)).await;
    // In the midst of what was published together.
    let half = middle(&journal, Journal::new());
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
    acknowledge(&mut subscription, &half).await;
    sleep(ACKNOWLEDGED_MAX).await;
    drop(subscription);
    let other = joined(factory, &[group("a")]).await;
    publish(&other.bus, journal.next_in_each_lane()).await;
    let mut subscription = subscribe(&other.bus, &group("a")).await;
    let mut received = Received::from(half);
    receive_all(&mut subscription, &mut received, &journal).await;
    assert_eq!(received.repeated, 0, "what was acknowledged came again");
}

pub async fn what_is_published_later_comes_however_much_is_unacknowledged(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    for _ in 0..3 {
        for _ in 0..4 {
            publish(&process.bus, journal.next_in(Lane(1), 500)).await;
        }
        receive_all(&mut subscription, &mut received, &journal).await;
    }
    // Those are acknowledged in the end, and so was all that came meanwhile.
    acknowledge(&mut subscription, received.reached()).await;
    publish(&process.bus, journal.next_in(Lane(1), 1)).await;
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
    sleep(ACKNOWLEDGED_MAX).await;
    drop(subscription);
    process.bus.close().await;
    publish(&process.bus, journal.next_in(Lane(1), 1)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let first = receive(&mut subscription, 1).await;
    assert_eq!(Some(&first[0].event.position), journal.heads().get(&Lane(1)));
}

pub async fn receiving_can_be_given_up_at_any_moment(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let bus = std::sync::Arc::clone(&process.bus);
    let mut journal = Journal::new();
    let rounds: Vec<_> = (0..150).map(|_| journal.next(3)).collect();
    let publishing = tokio::spawn(async move {
        for messages in rounds {
            publish(&bus, messages).await;
            sleep(Duration::from_millis(3)).await;
        }
    });
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    let receiving = async {
        for pause in (0..2000).cycle().step_by(37) {
            let given_up = timeout(Duration::from_micros(pause), subscription.receive(10)).await;
            for message in given_up
                .into_iter()
                .flat_map(|received| received.expect("the bus is there"))
            {
                received.note(&message);
            }
            if received.has_all_of(&journal) {
                return;
            }
        }
    };
    timeout(COMES_MAX, receiving).await.expect("everything comes in time");
    publishing.await.expect("everything was published");
}
