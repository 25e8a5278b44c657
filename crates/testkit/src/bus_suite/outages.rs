//! A broker that is killed, is away, or has lost everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::{ACKNOWLEDGED_MAX, NOTICED_MAX, Subscription};
use kernel::event::{Lane, Position};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::fixture::{
    COMES_MAX, Journal, LANES, Received, Steadfast, group, joined, publish_patiently, subscribe, until,
};
use super::{BrokerFactory, Process};

/// How long an outage lasts, of those that are short.
const AWAY: Duration = Duration::from_secs(2);
/// What a relay publishes at once.
const BATCH: u64 = 512;

/// A consumer in a process of its own, until it is dropped.
struct Consumer {
    seen: Arc<Steadfast>,
    _task: AbortOnDropHandle<()>,
    _process: Process,
}

impl Consumer {
    async fn start(factory: &dyn BrokerFactory, name: &'static str) -> Self {
        Self::start_from(factory, name, BTreeMap::new()).await
    }

    /// One whose checkpoints are here.
    async fn start_from(factory: &dyn BrokerFactory, name: &'static str, reached: BTreeMap<Lane, Position>) -> Self {
        let process = joined(factory, &[group(name)]).await;
        let seen = Arc::new(Steadfast::from(reached));
        let task = tokio::spawn(Arc::clone(&seen).consume(Arc::clone(&process.bus), group(name)));
        Self {
            seen,
            _task: AbortOnDropHandle::new(task),
            _process: process,
        }
    }

    fn received(&self) -> Received {
        self.seen.received()
    }
}

pub async fn a_broker_that_is_killed_loses_nothing_that_it_took(factory: &dyn BrokerFactory) {
    let publisher = joined(factory, &[group("a"), group("late")]).await;
    let eager = Consumer::start(factory, "a").await;
    let mut journal = Journal::new();
    let batches = factory.many().div_ceil(BATCH);
    let restarted = async {
        for round in 0..2 {
            until(COMES_MAX, "the consumer is at it", || {
                eager
                    .received()
                    .reached()
                    .values()
                    .any(|position| position.0 > round * BATCH)
            })
            .await;
            factory.kill().await;
            sleep(AWAY / 2).await;
            factory.start().await;
        }
    };
    let published = async {
        for _ in 0..batches {
            publish_patiently(&publisher.bus, journal.next(BATCH)).await;
        }
    };
    tokio::join!(restarted, published);
    let late = Consumer::start(factory, "late").await;
    until(
        COMES_MAX * 2,
        "everything was received, and by whoever comes later, too",
        || eager.received().has_all_of(&journal) && late.received().has_all_of(&journal),
    )
    .await;
}

pub async fn a_broker_that_is_away_is_waited_for(factory: &dyn BrokerFactory) {
    let publisher = joined(factory, &[group("a")]).await;
    let consumer = Consumer::start(factory, "a").await;
    let mut journal = Journal::new();
    publish_patiently(&publisher.bus, journal.next(50)).await;
    until(COMES_MAX, "it was received", || {
        consumer.received().has_all_of(&journal)
    })
    .await;
    factory.kill().await;
    let messages = journal.next(50);
    let publishing = {
        let bus = Arc::clone(&publisher.bus);
        tokio::spawn(async move { publish_patiently(&bus, messages).await })
    };
    sleep(AWAY * 3).await;
    assert!(!publishing.is_finished(), "it was published to nobody");
    factory.start().await;
    publishing.await.expect("the broker is back");
    until(COMES_MAX, "it was received", || {
        consumer.received().has_all_of(&journal)
    })
    .await;
}

pub async fn a_broker_that_stands_still_is_waited_for(factory: &dyn BrokerFactory) {
    let publisher = joined(factory, &[group("a")]).await;
    let consumer = Consumer::start(factory, "a").await;
    let mut journal = Journal::new();
    publish_patiently(&publisher.bus, journal.next(50)).await;
    until(COMES_MAX, "it was received", || {
        consumer.received().has_all_of(&journal)
    })
    .await;
    // For a moment that nobody notices, and for so long that all leases lapse.
    for stillness in [AWAY, factory.patience() + AWAY] {
        factory.pause().await;
        let messages = journal.next(50);
        let publishing = {
            let bus = Arc::clone(&publisher.bus);
            tokio::spawn(async move { publish_patiently(&bus, messages).await })
        };
        sleep(stillness).await;
        assert!(
            !publishing.is_finished(),
            "it was published to nobody, or failed for good"
        );
        factory.resume().await;
        publishing.await.expect("the broker goes on");
        until(COMES_MAX, "it was received", || {
            consumer.received().has_all_of(&journal)
        })
        .await;
    }
}

pub async fn a_broker_that_lost_everything_serves_what_is_published_then(factory: &dyn BrokerFactory) {
    const EVENTS: u64 = 300;
    let publisher = joined(factory, &[group("a"), group("b")]).await;
    let consumer = Consumer::start(factory, "a").await;
    let mut journal = Journal::new();
    let messages = journal.next(EVENTS);
    publish_patiently(&publisher.bus, messages.clone()).await;
    until(COMES_MAX, "it was received", || {
        consumer.received().has_all_of(&journal)
    })
    .await;
    factory.kill().await;
    factory.wipe().await;
    factory.start().await;

    // As `tradewind republish` does: twice, since the first may meet a subscription that goes by what it knew.
    for times in 2..=3 {
        publish_patiently(&publisher.bus, messages.clone()).await;
        until(COMES_MAX, "everything has come again", || {
            consumer.seen.arrivals(1..=EVENTS) >= times
        })
        .await;
    }
    publish_patiently(&publisher.bus, journal.next(EVENTS)).await;
    until(COMES_MAX, "what is new has come", || {
        consumer.received().has_all_of(&journal)
    })
    .await;

    // And what was acknowledged since then is done with, once the broker knows again who has which lanes.
    sleep(factory.patience() + ACKNOWLEDGED_MAX).await;
    drop(consumer);
    sleep(factory.patience() + AWAY).await;
    let reached = journal.heads().clone();
    publish_patiently(&publisher.bus, journal.next_in_each_lane()).await;
    let next = Consumer::start_from(factory, "a", reached).await;
    until(COMES_MAX, "what is newer has come", || {
        next.received().has_all_of(&journal)
    })
    .await;
    assert_eq!(
        next.seen.arrived(),
        u32::from(LANES),
        "what was acknowledged came again"
    );
}

pub async fn a_subscription_says_whether_the_broker_is_reached(factory: &dyn BrokerFactory) {
    let process = joined(factory, &[group("a")]).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    until_it_says(&mut subscription, true, COMES_MAX).await;
    factory.kill().await;
    until_it_says(&mut subscription, false, NOTICED_MAX).await;
    factory.start().await;
    publish_patiently(&process.bus, Journal::new().next(1)).await;
    let mut subscription = subscribe(&process.bus, &group("a")).await;
    until_it_says(&mut subscription, true, COMES_MAX).await;
    factory.pause().await;
    until_it_says(&mut subscription, false, NOTICED_MAX).await;
    factory.resume().await;
}

async fn until_it_says(subscription: &mut Box<dyn Subscription>, is_live: bool, within: Duration) {
    let waiting = async move {
        while subscription.is_live() != is_live {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let outcome = timeout(within, waiting).await;
    assert!(
        outcome.is_ok(),
        "after {within:?} it does not say that the broker is reached: {is_live}"
    );
}
