//! The shops in `deploy`, started from the files that people are given.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod deployed;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use deployed::Shop;
use servers::{Deployment, Kind};
use support::eventually;

async fn an_order_is_paid_and_told_of(name: &str) {
    let shop = Shop::start(&Deployment::read(&format!("examples/{name}")).unwrap(), Kind::Nats);
    let (admin, customer) = (shop.admin().await, shop.anonymous().sign_up().await);
    let product = admin.product(10).await;
    let (order, _) = customer.paid_order(&product, 2).await;
    admin.until_stock(&product, (8, 0, 8)).await;
    eventually("the customer is told of the payment", async || {
        let sent = customer.get("/api/notifications?status=sent").await.expect(200);
        let told = sent.data().iter().any(|message| message["template"] == "order-paid");
        told.then_some(())
    })
    .await;
    admin.until_event("order.paid", &order).await;
}

/// Each example has one.
macro_rules! examples {
    ($($test:ident: $name:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            an_order_is_paid_and_told_of($name).await;
        })+

        #[test]
        fn every_example_is_tested() {
            assert_eq!(Deployment::examples().unwrap(), [$($name),+]);
        }
    };
}

examples! {
    mongodb_and_redis: "mongodb-redis";
    mongodb_and_files_without_a_broker: "mongodb-sqlite";
    mysql_and_nats: "mysql-nats";
    postgres_mongodb_and_kafka_behind_nginx: "postgres-mongodb-kafka-nginx";
    postgres_mongodb_and_rabbitmq: "postgres-mongodb-rabbitmq";
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_of_each_behind_nginx_one_may_be_killed() {
    let mut shop = Shop::start(&Deployment::read("cluster").unwrap(), Kind::Nats);
    let (admin, customer) = (shop.admin().await, shop.anonymous().sign_up().await);
    let product = admin.product(10).await;
    let mut stream = customer.stream("", None).await;
    let (order, _) = customer.paid_order(&product, 1).await;
    // nginx passes it on as it comes.
    stream.up_to("order.paid").await;
    drop(stream);
    admin.until_event("order.paid", &order).await;
    for service in [
        "gateway",
        "users",
        "catalog",
        "inventory",
        "orders",
        "payments",
        "notifications",
        "events",
    ] {
        shop.deployed.part(&format!("{service}-1")).unwrap().kill().unwrap();
    }
    let another = shop.anonymous().sign_up().await;
    for buyer in [&customer, &another] {
        buyer.paid_order(&product, 1).await;
    }
    admin.until_stock(&product, (7, 0, 7)).await;
}
