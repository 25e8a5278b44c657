//! Orders that come before the product that they name.

use contracts::order::OrderStatus;
use contracts::{OrderId, Service};
use inventory::COLLECTIONS;
use kernel::context::Context;
use kernel::store::Query;
use testkit::harness::Harness;

use crate::shop::{Shop, cancelled, paid, placed};

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_before_its_product_is_decided_when_that_comes() {
    let shop = Shop::open().await;
    let (first, second, third) = (
        shop.order(&[("A", 2)]).await,
        shop.order(&[("A", 2)]).await,
        shop.order(&[("A", 1)]).await,
    );
    shop.settle().await;
    assert_eq!(shop.harness.journal().await, Vec::<String>::new());
    shop.stocked("A", 3).await;
    // First come, first served.
    assert_eq!(shop.steps(first).await, ["reserved"]);
    assert_eq!(shop.steps(second).await, ["rejected"]);
    assert_eq!(shop.steps(third).await, ["reserved"]);
    assert_eq!(shop.counts("A").await, (0, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_each_of_its_skus() {
    let shop = Shop::open().await;
    let order = shop.order(&[("C", 1), ("A", 1), ("B", 1)]).await;
    shop.settle().await;
    for (arrives, steps) in [("B", &[][..]), ("A", &[]), ("C", &["reserved"])] {
        shop.stocked(arrives, 1).await;
        assert_eq!(shop.steps(order).await, steps, "{arrives}");
    }
    assert_eq!(shop.counts("B").await, (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_waits_does_not_hold_up_others() {
    let shop = Shop::open().await;
    shop.stocked("B", 100).await;
    let waits = shop.order(&[("A", 1)]).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(shop.order(&[("B", 1)]).await);
    }
    shop.settle().await;
    for other in others {
        assert_eq!(shop.steps(other).await, ["reserved"]);
    }
    assert!(shop.steps(waits).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_order_cancelled_while_it_waits_reserves_nothing() {
    let shop = Shop::open().await;
    let (cancelled_one, other) = (shop.order(&[("A", 1)]).await, shop.order(&[("A", 1)]).await);
    shop.happens(cancelled_one, cancelled(cancelled_one, OrderStatus::Pending))
        .await;
    shop.settle().await;
    shop.stocked("A", 3).await;
    assert_eq!(shop.steps(cancelled_one).await, ["released"]);
    assert_eq!(shop.steps(other).await, ["reserved"]);
    assert_eq!(shop.counts("A").await, (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_an_order_that_waits_no_longer() {
    let shop = Shop::open().await;
    let (gone, decided) = (
        shop.order(&[("NEVER", 1)]).await,
        shop.order(&[("A", 1), ("B", 1)]).await,
    );
    shop.happens(gone, cancelled(gone, OrderStatus::Pending)).await;
    shop.settle().await;
    shop.product("A", 1).await;
    shop.stocked("B", 1).await;
    assert_eq!(shop.steps(decided).await, ["reserved"]);
    for collection in COLLECTIONS
        .iter()
        .filter(|collection| collection.name.starts_with("waiting_"))
    {
        let kept = shop
            .harness
            .engine()
            .reader()
            .ids(&Query::all(collection, 10))
            .await
            .unwrap();
        assert!(kept.is_empty(), "{} has {kept:?}", collection.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_was_waited_for_belongs_to_the_request_that_asked_for_it() {
    let shop = Shop::open().await;
    let order = shop.order(&[("A", 1)]).await;
    shop.settle().await;
    shop.stocked("A", 1).await;
    let event = shop.history(order).await.remove(0);
    let engine = shop.harness.engine();
    let own = engine
        .reader()
        .history(&inventory::Stock::stream(&crate::shop::sku("A")))
        .await
        .unwrap();
    assert_ne!(event.meta.causation, own[0].meta.causation);
    assert!(event.meta.causation.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_paid_without_stock_is_parked_and_sold_once_a_person_retries_it() {
    let shop = Shop::open().await;
    let order = shop.order(&[("A", 1)]).await;
    shop.happens(order, paid(order)).await;
    shop.settle().await;
    let letter = shop.dead_letters().await.remove(0);
    assert!(
        letter.cause.contains("was paid, and nothing is reserved for it"),
        "{letter:?}"
    );
    shop.stocked("A", 1).await;
    shop.inventory
        .consumers()
        .dead_letters()
        .retry(letter.id, Context::system("test"))
        .await
        .unwrap();
    assert_eq!(shop.steps(order).await, ["reserved", "sold"]);
    assert!(shop.dead_letters().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_orders_than_can_wait_are_rejected() {
    let harness = Harness::new(Service::Inventory, COLLECTIONS).await;
    for _ in 0..4097 {
        let order = OrderId::from_uuid(harness.uuid());
        harness
            .publish(Service::Orders, order, placed(order, &[("A", 1)]))
            .await;
    }
    let shop = Shop::open_on(harness).await;
    shop.settle().await;
    assert_eq!(shop.harness.journal().await, ["inventory.rejected"]);
    shop.stocked("A", 5000).await;
    assert_eq!(shop.counts("A").await, (904, 4096, 0));
}
