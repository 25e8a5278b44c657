//! What people write, and what an order was like before.

use contracts::order::{AsOf, OrderStatus};
use kernel::http::IfMatch;
use orders::Error;
use serde_json::json;

use crate::shop::{Shop, address};

fn street(order: &contracts::order::Order) -> &str {
    order
        .shipping_address
        .as_ref()
        .map_or("", |address| address.line1.as_str())
}

#[tokio::test(start_paused = true)]
async fn texts_are_beside_the_order_and_not_in_its_events() {
    let shop = Shop::open().await;
    let order = shop.place_with_address().await;
    assert_eq!(street(&order), "Herengracht 1");
    assert_eq!(shop.read(&order).await, order);
    let changed = shop
        .update(&order, json!({"shipping_address": address("Herengracht 2")}), shop.ada)
        .await
        .unwrap();
    assert_eq!((street(&changed), changed.version), ("Herengracht 2", 2));
    assert!(changed.metadata.is_some());
    let same = shop
        .update(&order, json!({"shipping_address": address("Herengracht 2")}), shop.ada)
        .await
        .unwrap();
    assert_eq!(same, changed);
    let cleared = json!({"shipping_address": null, "metadata": null});
    let cleared = shop.update(&order, cleared, shop.admin).await.unwrap();
    assert_eq!(
        (&cleared.shipping_address, &cleared.metadata, cleared.version),
        (&None, &None, 3)
    );
    let events = shop
        .orders
        .events(order.id, &Default::default(), shop.ada)
        .await
        .unwrap();
    let data: Vec<_> = events.data.iter().map(|event| event.data.get()).collect();
    assert!(
        data[0].ends_with(r#""details":["shipping_address","metadata"]}"#),
        "{}",
        data[0]
    );
    assert!(data[1].ends_with(r#""changed":["shipping_address"]}"#), "{}", data[1]);
    assert!(
        data[2].ends_with(r#""changed":["shipping_address","metadata"]}"#),
        "{}",
        data[2]
    );
}

#[tokio::test(start_paused = true)]
async fn a_reason_is_kept_with_the_first_cancellation() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let cancel = async |reason: &str| {
        let reason = Some(reason.try_into().unwrap());
        shop.orders
            .cancel(order.id, reason, shop.ada, shop.context(shop.ada))
            .await
            .unwrap()
    };
    let first = cancel("Changed my mind").await;
    assert_eq!(first.reason.as_ref().unwrap().as_str(), "Changed my mind");
    assert_eq!(cancel("Too late").await, first);
    assert_eq!(shop.read(&order).await, first);
}

#[tokio::test(start_paused = true)]
async fn the_owner_changes_the_address_until_the_order_is_fulfilled() {
    let shop = Shop::open().await;
    let (order, _) = shop.paid().await;
    let moved = json!({"shipping_address": address("Herengracht 2")});
    shop.update(&order, moved.clone(), shop.ada).await.unwrap();
    shop.update(&order, json!({"status": "fulfilled"}), shop.admin)
        .await
        .unwrap();
    // What changes nothing is no change.
    shop.update(&order, moved, shop.ada).await.unwrap();
    let elsewhere = json!({"shipping_address": address("Herengracht 3")});
    let refused = shop.update(&order, elsewhere.clone(), shop.ada).await;
    assert!(
        matches!(
            refused,
            Err(Error::TextsSettled {
                status: OrderStatus::Fulfilled
            })
        ),
        "{refused:?}"
    );
    assert_eq!(
        street(&shop.update(&order, elsewhere, shop.admin).await.unwrap()),
        "Herengracht 3"
    );
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_for_admins() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    for request in [
        json!({"status": "paid"}),
        json!({"status": "confirmed"}),
        json!({"metadata": {}}),
        json!({"metadata": null}),
    ] {
        let refused = shop.update(&order, request.clone(), shop.ada).await;
        assert!(matches!(refused, Err(Error::Forbidden)), "{request} {refused:?}");
        let hidden = shop.update(&order, request, shop.bob).await;
        assert!(matches!(hidden, Err(Error::Unknown)), "{hidden:?}");
    }
    assert_eq!(shop.read(&order).await, order);
    let all = json!({"status": "paid", "metadata": {"a": 1}, "shipping_address": address("Herengracht 2")});
    let paid = shop.update(&order, all, shop.admin).await.unwrap();
    assert_eq!(
        (paid.status, street(&paid), paid.metadata.is_some()),
        (OrderStatus::Paid, "Herengracht 2", true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_status_takes_the_texts_with_it() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    for status in ["confirmed", "rejected", "paid", "fulfilled", "expired", "refunded"] {
        let request = json!({"status": status, "metadata": {"a": 1}});
        let refused = shop.update(&order, request, shop.admin).await;
        assert!(
            matches!(
                refused,
                Err(Error::IllegalTransition {
                    from: OrderStatus::Pending,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    assert_eq!(shop.read(&order).await, order);
    assert_eq!(
        shop.update(&order, json!({"status": "pending"}), shop.admin)
            .await
            .unwrap(),
        order
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_version_changes_nothing() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let update = async |version| {
        let request = serde_json::from_value(json!({"metadata": {"a": 1}})).unwrap();
        let if_match = IfMatch::Versions(vec![version]);
        shop.orders
            .update(order.id, request, if_match, shop.admin, shop.context(shop.admin))
            .await
    };
    assert!(matches!(update(1).await, Err(Error::Stale)));
    assert_eq!(update(2).await.unwrap().version, 3);
}

#[tokio::test(start_paused = true)]
async fn an_order_can_be_seen_as_it_was() {
    let shop = Shop::open().await;
    let placed = shop.place_with_address().await;
    shop.pass(std::time::Duration::from_secs(10)).await;
    shop.reserved(&placed).await;
    let confirmed = shop.read(&placed).await;
    shop.pass(std::time::Duration::from_secs(10)).await;
    let moved = shop
        .update(&placed, json!({"shipping_address": address("Herengracht 2")}), shop.ada)
        .await
        .unwrap();
    let read = async |as_of: AsOf| {
        shop.orders
            .order(placed.id, &as_of, shop.ada, &shop.context(shop.ada))
            .await
    };
    let version = |version| AsOf {
        version: Some(version),
        ..AsOf::default()
    };
    let at = |at| AsOf {
        at: Some(at),
        ..AsOf::default()
    };
    for (as_of, status, shown) in [
        (version(1), OrderStatus::Pending, 1),
        (version(2), OrderStatus::Confirmed, 2),
        (version(3), OrderStatus::Confirmed, 3),
        (at(placed.created_at), OrderStatus::Pending, 1),
        (
            at(confirmed.updated_at - jiff::SignedDuration::from_micros(1)),
            OrderStatus::Pending,
            1,
        ),
        (at(confirmed.updated_at), OrderStatus::Confirmed, 2),
        (
            at(moved.updated_at + jiff::SignedDuration::from_hours(1)),
            OrderStatus::Confirmed,
            3,
        ),
    ] {
        let then = read(as_of.clone()).await.unwrap();
        // What people wrote is not in the past: it is shown as it is today.
        assert_eq!(
            (then.status, then.version, street(&then)),
            (status, shown, "Herengracht 2"),
            "{as_of:?}"
        );
    }
    assert_eq!(read(version(2)).await.unwrap().updated_at, confirmed.updated_at);
    for nowhere in [
        version(0),
        version(4),
        at(placed.created_at - jiff::SignedDuration::from_micros(1)),
    ] {
        assert!(matches!(read(nowhere).await, Err(Error::Unknown)));
    }
    let both = AsOf {
        at: Some(placed.created_at),
        version: Some(1),
    };
    assert!(matches!(read(both).await, Err(Error::TwoPasts)));
}
