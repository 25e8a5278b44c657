//! A process that begins with nothing in memory.

use std::sync::Arc;
use std::time::Duration;

use contracts::Service;
use inventory::Inventory;
use kernel::clock::{Clock, Ids};
use kernel::engine::{Engine, Parts};

use crate::shop::{Shop, paid};

/// More for each lane than a decision may ask for documents.
const ORDERS: u64 = 400;

#[tokio::test(start_paused = true)]
async fn a_batch_of_payments_after_a_restart_is_read_at_once_and_sold() {
    let shop = Shop::open().await;
    shop.stocked("A", ORDERS).await;
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(shop.order(&[("A", 1)]).await);
    }
    shop.settle().await;
    shop.harness.engine().stop().await;
    for &order in &orders {
        shop.happens(order, paid(order)).await;
    }

    let clock = Arc::clone(shop.harness.clock()) as Arc<dyn Clock>;
    let store = Arc::clone(shop.harness.engine().reader().store());
    let parts = Parts {
        store,
        replica: None,
        clock,
        ids: Arc::new(Ids::from_seed(1)),
    };
    let engine = Engine::start(Service::Inventory, parts).await.unwrap();
    let restarted = shop.harness.clock().monotonic();
    let inventory = Inventory::start(engine, shop.harness.bus(), shop.harness.verifier())
        .await
        .unwrap();
    shop.harness.settle(inventory.consumers()).await;
    let stock = inventory.stock(&crate::shop::sku("A")).await.unwrap();
    assert_eq!((stock.available(), stock.sold()), (0, ORDERS));
    // Nothing was put off: a batch that has to be tried again waits for longer.
    let took = shop.harness.clock().monotonic() - restarted;
    assert!(took <= Duration::from_millis(100), "{took:?}");
}
