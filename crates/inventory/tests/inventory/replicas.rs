//! Several processes on one store, all of them handed every event: each takes the lease for its own, as a replica does that
//! has not noticed yet that it lost it.

use std::sync::Arc;
use std::time::Duration;

use contracts::{OrderId, Service};
use inventory::{COLLECTIONS, Inventory};
use kernel::clock::{Clock, Ids};
use kernel::engine::{Engine, Parts, schema};
use kernel::event::Position;
use kernel::memory::MemoryStore;
use kernel::store::Store;
use testkit::harness::Harness;

use crate::shop::{placed, product_created, sku};

const PROCESSES: u64 = 3;
const ORDERS: usize = 120;
const PIECES: u64 = 40;

#[tokio::test(start_paused = true)]
async fn processes_that_share_a_store_sell_each_piece_once() {
    let harness = Harness::new(Service::Inventory, COLLECTIONS).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(schema(COLLECTIONS), harness.uuid()));
    let replica = Some(harness.uuid());
    let mut processes = Vec::new();
    for seed in 0..PROCESSES {
        let clock = Arc::clone(harness.clock()) as Arc<dyn Clock>;
        let parts = Parts {
            store: Arc::clone(&store),
            replica,
            clock,
            ids: Arc::new(Ids::from_seed(seed)),
        };
        let engine = Engine::start(Service::Inventory, parts).await.unwrap();
        processes.push(
            Inventory::start(engine, harness.bus(), harness.verifier())
                .await
                .unwrap(),
        );
    }
    for order in 0..ORDERS {
        let order_id = OrderId::from_uuid(harness.uuid());
        harness
            .publish(Service::Orders, order_id, placed(order_id, &[("HOT", 1)]))
            .await;
        if order == ORDERS / 3 {
            let created = product_created("HOT", PIECES);
            harness.publish(Service::Catalog, created.product_id, created).await;
        }
        harness.clock().sleep(Duration::from_millis(1)).await;
    }
    for process in &processes {
        harness.settle(process.consumers()).await;
        let stock = process.stock(&sku("HOT")).await.unwrap();
        assert_eq!((stock.available(), stock.shown().reserved), (0, PIECES));
    }
    let journal = store.tail(Position::START, 10_000).await.unwrap().events;
    let count = |wanted: &str| journal.iter().filter(|event| event.event_type == wanted).count();
    assert_eq!(count("inventory.updated"), 1);
    assert_eq!(count("inventory.reserved") as u64, PIECES);
    assert_eq!(count("inventory.rejected") as u64, ORDERS as u64 - PIECES);
}
