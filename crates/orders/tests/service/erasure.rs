//! Users who are gone.

use contracts::order::OrderStatus;
use contracts::{Code, OrderId};
use kernel::document::Document;
use kernel::store::Query;
use orders::{Error, OrderTexts};
use serde_json::json;

use crate::shop::{Shop, address};

/// The orders of which people's words are kept.
async fn kept(shop: &Shop) -> Vec<String> {
    let all = Query::all(OrderTexts::COLLECTION, 100);
    shop.harness
        .engine()
        .reader()
        .ids(&all)
        .await
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn ids(ids: &[OrderId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn unpaid_orders_of_an_erased_user_are_cancelled_and_their_texts_deleted() {
    let shop = Shop::open().await;
    let pending = shop.place_with_address().await;
    let confirmed = shop.place_with_address().await;
    shop.reserved(&confirmed).await;
    let rejected = shop.place_with_address().await;
    shop.rejected(&rejected).await;
    let other = json!({"lines": [{"sku": "LAMP", "quantity": 1}], "metadata": {"a": 1}});
    let others = shop.try_place(other, shop.bob).await.unwrap();
    shop.erase(shop.ada).await;
    assert_eq!(shop.status(&pending).await, OrderStatus::Cancelled);
    assert_eq!(shop.status(&confirmed).await, OrderStatus::Cancelled);
    assert_eq!(shop.status(&rejected).await, OrderStatus::Rejected);
    assert_eq!(shop.status(&others).await, OrderStatus::Pending);
    assert_eq!(kept(&shop).await, ids(&[others.id]));
    let order = shop.read(&confirmed).await;
    assert_eq!(
        (order.shipping_address, order.metadata, order.total),
        (None, None, confirmed.total)
    );
}

#[tokio::test(start_paused = true)]
async fn a_paid_order_of_an_erased_user_keeps_its_address_until_it_is_settled() {
    for end in [OrderStatus::Fulfilled, OrderStatus::Cancelled, OrderStatus::Refunded] {
        let shop = Shop::open().await;
        let order = shop.place_with_address().await;
        shop.reserved(&order).await;
        let payment = shop.new_payment();
        shop.captured(&order, payment).await;
        let metadata = json!({"metadata": {"gift": "for Charles"}});
        shop.update(&order, metadata.clone(), shop.admin).await.unwrap();
        shop.erase(shop.ada).await;
        assert_eq!(shop.status(&order).await, OrderStatus::Paid);
        let left = shop.read(&order).await;
        assert_eq!((left.shipping_address.is_some(), left.metadata), (true, None));
        let again = shop.update(&order, metadata, shop.admin).await;
        assert!(matches!(again, Err(Error::TextsSettled { .. })), "{again:?}");
        match end {
            OrderStatus::Refunded => shop.refunded(&order, payment, order.total).await,
            end => drop(shop.update(&order, json!({"status": end}), shop.admin).await.unwrap()),
        }
        assert_eq!(shop.status(&order).await, end);
        assert_eq!(kept(&shop).await, ids(&[]), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_kept_of_an_erased_user() {
    let shop = Shop::open().await;
    let order = shop.place_with_address().await;
    shop.reserved(&order).await;
    shop.captured(&order, shop.new_payment()).await;
    shop.erase(shop.ada).await;
    let again = shop
        .try_place(json!({"lines": [{"sku": "LAMP", "quantity": 1}]}), shop.ada)
        .await;
    assert!(matches!(again, Err(Error::ErasedUser)), "{again:?}");
    let for_ada = json!({"lines": [{"sku": "LAMP", "quantity": 1}], "user_id": shop.ada.id});
    let refused = shop.http("POST", "/api/orders", Some(shop.admin), Some(for_ada)).await;
    assert_eq!(refused.outcome(), (422, Some(Code::UnknownReference)));
    // The address may be put right while it is needed.
    let put_right = json!({"shipping_address": address("Herengracht 2")});
    assert!(
        shop.update(&order, put_right.clone(), shop.admin)
            .await
            .unwrap()
            .shipping_address
            .is_some()
    );
    let reason = Some("Lost".try_into().unwrap());
    let cancelled = shop
        .orders
        .cancel(order.id, reason, shop.admin, shop.context(shop.admin))
        .await
        .unwrap();
    assert_eq!((cancelled.reason, cancelled.shipping_address), (None, None));
    let refused = shop.update(&order, put_right, shop.admin).await;
    assert!(matches!(refused, Err(Error::TextsSettled { .. })), "{refused:?}");
    assert_eq!(kept(&shop).await, ids(&[]));
}

#[tokio::test(start_paused = true)]
async fn an_erased_user_is_signed_out_and_answers_given_are_forgotten() {
    let shop = Shop::open().await;
    let request = json!({"lines": [{"sku": "LAMP", "quantity": 1}], "shipping_address": address("Herengracht 1")});
    let key = [("idempotency-key", "k")];
    let first = shop
        .http_with("POST", "/api/orders", Some(shop.ada), Some(request.clone()), &key)
        .await;
    assert_eq!(first.status, 201);
    shop.erase(shop.ada).await;
    let again = shop
        .http_with("POST", "/api/orders", Some(shop.ada), Some(request), &key)
        .await;
    assert_eq!(again.status, 401);
    // Neither the journal nor any document holds the address.
    let engine = shop.harness.engine();
    let store = engine.reader().store();
    let journal = store.tail(kernel::event::Position::START, 100).await.unwrap();
    assert!(!format!("{journal:?}").contains("Herengracht"));
    for collection in kernel::engine::KERNEL_COLLECTIONS.iter().chain(orders::COLLECTIONS) {
        let found = store.query(&Query::all(collection, 100)).await.unwrap();
        assert!(!format!("{found:?}").contains("Herengracht"), "{}", collection.name);
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_answers_go_with_those_who_wrote_what_they_hold() {
    let shop = Shop::open().await;
    let key = [("idempotency-key", "k")];
    let request = json!({"lines": [{"sku": "LAMP", "quantity": 1}], "shipping_address": address("Herengracht 1")});
    let placed = shop
        .http_with("POST", "/api/orders", Some(shop.ada), Some(request), &key)
        .await
        .json();
    let path = format!("/api/orders/{}", placed["id"].as_str().unwrap());
    let update = json!({"shipping_address": address("Herengracht 2"), "metadata": {"note": "Herengracht"}});
    assert_eq!(
        shop.http_with("PATCH", &path, Some(shop.admin), Some(update), &key)
            .await
            .status,
        200
    );
    let reason = json!({"reason": "Not at Herengracht any more"});
    assert_eq!(
        shop.http_with("POST", &format!("{path}/cancel"), Some(shop.admin), Some(reason), &key)
            .await
            .status,
        200
    );
    assert_ne!(recorded(&shop).await, "", "the search finds what is there");
    shop.erase(shop.ada).await;
    assert_eq!(recorded(&shop).await, "", "whoever asked for them");
}

/// The recorded answers that hold what Ada wrote.
async fn recorded(shop: &Shop) -> String {
    let engine = shop.harness.engine();
    let collections = kernel::engine::KERNEL_COLLECTIONS;
    let answers = collections.iter().find(|it| it.name == "idempotency").unwrap();
    let found = engine.reader().store().query(&Query::all(answers, 100)).await.unwrap();
    let found = found.iter().map(|answer| &*answer.stored.document);
    found.filter(|answer| answer.contains("Herengracht")).collect()
}
