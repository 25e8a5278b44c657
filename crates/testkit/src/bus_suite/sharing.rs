//! Who receives which lanes, and who follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::{ACKNOWLEDGED_MAX, HANDOVER_MAX, TAKEOVER_MAX};
use kernel::event::Lane;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::fixture::{
    COMES_MAX, Floor, Journal, LANES, Received, acknowledge, group, joined, publish, receive, receive_all, subscribe,
    until,
};
use super::{BusFactory, Process};

/// A worker on a floor, until it is dropped.
struct Worker {
    process: Process,
    task: AbortOnDropHandle<()>,
}

impl Worker {
    async fn start(factory: &dyn BusFactory, floor: &Arc<Floor>, number: usize, first: Duration) -> Self {
        let process = joined(factory, &[group("a")]).await;
        let subscription = subscribe(&process.bus, &group("a")).await;
        let task: JoinHandle<()> = tokio::spawn(Arc::clone(floor).work(number, subscription, first));
        let task = AbortOnDropHandle::new(task);
        Self { process, task }
    }

    fn is_well(&self) {
        assert!(!self.task.is_finished(), "a worker has met with what must not be");
    }
}

/// Publishes until each of these workers has been seen to receive something that was published from now on.
async fn until_all_receive(publisher: &Process, journal: &mut Journal, floor: &Floor, workers: &[(usize, &Worker)]) {
    let since = journal.next(1).remove(0);
    let position = since.event.position;
    publish(&publisher.bus, vec![since]).await;
    let publishing = async {
        loop {
            publish(&publisher.bus, journal.next(32)).await;
            let receives = |worker| floor.seen_by(worker).values().any(|seen| *seen > position);
            workers.iter().for_each(|(_, worker)| worker.is_well());
            if workers.iter().all(|(number, _)| receives(*number)) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let outcome = timeout(COMES_MAX, publishing).await;
    outcome.expect("each subscriber gets a share");
}

pub async fn each_lane_is_received_by_one_subscriber_at_a_time(factory: &dyn BusFactory) {
    let publisher = joined(factory, &[group("a")]).await;
    let (floor, mut journal) = (Arc::<Floor>::default(), Journal::new());
    let a = Worker::start(factory, &floor, 0, Duration::ZERO).await;
    until_all_receive(&publisher, &mut journal, &floor, &[(0, &a)]).await;
    let b = Worker::start(factory, &floor, 1, Duration::ZERO).await;
    until_all_receive(&publisher, &mut journal, &floor, &[(0, &a), (1, &b)]).await;
    let c = Worker::start(factory, &floor, 2, Duration::ZERO).await;
    until_all_receive(&publisher, &mut journal, &floor, &[(0, &a), (1, &b), (2, &c)]).await;
    // Whoever is stopped in the middle of its work leaves the lane to those who are left.
    drop(a.task);
    until_all_receive(&publisher, &mut journal, &floor, &[(1, &b), (2, &c)]).await;
    until(COMES_MAX, "everything was received", || {
        b.is_well();
        c.is_well();
        floor.received().has_all_of(&journal)
    })
    .await;
}

pub async fn all_subscribers_have_a_share_and_together_everything(factory: &dyn BusFactory) {
    let a = joined(factory, &[group("a")]).await;
    let b = joined(factory, &[group("a")]).await;
    let mut first = subscribe(&a.bus, &group("a")).await;
    let mut second = subscribe(&b.bus, &group("a")).await;
    let mut journal = Journal::new();
    let (mut received, mut by) = (Received::default(), [BTreeMap::new(), BTreeMap::new()]);
    let sharing = async {
        loop {
            by = [BTreeMap::new(), BTreeMap::new()];
            publish(&a.bus, journal.next_in_each_lane()).await;
            while !received.has_all_of(&journal) {
                let (subscription, by, messages) = tokio::select! {
                    messages = first.receive(100) => (&mut first, &mut by[0], messages),
                    messages = second.receive(100) => (&mut second, &mut by[1], messages),
                };
                let messages = messages.expect("the bus is there");
                messages.iter().for_each(|message| received.note(message));
                for message in messages {
                    by.insert(message.event.lane, message.event.position);
                }
                acknowledge(subscription, by).await;
            }
            if by.iter().all(|lanes| lanes.len() >= usize::from(LANES / 4)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let outcome = timeout(HANDOVER_MAX, sharing).await;
    outcome.expect("a newcomer gets its share in time");
    for lane in (0..LANES).map(Lane) {
        assert_eq!(first.receives(lane), by[0].contains_key(&lane), "of lane {}", lane.0);
        assert_eq!(second.receives(lane), by[1].contains_key(&lane), "of lane {}", lane.0);
        assert_ne!(first.receives(lane), second.receives(lane), "of lane {}", lane.0);
    }
}

pub async fn lanes_of_a_subscriber_that_was_dropped_are_taken_over_soon(factory: &dyn BusFactory) {
    let publisher = joined(factory, &[group("a")]).await;
    let (floor, mut journal) = (Arc::<Floor>::default(), Journal::new());
    let a = Worker::start(factory, &floor, 0, Duration::ZERO).await;
    let b = Worker::start(factory, &floor, 1, Duration::ZERO).await;
    until_all_receive(&publisher, &mut journal, &floor, &[(0, &a), (1, &b)]).await;
    drop(a.task);
    publish(&publisher.bus, journal.next_in_each_lane()).await;
    until(HANDOVER_MAX, "the other one receives all lanes", || {
        b.is_well();
        floor.seen_by(1).len() == usize::from(LANES) && floor.received().has_all_of(&journal)
    })
    .await;
    a.process.bus.close().await;
}

pub async fn lanes_of_a_subscriber_that_died_without_a_word_are_taken_over(factory: &dyn BusFactory) {
    let dying = joined(factory, &[group("a")]).await;
    let heir = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&heir.bus, journal.next(100)).await;
    let mut held = subscribe(&dying.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut held, &mut received, &journal).await;
    acknowledge(&mut held, received.reached()).await;
    sleep(ACKNOWLEDGED_MAX).await;
    publish(&heir.bus, journal.next(100)).await;
    receive_all(&mut held, &mut received.clone(), &journal).await;
    dying.cut();

    let taking_over = async {
        let mut subscription = subscribe(&heir.bus, &group("a")).await;
        receive_all(&mut subscription, &mut received, &journal).await;
        // And it may do with them as it likes.
        acknowledge(&mut subscription, received.reached()).await;
        publish(&heir.bus, journal.next_in_each_lane()).await;
        receive_all(&mut subscription, &mut received, &journal).await;
    };
    let outcome = timeout(TAKEOVER_MAX, taking_over).await;
    outcome.expect("another one takes the lanes over in time");
    assert_eq!(received.repeated, 0, "what was acknowledged came again");
    drop(held);
}

pub async fn whoever_is_cut_off_hands_nothing_out_that_others_may_have(factory: &dyn BusFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(200)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    receive(&mut subscription, 1).await;
    sleep(Duration::from_millis(100)).await;
    process.cut();
    sleep(factory.patience() + Duration::from_secs(1)).await;
    // It waits, or says that the bus is not there.
    for _ in 0..3 {
        if let Ok(Ok(messages)) = timeout(Duration::from_millis(300), subscription.receive(10)).await {
            panic!("{} messages that it had read ahead", messages.len());
        }
    }
}

pub async fn a_slow_handler_keeps_its_lanes_and_their_order(factory: &dyn BusFactory) {
    let publisher = joined(factory, &[group("a")]).await;
    let (floor, mut journal) = (Arc::<Floor>::default(), Journal::new());
    publish(&publisher.bus, journal.next(100)).await;
    let slow = Worker::start(factory, &floor, 0, factory.patience() + Duration::from_secs(2)).await;
    let other = Worker::start(factory, &floor, 1, Duration::ZERO).await;
    publish(&publisher.bus, journal.next(100)).await;
    until(COMES_MAX, "everything was received in order", || {
        slow.is_well();
        other.is_well();
        floor.received().has_all_of(&journal)
    })
    .await;
    assert!(!floor.seen_by(0).is_empty(), "the slow one has finished nothing");
    // It is as good a subscriber as before.
    until_all_receive(&publisher, &mut journal, &floor, &[(0, &slow), (1, &other)]).await;
    let mut late = subscribe(&publisher.bus, &group("b")).await;
    let first = receive(&mut late, 1).await;
    assert_eq!(first.len(), 1);
}
