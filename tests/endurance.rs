//! A shop of many processes under load, while what it stands on goes away and comes back. Afterwards its books are audited
//! [P1, P3, P4, P5, P6, P7, P8, P9, P11].
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
mod customers;
mod deployed;
#[path = "cluster/fixture.rs"]
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod fixture;
mod settled;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use books::{Books, assert_views_equal_the_fold};
use customers::{Dice, Load};
use deployed::Shop;
use fixture::Cluster;
use futures::future::join_all;
use serde_json::{Value, json};
use servers::{Deployment, Kind};
use support::{Actor, eventually, unique};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long the broker is away, and from the middle of that on three services.
const A_MINUTE: Duration = Duration::from_secs(60);
/// The longest pause before a broker is tried again is a fraction of this.
const A_WHILE: Duration = Duration::from_secs(20);
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
    let services = cluster.services.iter().filter_map(|(name, server)| {
        let pid = server.runs().then(|| server.pid())?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Some((*name, resident.trim().trim_end_matches(" kB").parse().unwrap()))
    });
    services.collect()
}

/// One of these, told from all others as the audit tells them.
fn order_of(sku: &str) -> Value {
    json!({"lines": [{"sku": sku, "quantity": 1}], "metadata": {"request": unique("plain")}})
}

/// Places orders for so long. Each is accepted, everybody who is there is ready, and nobody gathers anything.
async fn orders_are_taken(cluster: &Cluster, buyers: &[Actor], sku: &str, for_so_long: Duration) -> usize {
    let (began, before) = (Instant::now(), memory(cluster));
    let buying = buyers.iter().map(async |buyer| {
        let mut taken = 0;
        while began.elapsed() < for_so_long {
            buyer.post("/api/orders", order_of(sku)).await.expect(201);
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

async fn a_broker_and_three_services_are_away(kind: Kind, away: Duration) {
    let mut cluster = Cluster::start(kind).await;
    let mut dice = Dice::new(u64::from(std::process::id()));
    let load = Load::start(&cluster.gateway.anonymous(), cluster.gateway.admin().await, &mut dice).await;
    let buyers = join_all((0..BUYERS).map(|_| cluster.gateway.customer())).await;
    tokio::time::sleep(LOAD).await;
    let sku = load.sku().to_owned();
    let mut taken = orders_are_taken(&cluster, &buyers, &sku, LOAD).await;
    cluster.broker.stop();
    taken += orders_are_taken(&cluster, &buyers, &sku, away / 2).await;
    // Who is started again meanwhile does without the broker, too.
    cluster.service("orders").restart().await;
    for name in SERVICES_AWAY {
        cluster.service(name).kill();
    }
    taken += orders_are_taken(&cluster, &buyers, &sku, away / 2).await;
    cluster.broker.start_again().unwrap();
    taken += orders_are_taken(&cluster, &buyers, &sku, away / 2).await;
    for name in SERVICES_AWAY {
        cluster.service(name).start_again().await;
    }
    println!("{taken} orders were taken all the while");
    let before = load.acknowledged();
    let more = async || (load.acknowledged() > before + 20).then_some(());
    eventually("the customers go on", more).await;
    let told = load.end().await;
    settled::wait(&Books::of(cluster.service("payments"))).await;
    told.assert_keys_answer_as_they_did(&cluster.gateway.anonymous()).await;
    cluster.stop();
    let payments = cluster.service("payments");
    settled::assert_books_are_right(&Books::of(payments), &told);
    assert_views_equal_the_fold(payments);
}

/// Longer than a consumer's lease, and than others may take to have its lanes.
const STILL: Duration = Duration::from_secs(25);
/// How long two of each are one of each.
const ALONE: Duration = Duration::from_secs(5);
/// How long a killed process is away.
const DEAD: Duration = Duration::from_secs(1);
const KILLED: usize = 8;
/// How long everything is left alone between two restarts.
const REST: Duration = Duration::from_millis(300);

/// Reads all the while, through everything that is in front. Whoever only reads is never refused, until told to stop.
async fn reads(reader: Actor, paths: Vec<String>, mut stop: watch::Receiver<bool>) -> usize {
    let mut answers = 0;
    while !*stop.borrow_and_update() {
        for path in &paths {
            reader.get(path).await.expect(200);
            answers += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    answers
}

async fn replicas_are_restarted_killed_frozen_removed_and_added_under_load(kind: Kind) {
    let deployment = Deployment::read("cluster").unwrap();
    // The limits are not what this is about.
    let deployment = deployment
        .with("rate_limit_user", "off")
        .with("rate_limit_anonymous", "off");
    let mut shop = Shop::start(&deployment, kind);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let (nobody, admin) = (shop.anonymous(), shop.admin().await);
    let product = admin.product(10).await;
    let reader = nobody.sign_up().await;
    let order = reader.post("/api/orders", order_of(&product.sku)).await.expect(201);
    let order = format!("/api/orders/{}", order.text_at("id"));
    let load = Load::start(&nobody, admin, &mut dice).await;
    let paths = vec![product.path(), order, "/api/users/me".to_owned()];
    let (stop, stopped) = watch::channel(false);
    let reading = tokio::spawn(reads(reader, paths, stopped));
    let names: Vec<String> = shop
        .deployed
        .parts()
        .iter()
        .map(|part| part.name().to_owned())
        .collect();
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "nginx")
        .collect();
    for name in &names {
        let part = shop.deployed.part(name).unwrap();
        part.stop().unwrap();
        part.start_again().unwrap();
        tokio::time::sleep(REST).await;
    }
    for _ in 0..KILLED {
        let name = *dice.one_of(&names);
        println!("{name} is killed");
        let part = shop.deployed.part(name).unwrap();
        part.kill().unwrap();
        tokio::time::sleep(DEAD).await;
        part.start_again().unwrap();
        tokio::time::sleep(REST).await;
    }
    let seconds = ["orders-2", "inventory-2", "payments-2", "notifications-2"];
    for name in seconds {
        shop.deployed.part(name).unwrap().stop().unwrap();
    }
    tokio::time::sleep(ALONE).await;
    for name in seconds {
        shop.deployed.part(name).unwrap().start_again().unwrap();
    }
    for name in ["inventory-1", "orders-2"] {
        let part = shop.deployed.part(name).unwrap();
        part.pause().unwrap();
        tokio::time::sleep(STILL).await;
        part.resume().unwrap();
    }
    let before = load.acknowledged();
    let more = async || (load.acknowledged() > before + 20).then_some(());
    eventually("the customers go on", more).await;
    let mut told = load.end().await;
    stop.send_replace(true);
    println!("{} reads were answered", reading.await.unwrap());
    let books = Books::of_settings(&shop.deployed.settings());
    settled::wait(&books).await;
    told.assert_keys_answer_as_they_did(&nobody).await;
    told.received.insert(product.sku, 10);
    settled::assert_books_are_right(&books, &told);
}

macro_rules! on {
    ($($broker:ident: $kind:expr $(, for $less:expr, and $ignored:meta)?;)+) => {
        $(mod $broker {
            use servers::Kind;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn a_broker_and_three_services_are_away_for_a_while() {
                super::a_broker_and_three_services_are_away($kind, $less).await;
            })?

            #[tokio::test(flavor = "multi_thread")]
            $(#[$ignored])?
            async fn a_broker_and_three_services_are_away_for_a_minute() {
                super::a_broker_and_three_services_are_away($kind, super::A_MINUTE).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            $(#[$ignored])?
            async fn replicas_are_restarted_killed_frozen_removed_and_added_under_load() {
                super::replicas_are_restarted_killed_frozen_removed_and_added_under_load($kind).await;
            }
        })+
    };
}

on! {
    nats: Kind::Nats;
    kafka: Kind::Kafka, for super::A_WHILE, and ignore = "takes minutes: one broker stands for all, and the others are run by hand";
    rabbitmq: Kind::Rabbitmq, for super::A_WHILE, and ignore = "as with kafka";
    redis: Kind::Redis, for super::A_WHILE, and ignore = "as with kafka";
}
