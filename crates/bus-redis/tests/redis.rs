//! Redis against the port's contract.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, cmd};
use async_trait::async_trait;
use bus_redis::{RedisBus, RedisOptions};
use kernel::bus::HANDOVER_MAX;
use kernel::clock::{Ids, SystemClock};
use servers::Kind;
use testkit::bus_suite::broker::{Joins, Own, Shared};
use testkit::bus_suite::fixture::{
    Journal, LANES, Received, acknowledge, group, publish, publish_patiently, receive_all, subscribe,
};
use testkit::bus_suite::{BrokerFactory as _, BusFactory as _, Process};
use testkit::line::Line;
use tokio::time::timeout;
use uuid::Uuid;

/// Redis by this adapter.
struct Redis;

#[async_trait]
impl Joins for Redis {
    const KIND: Kind = Kind::Redis;

    async fn join(process: Option<Uuid>, url: &str, prefix: &str, lanes: u16) -> Process {
        let (login, server) = url.rsplit_once('@').expect("the server's URL has a login");
        let line = Line::to(server.to_owned()).await;
        let url = format!("{login}@{}", line.address());
        let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
        let mut options = RedisOptions::new(&url, prefix, lanes, clock, ids).expect("the server has a URL");
        options.process = process;
        let bus = RedisBus::open(options).await.expect("the bus opens");
        Process::new(Arc::new(bus), move || line.cut())
    }
}

mod redis {
    use super::*;

    testkit::bus_suite!(Shared::<Redis>::new());
    testkit::bus_outage_suite!(Own::<Redis>::new().await);
}

/// Others would have to wait for its lease.
#[tokio::test]
async fn a_process_that_was_killed_and_is_started_again_goes_on_at_once() {
    let shared = Shared::<Redis>::new();
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
    let own = Own::<Redis>::new().await;
    let process = own.join(LANES).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(10)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    assert!(subscription.is_live());
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
    assert!(!subscription.is_live(), "it is not known what there is");
    own.start().await;
    publish_patiently(&process.bus, journal.next_in_each_lane()).await;
    let mut count = 0;
    while let Ok(received) = timeout(Duration::from_secs(2), subscription.receive(1000)).await {
        count += received.expect("the bus is there").len();
    }
    // At most what was under way when the connection was lost.
    assert!(count <= 10 + messages.len() + usize::from(LANES), "{count} messages");
}

/// The server as its operators see it.
async fn operator(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("the server has a URL");
    let connection = client.get_multiplexed_async_connection().await;
    connection.expect("the server is there")
}

async fn keys(operator: &mut MultiplexedConnection, pattern: &str) -> Vec<String> {
    let keys = cmd("KEYS").arg(pattern).query_async(operator).await;
    keys.expect("the server tells them")
}

/// In another log of that name a cursor means nothing, even one that lies within it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_made_anew_is_read_from_its_beginning() {
    let shared = Shared::<Redis>::new();
    let process = shared.join(LANES).await;
    let mut operator = operator(&shared.url).await;
    let mut journal = Journal::new();
    publish(&process.bus, journal.next(50)).await;
    let mut gone = subscribe(&process.bus, &group("gone")).await;
    let mut live = subscribe(&process.bus, &group("live")).await;
    for subscription in [&mut gone, &mut live] {
        let mut received = Received::default();
        receive_all(subscription, &mut received, &journal).await;
        acknowledge(subscription, received.reached()).await;
    }
    drop(gone);
    process.bus.close().await;

    for key in keys(&mut operator, &format!("{}:orders*", shared.prefix)).await {
        if !key.contains("events.") {
            let removed: u32 = cmd("DEL")
                .arg(&key)
                .query_async(&mut operator)
                .await
                .expect("it is there");
            assert_eq!(removed, 1, "{key}");
        }
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
