//! RabbitMQ against the port's contract.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_rabbitmq::{RabbitmqBus, RabbitmqOptions};
use contracts::CloudEvent;
use futures::StreamExt as _;
use kernel::bus::shares::{LEASE, LEASE_RENEWAL};
use kernel::bus::{ACKNOWLEDGED_MAX, Bus, HANDOVER_MAX};
use kernel::clock::{Ids, SystemClock};
use kernel::event::Lane;
use lapin::BasicProperties;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use servers::{Kind, Other};
use tempfile::TempDir;
use testkit::bus_suite::broker::{Joins, Own, Shared};
use testkit::bus_suite::fixture::{
    Journal, LANES, Received, acknowledge, group, joined, publish, publish_patiently, receive, receive_all, subscribe,
};
use testkit::bus_suite::{BrokerFactory as _, BusFactory as _, Process};
use testkit::line::Line;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// RabbitMQ by this adapter.
struct Rabbitmq;

/// A node has its first stream on the disk some seconds after it was made. Killed before that, it finds no stream again.
const REGISTERED: Duration = Duration::from_secs(5);

#[async_trait]
impl Joins for Rabbitmq {
    const KIND: Kind = Kind::Rabbitmq;

    async fn join(process: Option<Uuid>, url: &str, prefix: &str, lanes: u16) -> Process {
        let (login, server) = url.rsplit_once('@').expect("the server's URL has a login");
        let (address, vhost) = server.split_once('/').expect("and a virtual host");
        let line = Line::to(address.to_owned()).await;
        let url = format!("{login}@{}/{vhost}", line.address());
        let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
        let mut options = RabbitmqOptions::new(&url, prefix, lanes, clock, ids).expect("the server has a URL");
        options.process = process;
        let bus = RabbitmqBus::open(options).await.expect("the bus opens");
        Process::new(Arc::new(bus), move || line.cut())
    }

    async fn settle(shared: &Shared<Self>) {
        joined(shared, &[group("a")]).await;
        sleep(REGISTERED).await;
    }
}

mod rabbitmq {
    use super::*;

    testkit::bus_suite!(Shared::<Rabbitmq>::new());
    testkit::bus_outage_suite!(Own::<Rabbitmq>::new().await);
}

/// Others would have to wait for its lease.
#[tokio::test]
async fn a_process_that_was_killed_and_is_started_again_goes_on_at_once() {
    let shared = Shared::<Rabbitmq>::new();
    let name = Uuid::from_u128(7);
    let killed = shared.join_as(name, LANES).await;
    let mut journal = Journal::new();
    publish(&killed.bus, journal.next(40)).await;
    let mut subscription = subscribe(&killed.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
    killed.cut();

    let again = shared.join_as(name, LANES).await;
    let mut subscription = subscribe(&again.bus, &group("a")).await;
    let mut received = Received::default();
    let going_on = timeout(HANDOVER_MAX, receive_all(&mut subscription, &mut received, &journal)).await;
    going_on.expect("it waits for nobody");
}

/// What the client kept for later would be sent long after the relay gave it up, and take memory until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_nothing_is_kept_for_it() {
    let own = Own::<Rabbitmq>::new().await;
    let process = own.join(LANES).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(10)).await;
    own.kill().await;
    let messages = journal.next(100);
    let refused = async {
        while process.bus.publish(messages.clone()).await.is_ok() {}
        for _ in 0..1000 {
            process
                .bus
                .publish(messages.clone())
                .await
                .expect_err("the server is away");
        }
    };
    timeout(Duration::from_secs(10), refused)
        .await
        .expect("it is refused at once");
    own.start().await;
    publish_patiently(&process.bus, journal.next_in_each_lane()).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut count = 0;
    while let Ok(received) = timeout(Duration::from_secs(2), subscription.receive(1000)).await {
        count += received.expect("the bus is there").len();
    }
    // At most what was under way when the connection was lost.
    assert!(count <= 10 + messages.len() + usize::from(LANES), "{count} messages");
}

/// A client of its own, as an operator has.
async fn operator(url: &str) -> lapin::Channel {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await;
    let connection = connection.expect("the server is there");
    connection.create_channel().await.expect("the server is there")
}

/// So many messages in each lane, with one event each.
async fn publish_apart(bus: &Arc<dyn Bus>, journal: &mut Journal, count: usize) {
    for _ in 0..count {
        publish(bus, journal.next_in_each_lane()).await;
    }
}

/// In another stream of that name a cursor means nothing, even one that lies within it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
    let shared = Shared::<Rabbitmq>::new();
    let process = shared.join(LANES).await;
    let mut journal = Journal::new();
    publish_apart(&process.bus, &mut journal, 5).await;
    let mut gone = subscribe(&process.bus, &group("gone")).await;
    let mut live = subscribe(&process.bus, &group("live")).await;
    for subscription in [&mut gone, &mut live] {
        let mut received = Received::default();
        receive_all(subscription, &mut received, &journal).await;
        acknowledge(subscription, received.reached()).await;
    }
    drop(gone);
    process.bus.close().await;

    let operator = operator(&shared.url).await;
    for lane in 0..LANES {
        let stream = format!("{}.orders.{lane}", shared.prefix);
        let deleted = operator
            .queue_delete(stream.into(), QueueDeleteOptions::default())
            .await;
        deleted.expect("it is there");
    }
    let mut anew = Journal::new();
    for _ in 0..10 {
        publish_patiently(&process.bus, anew.next(10)).await;
    }
    let mut gone = subscribe(&process.bus, &group("gone")).await;
    for subscription in [&mut gone, &mut live] {
        receive_all(subscription, &mut Received::default(), &anew).await;
    }
}

/// One that is shorter than it was has nothing where the cursor is, and says nothing either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_before_the_cursor_is_read_from_its_beginning() {
    let shared = Shared::<Rabbitmq>::new();
    let process = shared.join(LANES).await;
    let mut journal = Journal::new();
    // So many that looking for the end, which adds to the stream, does not fill it up to the cursor.
    publish_apart(&process.bus, &mut journal, 100).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
    drop(subscription);
    process.bus.close().await;

    let operator = operator(&shared.url).await;
    for lane in 0..LANES {
        let stream = format!("{}.orders.{lane}", shared.prefix);
        let deleted = operator
            .queue_delete(stream.into(), QueueDeleteOptions::default())
            .await;
        deleted.expect("it is there");
    }
    let mut anew = Journal::new();
    publish_patiently(&process.bus, anew.next_in_each_lane()).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &anew).await;
}

/// What somebody else loses by deleting it is made again by whoever needs it next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_group_that_was_deleted_is_made_again() {
    let shared = Shared::<Rabbitmq>::new();
    let process = shared.join(LANES).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(50)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;

    let log = format!("{}.consumers.events.a.orders", shared.prefix);
    let operator = operator(&shared.url).await;
    let deleted = operator.queue_delete(log.into(), QueueDeleteOptions::default()).await;
    deleted.expect("it is there");
    publish(&process.bus, journal.next(50)).await;
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
    // It goes on for longer than anybody would hold a lane who cannot renew.
    sleep(LEASE).await;
    publish(&process.bus, journal.next_in_each_lane()).await;
    receive_all(&mut subscription, &mut received, &journal).await;
    assert_eq!(received.repeated, 0, "its progress was forgotten");
}

/// Shops may have queues of their own for some lanes, and lose none of ours by it. What is published together is in one message.
#[tokio::test]
async fn events_are_routed_by_lane_and_say_their_type() {
    let shared = Shared::<Rabbitmq>::new();
    let process = shared.join(LANES).await;
    process.bus.declare(&[group("a")]).await.expect("nothing is there yet");
    let operator = operator(&shared.url).await;
    let queue = ShortString::from(format!("{}.their-own", shared.prefix));
    let (exclusive, none) = (
        QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        },
        FieldTable::default(),
    );
    let declared = operator.queue_declare(queue.clone(), exclusive, none.clone()).await;
    declared.expect("nothing is there yet");
    let exchange = format!("{}.orders", shared.prefix);
    let bound = operator
        .queue_bind(
            queue.clone(),
            exchange.into(),
            "3".into(),
            QueueBindOptions::default(),
            none,
        )
        .await;
    bound.expect("the exchange is there");
    let mut journal = Journal::new();
    for _ in 0..3 {
        publish(&process.bus, journal.next_in_each_lane()).await;
    }
    let together = journal.next_in(Lane(3), 3);
    let ids: Vec<_> = together.iter().map(|message| message.event.id.to_string()).collect();
    publish(&process.bus, together).await;
    for _ in 0..3 {
        let found = operator
            .basic_get(queue.clone(), BasicGetOptions { no_ack: true })
            .await;
        let found = found.expect("the queue is there").expect("it was routed");
        let properties = &found.delivery.properties;
        assert_eq!(
            properties.kind().as_ref().map(|kind| kind.as_str()),
            Some("thing.happened")
        );
        assert_eq!(
            properties.content_type().as_ref().map(|kind| kind.as_str()),
            Some(kernel::wire::CONTENT_TYPE)
        );
    }
    let found = operator
        .basic_get(queue.clone(), BasicGetOptions { no_ack: true })
        .await;
    let found = found.expect("the queue is there").expect("it was routed");
    assert_eq!(
        found
            .delivery
            .properties
            .content_type()
            .as_ref()
            .map(|kind| kind.as_str()),
        Some("application/cloudevents-batch+json")
    );
    assert!(
        found.delivery.properties.kind().is_none(),
        "they may be of several types"
    );
    let events: Vec<CloudEvent> = serde_json::from_slice(&found.delivery.data).expect("they are CloudEvents");
    let found: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
    assert_eq!(found, ids);
    let further = operator.basic_get(queue, BasicGetOptions { no_ack: true }).await;
    assert!(further.expect("the queue is there").is_none(), "another lane's");
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
}

/// A broker ends the reading of whoever does not acknowledge for half an hour; this one, after 2 s. It is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_takes_longer_than_the_broker_waits_receives_everything() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start(Kind::Rabbitmq, directory.path(), "consumer_timeout = 2000\n").expect("a server starts");
    let shared = Shared::<Rabbitmq>::on(format!("amqp://shop:shop@{}/%2F", server.address()));
    let process = shared.join(LANES).await;
    let mut journal = Journal::new();
    // More than the broker sends ahead.
    publish_apart(&process.bus, &mut journal, 100).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    let mut received = Received::default();
    receive(&mut subscription, 1)
        .await
        .iter()
        .for_each(|message| received.note(message));
    sleep(Duration::from_secs(6)).await;
    let log = std::fs::read_to_string(directory.path().join("log")).expect("the server has one");
    assert!(log.contains("Timeout value used: 2000 ms"), "it has waited: {log}");
    receive_all(&mut subscription, &mut received, &journal).await;
}

/// The broker keeps the end of a group's log, in which everything is told again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_which_the_beginning_was_forgotten_tells_the_same() {
    const SEGMENTS: usize = 8;
    let shared = Shared::<Rabbitmq>::new();
    let first = shared.join(LANES).await;
    let mut journal = Journal::new();
    publish(&first.bus, journal.next(100)).await;
    let mut subscription = subscribe(&first.bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
    sleep(ACKNOWLEDGED_MAX).await;

    let operator = operator(&shared.url).await;
    let confirmed = operator.confirm_select(ConfirmSelectOptions::default()).await;
    confirmed.expect("the server is there");
    let padding = "x".repeat(1024 * 1024);
    for _ in 0..SEGMENTS {
        let entry = format!(
            "{{\"id\":\"{}\",\"cursors\":{{}},\"padding\":\"{padding}\"}}",
            Uuid::nil()
        );
        let sent = operator.basic_publish(
            format!("{}.consumers", shared.prefix).into(),
            "events.a.orders".into(),
            BasicPublishOptions::default(),
            entry.as_bytes(),
            BasicProperties::default(),
        );
        sent.await.expect("the server is there").await.expect("it takes it");
    }
    // Two renewals: by the second, a reader knows that the first one counts.
    sleep(LEASE_RENEWAL * 3).await;

    let second = shared.join(LANES).await;
    let mut other = subscribe(&second.bus, &group("a")).await;
    let shared_out = async {
        loop {
            publish(&first.bus, journal.next_in_each_lane()).await;
            while !received.has_all_of(&journal) {
                let messages = tokio::select! {
                    messages = subscription.receive(100) => messages,
                    messages = other.receive(100) => messages,
                };
                messages
                    .expect("the bus is there")
                    .iter()
                    .for_each(|message| received.note(message));
            }
            if (0..LANES).filter(|&lane| other.receives(Lane(lane))).count() == usize::from(LANES / 2) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HANDOVER_MAX * 2, shared_out)
        .await
        .expect("the other one has its share");
    drop(other);
    second.bus.close().await;

    let log = ShortString::from(format!("{}.consumers.events.a.orders", shared.prefix));
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    operator
        .basic_qos(1, BasicQosOptions::default())
        .await
        .expect("the server is there");
    let consuming = operator.basic_consume(log, "".into(), BasicConsumeOptions::default(), arguments);
    let mut consumer = consuming.await.expect("the log is there");
    let oldest = consumer
        .next()
        .await
        .expect("it is not empty")
        .expect("the server is there");
    let headers = oldest.properties.headers().as_ref().expect("it has an offset");
    let offset = headers
        .inner()
        .get("x-stream-offset")
        .and_then(AMQPValue::as_long_long_int);
    assert!(
        offset.is_some_and(|offset| offset > 0),
        "nothing was forgotten: {offset:?}"
    );
}
