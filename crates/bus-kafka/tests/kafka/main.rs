//! Kafka against the port's contract.

mod line;

use std::sync::Arc;

use async_trait::async_trait;
use bus_kafka::{KafkaBus, KafkaOptions};
use kernel::bus::Bus;
use kernel::bus::shares::LEASE;
use kernel::clock::{Ids, SystemClock};
use servers::Kind;
use testkit::bus_suite::broker::{Joins, Own, Shared};
use testkit::bus_suite::fixture::{Journal, LANES, Received, group, publish, receive, receive_all, subscribe, until};
use testkit::bus_suite::{BusFactory as _, Process};
use tokio::time::timeout;
use uuid::Uuid;

use crate::line::Line;

/// Kafka by this adapter.
struct Kafka;

#[async_trait]
impl Joins for Kafka {
    const KIND: Kind = Kind::Kafka;

    /// The coordinator gives members their names.
    async fn join(_: Option<Uuid>, url: &str, prefix: &str, lanes: u16) -> Process {
        let (bus, line) = open(url, prefix, lanes).await;
        Process::new(bus, move || line.cut())
    }
}

async fn open(url: &str, prefix: &str, lanes: u16) -> (Arc<dyn Bus>, Line) {
    let (login, broker) = url.rsplit_once('@').expect("the broker's URL has a login");
    let line = Line::to(broker.to_owned()).await;
    let url = format!("{login}@{}", line.address());
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
    let options = KafkaOptions::new(&url, prefix, lanes, clock, ids).expect("the broker has a URL");
    let bus = KafkaBus::open(options).await.expect("the bus opens");
    (Arc::new(bus), line)
}

mod kafka {
    use super::*;

    testkit::bus_suite!(Shared::<Kafka>::new());
    testkit::bus_outage_suite!(Own::<Kafka>::new().await);
}

/// The coordinator waits for its former self, but not as long as for a member of which nothing is heard.
#[tokio::test]
async fn a_process_that_was_killed_and_is_started_again_goes_on_soon() {
    let shared = Shared::<Kafka>::new();
    let killed = shared.join(LANES).await;
    let mut journal = Journal::new();
    publish(&killed.bus, journal.next(40)).await;
    let mut subscription = subscribe(&killed.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
    killed.cut();

    let again = shared.join(LANES).await;
    let going_on = async {
        let mut subscription = subscribe(&again.bus, &group("a")).await;
        receive_all(&mut subscription, &mut Received::default(), &journal).await;
    };
    timeout(LEASE / 2, going_on).await.expect("it goes on soon");
}

/// Not that it would harm: but a network that fails often would fill the topic.
#[tokio::test]
async fn what_was_taken_without_an_answer_is_taken_once() {
    let shared = Shared::<Kafka>::new();
    let (bus, line) = open(&shared.url, &shared.prefix, LANES).await;
    let mut journal = Journal::new();
    for _ in 0..3 {
        line.lose_answer();
        publish(&bus, journal.next(50)).await;
        assert!(!line.is_to_lose(), "no answer was lost");
    }
    let mut subscription = subscribe(&bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    publish(&bus, journal.next_in_each_lane()).await;
    while !received.has_all_of(&journal) {
        let messages = receive(&mut subscription, 100).await;
        messages.iter().for_each(|message| received.note(message));
    }
    assert_eq!(received.repeated, 0, "something was taken twice");
}

#[tokio::test]
async fn a_subscription_knows_whether_the_broker_is_reached() {
    let shared = Shared::<Kafka>::new();
    let process = shared.join(LANES).await;
    process.bus.declare(&[group("a")]).await.expect("nothing is there yet");
    let subscription = subscribe(&process.bus, &group("a")).await;
    assert!(subscription.is_live());
    process.cut();
    until(LEASE, "it is noticed", || !subscription.is_live()).await;
}
