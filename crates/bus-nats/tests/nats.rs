//! NATS against the port's contract.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, jetstream};
use async_trait::async_trait;
use bus_nats::{NatsBus, NatsOptions};
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

/// NATS by this adapter.
struct Nats;

#[async_trait]
impl Joins for Nats {
    const KIND: Kind = Kind::Nats;
    const PREFIX: &'static str = "TRADEWIND";

    async fn join(process: Option<Uuid>, url: &str, prefix: &str, lanes: u16) -> Process {
        let (login, server) = url.rsplit_once('@').expect("the server's URL has a login");
        let line = Line::to(server.to_owned()).await;
        let url = format!("{login}@{}", line.address());
        let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
        let mut options = NatsOptions::new(&url, prefix, lanes, clock, ids).expect("the server has a URL");
        options.process = process;
        let bus = NatsBus::open(options).await.expect("the bus opens");
        Process::new(Arc::new(bus), move || line.cut())
    }
}

mod nats {
    use super::*;

    testkit::bus_suite!(Shared::<Nats>::new());
    testkit::bus_outage_suite!(Own::<Nats>::new().await);
}

/// Others would have to wait for its lease.
#[tokio::test]
async fn a_process_that_was_killed_and_is_started_again_goes_on_at_once() {
    let shared = Shared::<Nats>::new();
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
    let own = Own::<Nats>::new().await;
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

/// In another stream of that name a cursor means nothing, even one that lies within it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
    let shared = Shared::<Nats>::new();
    let process = shared.join(LANES).await;
    let operator = {
        let (login, address) = shared.url.rsplit_once('@').expect("the server's URL has a login");
        let (_, password) = login.rsplit_once(':').expect("and a password");
        let options = ConnectOptions::with_user_and_password(password.to_owned(), password.to_owned());
        jetstream::new(options.connect(address).await.expect("the server is there"))
    };
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

    let stream = format!("{}_orders", shared.prefix);
    operator.delete_stream(&stream).await.expect("it is there");
    let mut anew = Journal::new();
    for _ in 0..10 {
        publish_patiently(&process.bus, anew.next(10)).await;
    }
    let mut gone = subscribe(&process.bus, &group("gone")).await;
    for subscription in [&mut gone, &mut live] {
        receive_all(subscription, &mut Received::default(), &anew).await;
    }
}
