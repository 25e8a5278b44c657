//! Lists of orders and of their events.

use std::time::Duration;

use contracts::order::{ListOrderEvents, ListOrders, OrderStatus};
use contracts::{Code, EventData, PublicEvent};
use jiff::SignedDuration;
use kernel::clock::Clock;
use kernel::http::Paging;
use serde_json::json;

use crate::shop::Shop;

#[tokio::test(start_paused = true)]
async fn ones_own_orders_are_listed_newest_first_and_all_of_them_for_an_admin() {
    let shop = Shop::open().await;
    let one = json!({"lines": [{"sku": "LAMP", "quantity": 1}]});
    let mut placed = Vec::new();
    for by in [shop.ada, shop.bob, shop.ada] {
        shop.harness.clock().sleep(Duration::from_millis(2)).await;
        placed.push(shop.try_place(one.clone(), by).await.unwrap());
    }
    let [first, second, third] = placed.try_into().unwrap();
    shop.reserved(&first).await;
    let of = |user| ListOrders {
        user_id: Some(user),
        ..ListOrders::default()
    };
    assert_eq!(shop.list(ListOrders::default(), shop.ada).await, [third.id, first.id]);
    assert_eq!(shop.list(ListOrders::default(), shop.bob).await, [second.id]);
    assert_eq!(
        shop.list(ListOrders::default(), shop.admin).await,
        [third.id, second.id, first.id]
    );
    assert_eq!(shop.list(of(shop.ada.id), shop.ada).await, [third.id, first.id]);
    assert_eq!(shop.list(of(shop.ada.id), shop.admin).await, [third.id, first.id]);
    assert_eq!(shop.list(of(shop.ada.id), shop.bob).await, []);
    let confirmed = |user_id| ListOrders {
        status: Some(OrderStatus::Confirmed),
        user_id,
        ..ListOrders::default()
    };
    assert_eq!(shop.list(confirmed(None), shop.ada).await, [first.id]);
    assert_eq!(shop.list(confirmed(None), shop.bob).await, []);
    assert_eq!(shop.list(confirmed(None), shop.admin).await, [first.id]);
    assert_eq!(shop.list(confirmed(Some(shop.bob.id)), shop.admin).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_list_between_two_times_is_exact_to_the_microsecond() {
    let shop = Shop::open().await;
    let mut placed = Vec::new();
    for _ in 0..3 {
        placed.push(shop.place().await);
        shop.harness.clock().jump(SignedDuration::from_micros(7));
    }
    let within = |after, before| ListOrders {
        created_after: after,
        created_before: before,
        ..ListOrders::default()
    };
    let all = shop.list(ListOrders::default(), shop.ada).await;
    assert_eq!(all.len(), 3);
    let [first, second, third] = [0, 1, 2].map(|index: usize| placed[index].created_at);
    assert!(third.duration_since(first) < SignedDuration::from_millis(1));
    for by in [shop.ada, shop.admin] {
        assert_eq!(shop.list(within(Some(first), None), by).await.len(), 2);
        assert_eq!(shop.list(within(None, Some(third)), by).await.len(), 2);
        assert_eq!(shop.list(within(Some(first), Some(third)), by).await, [placed[1].id]);
        assert_eq!(shop.list(within(Some(second), Some(second)), by).await, []);
        let beyond = within(Some(jiff::Timestamp::MIN), Some(jiff::Timestamp::MAX));
        assert_eq!(shop.list(beyond, by).await, all);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_list_comes_in_pages() {
    let shop = Shop::open().await;
    for _ in 0..5 {
        shop.harness.clock().sleep(Duration::from_millis(2)).await;
        shop.place_with_address().await;
    }
    let mut seen = Vec::new();
    let mut filter = ListOrders {
        limit: 2.try_into().unwrap(),
        ..ListOrders::default()
    };
    loop {
        let paging = Paging::new(filter.limit, filter.cursor.as_ref()).unwrap();
        let page = shop.orders.orders(&filter, &paging, shop.ada).await.unwrap();
        assert!(page.data.len() <= 2);
        assert!(page.data.iter().all(|order| order.shipping_address.is_some()));
        seen.extend(page.data.into_iter().map(|order| order.id));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, shop.list(ListOrders::default(), shop.ada).await);
    assert_eq!(seen.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_events_of_an_order_are_its_public_ones_in_order() {
    let shop = Shop::open().await;
    let (order, _) = shop.paid().await;
    let page = async |filter: ListOrderEvents| shop.orders.events(order.id, &filter, shop.ada).await;
    let all = page(ListOrderEvents::default()).await.unwrap();
    assert_eq!(all.next_cursor, None);
    let seen: Vec<_> = all
        .data
        .iter()
        .map(|event| (event.r#type.as_str(), event.streamversion))
        .collect();
    assert_eq!(seen, [("order.placed", 1), ("order.confirmed", 2), ("order.paid", 4)]);
    for event in &all.data {
        assert_eq!(event.subject, order.id.to_string());
        assert_eq!(event.decode::<PublicEvent>().unwrap().event_type(), event.r#type);
    }
    assert!(all.data[1].causationid.is_some(), "the reservation caused it");
    let mut filter = ListOrderEvents {
        limit: 1.try_into().unwrap(),
        cursor: None,
    };
    let mut types = Vec::new();
    loop {
        let next = page(filter.clone()).await.unwrap();
        types.extend(next.data.into_iter().map(|event| event.r#type));
        filter.cursor = next.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(types, ["order.placed", "order.confirmed", "order.paid"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_list_is_refused() {
    let shop = Shop::open().await;
    let (order, _) = shop.paid().await;
    let other = shop.confirmed().await;
    let path = |id, cursor: &str| format!("/api/orders/{id}/events?limit=1&cursor={cursor}");
    let first = shop
        .http(
            "GET",
            &format!("/api/orders/{}/events?limit=1", order.id),
            Some(shop.ada),
            None,
        )
        .await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(
        shop.http("GET", &path(order.id, &cursor), Some(shop.ada), None)
            .await
            .status,
        200
    );
    for path in [
        path(other.id, &cursor),
        path(order.id, "abc"),
        format!("/api/orders?cursor={cursor}"),
    ] {
        let refused = shop.http("GET", &path, Some(shop.ada), None).await;
        assert_eq!(refused.outcome(), (422, Some(Code::InvalidQuery)), "{path}");
    }
}
