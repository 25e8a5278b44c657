//! The shops in `deploy`, started from the files that people are given.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use servers::{Deployed, Deployment, Fresh, Kind};
use support::{ADMIN_EMAIL, Actor, eventually};
use tempfile::TempDir;

/// How much of each log a failing test shows.
const LOG_SHOWN_BYTES: usize = 4000;

struct Shop {
    deployed: Deployed,
    _databases: Vec<Fresh>,
    _place: TempDir,
}

impl Shop {
    /// On the servers that tests share. Where a shop does not name its broker, it is this one.
    fn start(name: &str, broker: Kind) -> Self {
        let deployment = Deployment::read(name).unwrap();
        if deployment.has_nginx().unwrap() {
            servers::install_nginx().unwrap();
        }
        let (mut urls, mut databases) = (BTreeMap::new(), Vec::new());
        for server in deployment.servers() {
            let kind = match &*server {
                "broker" => broker,
                server => server.parse().unwrap(),
            };
            let url = if Kind::DATABASES.contains(&kind) {
                let fresh = Fresh::new(kind).unwrap();
                let url = match kind {
                    // It is the store of one service, whose database must be there.
                    Kind::Mariadb if server == "mariadb" => fresh.url_for("shop").unwrap(),
                    _ => fresh.url(),
                };
                databases.push(fresh);
                url
            } else {
                format!("{}?prefix={}", kind.shared(), servers::unique_name())
            };
            urls.insert(server, url);
        }
        let place = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_tradewind"));
        Self {
            deployed: deployment.start(binary, &urls, place.path()).unwrap(),
            _databases: databases,
            _place: place,
        }
    }

    fn anonymous(&self) -> Actor {
        Actor::at(self.deployed.way_in())
    }

    async fn admin(&self) -> Actor {
        let nobody = self.anonymous();
        nobody.signed_in(ADMIN_EMAIL, self.deployed.password()).await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for part in self.deployed.parts().iter().filter(|_| std::thread::panicking()) {
            let log = std::fs::read(part.log()).unwrap_or_default();
            let from = log.len().saturating_sub(LOG_SHOWN_BYTES);
            eprintln!("---- {} ----\n{}", part.name(), String::from_utf8_lossy(&log[from..]));
        }
    }
}

async fn an_order_is_paid_and_told_of(name: &str) {
    let shop = Shop::start(&format!("examples/{name}"), Kind::Nats);
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
    let mut shop = Shop::start("cluster", Kind::Nats);
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
