//! Placing: prices, and products that are not known here.

use std::sync::Arc;
use std::time::Duration;

use contracts::order::OrderStatus;
use contracts::product::ProductStatus;
use contracts::{Currency, ProductId};
use kernel::clock::Clock;
use orders::Error;
use serde_json::{Value, json};

use crate::shop::{LAMP, Shop, usd};

fn lamps(quantity: u32) -> Value {
    json!({"lines": [{"sku": "LAMP", "quantity": quantity}]})
}

#[tokio::test(start_paused = true)]
async fn an_order_costs_what_the_catalogue_says() {
    let shop = Shop::open().await;
    let request = json!({"lines": [
        {"sku": "LAMP", "quantity": 2},
        {"product_id": shop.lamp, "quantity": 1, "expected_unit_price": usd(LAMP)},
        {"sku": "CHAIR", "quantity": 1},
    ]});
    let order = shop.try_place(request, shop.ada).await.unwrap();
    assert_eq!(
        (order.status, order.version, order.user_id),
        (OrderStatus::Pending, 1, shop.ada.id)
    );
    assert_eq!(order.total, usd(3 * LAMP + 9900));
    let totals: Vec<_> = order.lines.iter().map(|line| (line.sku.as_str(), line.total)).collect();
    assert_eq!(
        totals,
        [("LAMP", usd(2 * LAMP)), ("LAMP", usd(LAMP)), ("CHAIR", usd(9900))]
    );
    assert_eq!(order.lines[0].product_id, shop.lamp);
    assert_eq!(shop.read(&order).await, order);
}

#[tokio::test(start_paused = true)]
async fn a_placed_order_keeps_its_price() {
    let shop = Shop::open().await;
    let before = shop.place().await;
    shop.lamp_changes(LAMP + 1, ProductStatus::Active).await;
    assert_eq!(shop.place().await.total, usd(2 * (LAMP + 1)));
    assert_eq!(shop.read(&before).await.total, usd(2 * LAMP));
}

#[tokio::test(start_paused = true)]
async fn a_price_other_than_the_expected_one_refuses_the_order() {
    let shop = Shop::open().await;
    let expect = |price| json!({"lines": [{"sku": "LAMP", "quantity": 1, "expected_unit_price": price}]});
    shop.try_place(expect(usd(LAMP)), shop.ada).await.unwrap();
    let cheaper = shop.try_place(expect(usd(LAMP - 1)), shop.ada).await;
    assert!(
        matches!(&cheaper, Err(Error::PriceChanged(lines)) if lines[0].price.money() == usd(LAMP)),
        "{cheaper:?}"
    );
    shop.lamp_changes(LAMP - 1, ProductStatus::Active).await;
    shop.try_place(expect(usd(LAMP - 1)), shop.ada).await.unwrap();
    assert_eq!(shop.harness.journal().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_archived_product_cannot_be_ordered_until_it_is_back() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    shop.lamp_changes(LAMP, ProductStatus::Archived).await;
    let refused = shop.try_place(lamps(1), shop.ada).await;
    assert!(matches!(refused, Err(Error::UnknownProduct(_))), "{refused:?}");
    shop.reserved(&order).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Confirmed);
    shop.lamp_changes(LAMP, ProductStatus::Active).await;
    shop.try_place(lamps(1), shop.ada).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_product_that_is_on_its_way_is_waited_for() {
    let shop = Arc::new(Shop::open().await);
    let id = ProductId::from_uuid(shop.harness.uuid());
    let placing = tokio::spawn({
        let shop = Arc::clone(&shop);
        async move {
            shop.try_place(json!({"lines": [{"product_id": id, "quantity": 1}]}), shop.ada)
                .await
        }
    });
    shop.harness.clock().sleep(Duration::from_millis(100)).await;
    shop.product(id, "LATE", 1, Currency::USD).await;
    assert_eq!(placing.await.unwrap().unwrap().total, usd(1));
}

#[tokio::test(start_paused = true)]
async fn a_product_that_does_not_come_is_unknown_unless_its_id_is_young() {
    let shop = Shop::open().await;
    let young = ProductId::from_uuid(shop.harness.uuid());
    let order = |id: ProductId| json!({"lines": [{"sku": "LAMP", "quantity": 1}, {"product_id": id, "quantity": 1}]});
    let started = shop.harness.clock().monotonic();
    let refused = shop.try_place(order(young), shop.ada).await;
    assert!(matches!(refused, Err(Error::CatchingUp)), "{refused:?}");
    let waited = shop.harness.clock().monotonic() - started;
    assert!((250..400).contains(&waited.as_millis()), "{waited:?}");
    shop.pass(Duration::from_mins(1)).await;
    let refused = shop.try_place(order(young), shop.ada).await;
    assert!(
        matches!(&refused, Err(Error::UnknownProduct(lines)) if lines.len() == 1 && lines[0].line == 1),
        "{refused:?}"
    );
    let refused = shop
        .try_place(json!({"lines": [{"sku": "GHOST", "quantity": 1}]}), shop.ada)
        .await;
    assert!(matches!(refused, Err(Error::UnknownProduct(_))), "{refused:?}");
    assert_eq!(shop.harness.journal().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_total_fits_and_is_in_one_currency() {
    let shop = Shop::open().await;
    shop.product(ProductId::from_uuid(shop.harness.uuid()), "STOEL", 9900, Currency::EUR)
        .await;
    let huge = contracts::money::AMOUNT_MAX / 2 + 1;
    shop.product(ProductId::from_uuid(shop.harness.uuid()), "PALACE", huge, Currency::USD)
        .await;
    let of = |skus: &[(&str, u32)]| {
        let lines: Vec<_> = skus
            .iter()
            .map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity}))
            .collect();
        json!({"lines": lines})
    };
    let mixed = shop.try_place(of(&[("LAMP", 1), ("STOEL", 1)]), shop.ada).await;
    assert!(matches!(mixed, Err(Error::MixedCurrencies)), "{mixed:?}");
    for too_much in [
        of(&[("PALACE", 2)]),
        of(&[("PALACE", 1), ("PALACE", 1)]),
        of(&[("PALACE", 1_000_000)]),
    ] {
        let refused = shop.try_place(too_much, shop.ada).await;
        assert!(matches!(refused, Err(Error::TotalTooLarge)), "{refused:?}");
    }
    assert_eq!(
        shop.try_place(of(&[("PALACE", 1), ("LAMP", 1)]), shop.ada)
            .await
            .unwrap()
            .total,
        usd(huge + LAMP)
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_with_a_thousand_lines_is_one_event() {
    let shop = Shop::open().await;
    let lines: Vec<_> = (0..1000).map(|_| json!({"sku": "LAMP", "quantity": 1})).collect();
    let order = shop.try_place(json!({"lines": lines}), shop.ada).await.unwrap();
    assert_eq!(order.total, usd(1000 * LAMP));
    assert_eq!(shop.harness.journal().await, ["order.placed"]);
}

#[tokio::test(start_paused = true)]
async fn an_admin_orders_for_another_and_nobody_else_does() {
    let shop = Shop::open().await;
    let for_ada = json!({"lines": [{"sku": "LAMP", "quantity": 1}], "user_id": shop.ada.id});
    assert_eq!(
        shop.try_place(for_ada.clone(), shop.admin).await.unwrap().user_id,
        shop.ada.id
    );
    assert_eq!(
        shop.try_place(for_ada.clone(), shop.ada).await.unwrap().user_id,
        shop.ada.id
    );
    let refused = shop.try_place(for_ada, shop.bob).await;
    assert!(matches!(refused, Err(Error::Forbidden)), "{refused:?}");
}
