//! Services in processes of their own, through a broker.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[path = "cluster/fixture.rs"]
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod fixture;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::process::Command;
use std::time::Duration;

use fixture::Cluster;
use futures::future::join_all;
use serde_json::{Value, json};
use servers::Kind;
use support::{eventually, id_of};

/// Buyers of the last units, and how many units there are.
const BUYERS: usize = 60;
const UNITS: u64 = 20;

async fn a_shop_of_many_processes_takes_an_order_from_sign_up_to_the_mail(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let (admin, customer) = (cluster.gateway.admin().await, cluster.gateway.customer().await);
    let product = admin.product(10).await;
    let (order, payment) = customer.paid_order(&product, 2).await;
    customer.until_order(&order, "paid").await;
    customer
        .until(&format!("/api/payments/{payment}"), "status", "captured")
        .await;
    admin.until_stock(&product, (8, 0, 8)).await;
    // Whoever writes to a customer asks users for the address, with a token of its own.
    let mails = format!("/api/notifications?user_id={}", customer.id);
    eventually("the customer is told of the payment", async || {
        let sent = admin.get(&mails).await.expect(200);
        let told = sent.data().iter().filter(|it| it["status"] == "sent").count();
        (told >= 2).then_some(())
    })
    .await;
    for event in ["order.placed", "order.confirmed", "order.paid"] {
        admin.until_event(event, &order).await;
    }
    let ready = cluster.gateway.anonymous().get("/readyz").await.expect(200);
    assert_eq!(ready.json["upstreams"]["orders"], "1 of 1 up", "{ready}");
    assert_eq!(ready.json["stores"], json!({}));
}

async fn the_last_units_are_sold_once_across_processes(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let admin = cluster.gateway.admin().await;
    let product = admin.product(UNITS).await;
    let nobody = cluster.gateway.anonymous();
    let buyers = join_all((0..BUYERS).map(|_| nobody.sign_up())).await;
    let orders = join_all(buyers.iter().map(|buyer| buyer.place_order(&product, 1))).await;
    let decided = join_all(buyers.iter().zip(&orders).map(async |(buyer, order)| {
        let path = format!("/api/orders/{}", id_of(order));
        eventually("the order is decided", async || {
            let order = buyer.get(&path).await.expect(200);
            (order.json["status"] != "pending").then_some(order.json)
        })
        .await
    }))
    .await;
    let confirmed = decided.iter().filter(|order| order["status"] == "confirmed").count();
    assert_eq!(confirmed as u64, UNITS);
    assert_eq!(admin.stock(&product).await, (UNITS, UNITS, 0));
}

async fn a_broker_that_lost_everything_is_healed_by_republishing(kind: Kind) {
    let mut cluster = Cluster::start(kind).await;
    let (admin, customer) = (cluster.gateway.admin().await, cluster.gateway.customer().await);
    let product = admin.product(1000).await;
    customer.confirmed_order(&product, 1).await;
    cluster.service("inventory").kill();
    let place = async || id_of(&customer.place_order(&product, 1).await);
    let mut orders = join_all((0..8).map(|_| place())).await;
    eventually("the broker has them all", async || {
        (lag(&cluster, "orders", "relay_lag") == 0).then_some(())
    })
    .await;
    cluster.broker.stop();
    cluster.broker.wipe().unwrap();
    cluster.broker.start_again().unwrap();
    cluster.service("inventory").start_again().await;
    orders.push(place().await);
    // What is missing is seen once something comes behind it; nothing is passed over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let said = run(&cluster, &["republish", "--service", "orders", "--from", "0", "--json"]);
    assert_eq!(said, json!({"service": "orders", "from": 0}));
    for order in &orders {
        customer.until_order(order, "confirmed").await;
    }
    let taken = orders.len() as u64 + 1;
    assert_eq!(admin.stock(&product).await, (1000, taken, 1000 - taken));
    for service in ["users", "catalog", "inventory", "payments"] {
        run(&cluster, &["republish", "--service", service, "--from", "0", "--json"]);
    }
    until_all_is_seen(&cluster).await;
}

/// Orders that came after the backup are gone with their events, which the broker still has.
async fn a_shop_is_restored_beside_the_broker_that_has_seen_more_of_it(kind: Kind) {
    let mut cluster = Cluster::start(kind).await;
    let (admin, customer) = (cluster.gateway.admin().await, cluster.gateway.customer().await);
    let product = admin.product(1000).await;
    let (kept, _) = customer.paid_order(&product, 1).await;
    customer.until_order(&kept, "paid").await;
    until_all_is_seen(&cluster).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    printed(
        cluster
            .gateway
            .command()
            .args(["backup", "--json", "--to"])
            .arg(&backup),
    );
    let (lost, _) = customer.paid_order(&product, 1).await;
    customer.until_order(&lost, "paid").await;
    until_all_is_seen(&cluster).await;

    cluster.stop();
    std::fs::remove_dir_all(cluster.stores()).unwrap();
    let mut restore = cluster.gateway.command();
    printed(restore.args(["restore", "--json", "--from"]).arg(&backup));
    cluster.start_again().await;
    let stopped = run(&cluster, &["status", "--json"]);
    let mut stopped = stopped["services"].as_array().unwrap().iter();
    let orders = stopped.find(|it| it["service"] == "orders").unwrap();
    let remedy = orders["relay_stopped"].as_str().unwrap();
    assert!(remedy.contains("tradewind republish"), "{remedy}");
    for service in fixture::FOLLOWED {
        run(&cluster, &["republish", "--service", service, "--from", "0", "--json"]);
    }

    customer
        .get(&format!("/api/orders/{lost}"))
        .await
        .refused(404, "not-found");
    customer.until_order(&kept, "paid").await;
    let (order, _) = customer.paid_order(&product, 3).await;
    customer.until_order(&order, "paid").await;
    admin.until_stock(&product, (996, 0, 996)).await;
    until_all_is_seen(&cluster).await;
}

/// Real orders where they lie beside the repository, and a sample where not.
async fn an_order_history_is_played_through_it_and_agrees_to_the_last_penny(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let mut replay = cluster.gateway.command();
    replay.args(["replay", "--json", "--against", cluster.gateway.url()]);
    let report = printed(replay.args(support::real_history()));
    println!("{report:#}");
    assert_eq!((&report["exact"], &report["differences"]), (&json!(true), &json!([])));
    let played = report["orders"].as_object().unwrap().values();
    assert!(played.map(|count| count.as_u64().unwrap()).sum::<u64>() > 20);
}

/// What a command prints that acts on the cluster.
fn run(cluster: &Cluster, arguments: &[&str]) -> Value {
    let mut command = cluster.gateway.command();
    printed(command.args(arguments).args(["--url", cluster.gateway.url()]))
}

/// What a command prints that succeeds.
fn printed(command: &mut Command) -> Value {
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

async fn until_all_is_seen(cluster: &Cluster) {
    eventually("everybody has seen everything", async || {
        let services = run(cluster, &["status", "--json"]);
        let consumers = services["services"].as_array().unwrap().iter();
        let mut consumers = consumers.flat_map(|it| it["consumers"].as_array().unwrap());
        consumers.all(|consumer| consumer["lag"] == 0).then_some(())
    })
    .await;
}

/// A number that `tradewind status` gives of a service.
fn lag(cluster: &Cluster, service: &str, field: &str) -> u64 {
    let status = run(cluster, &["status", "--json"]);
    let mut services = status["services"].as_array().unwrap().iter();
    services.find(|it| it["service"] == service).unwrap()[field]
        .as_u64()
        .unwrap()
}

macro_rules! on {
    ($broker:ident, $kind:expr) => {
        mod $broker {
            use servers::Kind;

            #[tokio::test(flavor = "multi_thread")]
            async fn a_shop_of_many_processes_takes_an_order_from_sign_up_to_the_mail() {
                super::a_shop_of_many_processes_takes_an_order_from_sign_up_to_the_mail($kind).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn the_last_units_are_sold_once_across_processes() {
                super::the_last_units_are_sold_once_across_processes($kind).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn an_order_history_is_played_through_it_and_agrees_to_the_last_penny() {
                super::an_order_history_is_played_through_it_and_agrees_to_the_last_penny($kind).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_broker_that_lost_everything_is_healed_by_republishing() {
                super::a_broker_that_lost_everything_is_healed_by_republishing($kind).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_shop_is_restored_beside_the_broker_that_has_seen_more_of_it() {
                super::a_shop_is_restored_beside_the_broker_that_has_seen_more_of_it($kind).await;
            }
        }
    };
}

on!(nats, Kind::Nats);
on!(kafka, Kind::Kafka);
on!(rabbitmq, Kind::Rabbitmq);
on!(redis, Kind::Redis);
