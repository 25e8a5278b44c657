//! What is counted in may be away.

use std::time::Duration;

use gateway::RateLimiter;
use tokio::time::{sleep, timeout};

use super::{CounterFactory, limits, taken};

/// No client waits so long for an answer, and a machine that is busy with other tests is there within it.
const AT_ONCE: Duration = Duration::from_secs(5);
/// So many requests are not admitted within that if each waits for what is away.
const REQUESTS: u32 = 1000;
/// How often it is looked at whether an outage is over.
const GLANCE: Duration = Duration::from_millis(100);

pub async fn while_nobody_counts_requests_are_admitted_at_once(factory: &dyn CounterFactory) {
    let limiter = factory.limiter(limits("10000/1d")).await;
    assert!(taken(&*limiter, 1).await.is_some());
    factory.kill().await;
    all_are_admitted_at_once(&*limiter).await;
    // So are those of a gateway that is started meanwhile.
    all_are_admitted_at_once(&*factory.limiter(limits("10000/1d")).await).await;
}

pub async fn while_the_counter_stands_still_requests_are_admitted_at_once(factory: &dyn CounterFactory) {
    let limiter = factory.limiter(limits("10000/1d")).await;
    assert!(taken(&*limiter, 1).await.is_some());
    factory.pause().await;
    all_are_admitted_at_once(&*limiter).await;
    factory.resume().await;
}

pub async fn it_is_counted_together_again_after_an_outage(factory: &dyn CounterFactory) {
    let (one, other) = (
        factory.limiter(limits("9/1d")).await,
        factory.limiter(limits("9/1d")).await,
    );
    factory.pause().await;
    taken(&*one, 1).await;
    factory.resume().await;
    until_together(&*one, &*other, 1000).await;

    factory.kill().await;
    taken(&*other, 1).await;
    factory.start().await;
    until_together(&*one, &*other, 2000).await;
}

async fn all_are_admitted_at_once(limiter: &dyn RateLimiter) {
    let asking = async {
        for _ in 0..REQUESTS {
            assert!(taken(limiter, 1).await.is_some(), "one is refused");
        }
    };
    timeout(AT_ONCE, asking)
        .await
        .expect("requests do not wait for what is away");
}

/// Waits until what one has counted is known to the other, by subjects that were not counted before.
async fn until_together(one: &dyn RateLimiter, other: &dyn RateLimiter, subjects_from: u128) {
    let mut subjects = subjects_from..;
    loop {
        let subject = subjects.next().expect("there is no end of them");
        if (taken(one, subject).await, taken(other, subject).await) == (Some(8), Some(7)) {
            return;
        }
        sleep(GLANCE).await;
    }
}
