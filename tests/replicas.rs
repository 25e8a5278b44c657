//! Two processes with the same services on one database.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contracts::{OrderId, ProductId, Service, UserId, order, product};
use futures::StreamExt as _;
use futures::stream;
use inventory::Inventory;
use kernel::clock::{Clock, Ids};
use kernel::engine::{Engine, Parts};
use kernel::event::Position;
use serde_json::{Value, json};
use servers::{Fresh, Kind};
use tempfile::TempDir;
use testkit::harness::Harness;
use tradewind::stores::Place;
use tradewind::system::SERVICES;

use support::{Actor, Product, Server, id_of};

const BUYERS: usize = 300;
const PIECES: u64 = 50;
/// After the crash of a replica another one has taken over what follows from events.
const RELIEVED_MAX: Duration = Duration::from_secs(25);

/// Two replicas of everything, and what they share.
struct Pair {
    servers: [Server; 2],
    _databases: Fresh,
    _place: TempDir,
}

impl Pair {
    async fn start(kind: Kind) -> Self {
        let databases = Fresh::new(kind).unwrap();
        let place = tempfile::tempdir().unwrap();
        let ledger = place.path().join("ledger").display().to_string();
        let settings = || {
            let settings = Server::settings().with("store", &databases.url());
            settings.with("simulated_ledger", &ledger)
        };
        let servers = [settings().start().await, settings().start().await];
        Self {
            servers,
            _databases: databases,
            _place: place,
        }
    }

    /// Somebody, by the way through each of them.
    fn both(&self, actor: &Actor) -> [Actor; 2] {
        self.servers.each_ref().map(|server| actor.moved_to(server))
    }
}

async fn three_hundred_buyers_get_fifty_pieces(kind: Kind) {
    let pair = Pair::start(kind).await;
    let admin = pair.both(&pair.servers[0].admin().await);
    let product = admin[0].product(PIECES).await;
    let buyer = pair.both(&pair.servers[0].customer().await);
    let order = async |number: usize| buy(&buyer[number % 2], &product).await;
    let placed: Vec<String> = stream::iter(0..BUYERS)
        .map(order)
        .buffer_unordered(BUYERS)
        .collect()
        .await;

    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (number, id) in placed.iter().enumerate() {
        // Asked of the other one than took it.
        let end = decided(&buyer[(number + 1) % 2], id).await;
        *ends.entry(end).or_default() += 1;
    }
    let sold = usize::try_from(PIECES).unwrap();
    let expected = BTreeMap::from([("confirmed".to_owned(), sold), ("rejected".to_owned(), BUYERS - sold)]);
    assert_eq!(ends, expected);
    for admin in &admin {
        let (on_hand, reserved, available) = admin.stock(&product).await;
        assert_eq!((on_hand, reserved, available), (PIECES, PIECES, 0));
    }

    // What is restocked through one is seen by whatever is decided through the other.
    for (restocks, orders) in [(0, 1), (1, 0)] {
        let more = json!({"delta": 1, "reason": "found in the back"});
        let path = format!("{}/adjustments", product.stock_path());
        admin[restocks].post(&path, more).await.expect(201);
        let id = buy(&buyer[orders], &product).await;
        assert_eq!(decided(&buyer[orders], &id).await, "confirmed");
    }
}

async fn buy(buyer: &Actor, product: &Product) -> String {
    let lines = json!({"lines": [{"sku": product.sku, "quantity": 1}]});
    id_of(&buyer.post("/api/orders", lines).await.expect(201).json)
}

/// The status that an order has come to.
async fn decided(buyer: &Actor, id: &str) -> String {
    let path = format!("/api/orders/{id}");
    support::eventually(format!("{path} is decided"), async || {
        let order: Value = buyer.get(&path).await.expect(200).json;
        let status = order["status"].as_str().unwrap().to_owned();
        (status != "pending").then_some(status)
    })
    .await
}

async fn either_goes_on_when_the_other_is_killed(kind: Kind) {
    let mut pair = Pair::start(kind).await;
    let admin = pair.servers[0].admin().await;
    let product = admin.product(100).await;
    let customer = pair.servers[0].customer().await;
    for killed in [0, 1] {
        let left = 1 - killed;
        pair.servers[killed].kill();
        let buyer = customer.moved_to(&pair.servers[left]);
        let id = buy(&buyer, &product).await;
        let end = tokio::time::timeout(RELIEVED_MAX, decided(&buyer, &id)).await;
        assert_eq!(end.as_deref(), Ok("confirmed"));
        pair.servers[killed].start_again().await;
    }
}

/// Each takes the lease for its own, as a replica does that has not noticed yet that it lost it: both are handed every event
/// and decide on the same stock.
async fn two_that_decide_on_the_same_stock_sell_each_piece_once(kind: Kind) {
    let databases = Fresh::new(kind).unwrap();
    let harness = Harness::new(Service::Inventory, inventory::COLLECTIONS).await;
    let described = SERVICES.iter().find(|it| it.service == Service::Inventory).unwrap();
    let place = Place::within(Service::Inventory, &databases.url().parse().unwrap());
    let clock: Arc<dyn Clock> = Arc::clone(harness.clock()) as _;
    let replica = Some(harness.uuid());
    let mut processes = Vec::new();
    for _ in 0..2 {
        let ids = Arc::new(Ids::from_entropy());
        let parts = Parts {
            store: place.open(described, Vec::new(), &ids, clock.as_ref()).await.unwrap(),
            replica,
            clock: Arc::clone(&clock),
            ids,
        };
        let engine = Engine::start(Service::Inventory, parts).await.unwrap();
        let inventory = Inventory::start(engine.clone(), harness.bus(), harness.verifier());
        processes.push((engine, inventory.await.unwrap()));
    }
    let created = json!({"product_id": ProductId::from_uuid(harness.uuid()), "sku": "HOT", "name": "Lamp",
        "initial_stock": PIECES, "price": {"amount": 5, "currency": "EUR"}});
    let created: product::Created = serde_json::from_value(created).unwrap();
    let product = created.product_id;
    harness.publish(Service::Catalog, product, created).await;
    for _ in 0..BUYERS {
        let id = OrderId::from_uuid(harness.uuid());
        let price = json!({"amount": 5, "currency": "EUR"});
        let line = json!({"sku": "HOT", "product_id": product, "name": "Lamp", "quantity": 1,
            "unit_price": price, "total": price});
        let placed = json!({"order_id": id, "user_id": UserId::from_uuid(id.uuid()), "lines": [line], "total": price});
        let placed: order::Placed = serde_json::from_value(placed).unwrap();
        harness.publish(Service::Orders, id, placed).await;
    }
    for (engine, inventory) in &processes {
        harness.settle(inventory.consumers()).await;
        let stock = inventory.stock(&"HOT".try_into().unwrap()).await.unwrap();
        assert_eq!((stock.available(), stock.shown().reserved), (0, PIECES));
        let journal = engine
            .reader()
            .store()
            .tail(Position::START, 10_000)
            .await
            .unwrap()
            .events;
        let count = |wanted: &str| journal.iter().filter(|event| event.event_type == wanted).count() as u64;
        assert_eq!(count("inventory.reserved"), PIECES);
        assert_eq!(count("inventory.rejected"), BUYERS as u64 - PIECES);
    }
    for (engine, _) in processes {
        engine.stop_background().await;
        engine.stop().await;
    }
}

macro_rules! on {
    ($($kind:ident: $name:ident;)+) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn three_hundred_buyers_get_fifty_pieces() {
                super::three_hundred_buyers_get_fifty_pieces(super::Kind::$kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn two_that_decide_on_the_same_stock_sell_each_piece_once() {
                super::two_that_decide_on_the_same_stock_sell_each_piece_once(super::Kind::$kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn either_goes_on_when_the_other_is_killed() {
                super::either_goes_on_when_the_other_is_killed(super::Kind::$kind).await;
            }
        }
    )+};
}

on! {
    Postgres: on_postgres;
    Mariadb: on_mariadb;
    Mongodb: on_mongodb;
}
