//! A shop of many processes under load, while what it stands on goes away and comes back. Afterwards its books are audited
//! [P1, P3, P4, P5, P6, P7, P8, P9, P11].
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
#[path = "cluster/fixture.rs"]
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod fixture;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

mod customers;
mod settled;

use std::collections::BTreeMap;
use std::time::Duration;

use books::{Books, assert_views_equal_the_fold};
use customers::{Dice, Load};
use fixture::Cluster;
use futures::future::join_all;
use serde_json::json;
use servers::Kind;
use support::{Actor, eventually, unique};
use tokio::time::Instant;

/// How long the broker is away, and from the middle of that on three services.
const AWAY: Duration = Duration::from_secs(60);
/// Who is away.
const SERVICES_AWAY: [&str; 3] = ["inventory", "payments", "notifications"];
/// How long everything goes well before it does not.
const LOAD: Duration = Duration::from_secs(2);
/// Those who only place orders meanwhile, and how long each waits between two.
const BUYERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// What a process may take more of while events wait: thousands of them would be more than that.
const GROWTH_MAX_KIB: u64 = 48 * 1024;

/// The resident memory of each service's process, in KiB.
fn memory(cluster: &Cluster) -> BTreeMap<&'static str, u64> {
    let services = cluster.services.iter().filter_map(|(name, replicas)| {
        let pid = replicas[0].runs().then(|| replicas[0].pid())?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Some((*name, resident.trim().trim_end_matches(" kB").parse().unwrap()))
    });
    services.collect()
}

/// Places orders for so long. Each is accepted, everybody who is there is ready, and nobody gathers anything.
async fn orders_are_taken(cluster: &Cluster, buyers: &[Actor], sku: &str, for_so_long: Duration) -> usize {
    let (began, before) = (Instant::now(), memory(cluster));
    let buying = buyers.iter().map(async |buyer| {
        let mut taken = 0;
        while began.elapsed() < for_so_long {
            let line = json!({"sku": sku, "quantity": 1});
            let order = json!({"lines": [line], "metadata": {"request": unique("plain")}});
            buyer.post("/api/orders", order).await.expect(201);
            taken += 1;
            tokio::time::sleep(PAUSE).await;
        }
        taken
    });
    let asking = async {
        while began.elapsed() < for_so_long {
            for server in cluster.all().filter(|server| server.runs()) {
                server.anonymous().get("/readyz").await.expect(200);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let (taken, ()) = futures::join!(join_all(buying), asking);
    let after = memory(cluster);
    println!("KiB before {before:?}, after {after:?}");
    for (service, kib) in after {
        let grown = kib.saturating_sub(before[service]);
        assert!(grown < GROWTH_MAX_KIB, "{service} has {grown} KiB more");
    }
    taken.into_iter().sum()
}

async fn a_broker_and_three_services_are_away_for_a_minute(kind: Kind) {
    let mut cluster = Cluster::start(kind).await;
    let mut dice = Dice::new(u64::from(std::process::id()));
    let load = Load::start(&cluster.gateway, &mut dice).await;
    let buyers = join_all((0..BUYERS).map(|_| cluster.gateway.customer())).await;
    tokio::time::sleep(LOAD).await;
    let sku = load.sku().to_owned();
    let mut taken = orders_are_taken(&cluster, &buyers, &sku, LOAD).await;
    cluster.broker.stop();
    taken += orders_are_taken(&cluster, &buyers, &sku, AWAY / 2).await;
    // Who is started again meanwhile does without the broker, too.
    cluster.service("orders").restart().await;
    for name in SERVICES_AWAY {
        cluster.service(name).kill();
    }
    taken += orders_are_taken(&cluster, &buyers, &sku, AWAY / 2).await;
    cluster.broker.start_again().unwrap();
    taken += orders_are_taken(&cluster, &buyers, &sku, AWAY / 2).await;
    for name in SERVICES_AWAY {
        cluster.service(name).start_again().await;
    }
    println!("{taken} orders were taken all the while");
    let before = load.acknowledged();
    let more = async || (load.acknowledged() > before + 20).then_some(());
    eventually("the customers go on", more).await;
    let told = load.end().await;
    settled::wait(cluster.service("payments")).await;
    told.assert_keys_answer_as_they_did(&cluster.gateway).await;
    cluster.stop();
    let payments = cluster.service("payments");
    settled::assert_books_are_right(&Books::of(payments), &told);
    assert_views_equal_the_fold(payments);
}

macro_rules! on {
    ($($broker:ident: $kind:expr;)+) => {
        $(mod $broker {
            use servers::Kind;

            #[tokio::test(flavor = "multi_thread")]
            async fn a_broker_and_three_services_are_away_for_a_minute() {
                super::a_broker_and_three_services_are_away_for_a_minute($kind).await;
            }
        })+
    };
}

on! {
    nats: Kind::Nats;
    kafka: Kind::Kafka;
    rabbitmq: Kind::Rabbitmq;
    redis: Kind::Redis;
}
