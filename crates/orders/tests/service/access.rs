//! Who may do what: every route, for the owner, another customer, an admin, a service and nobody.

use contracts::Service;
use contracts::order::OrderStatus;
use kernel::event::Position;
use serde_json::{Value, json};

use crate::shop::{Shop, address};

#[tokio::test(start_paused = true)]
async fn every_route_asks_who_it_is() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let path = format!("/api/orders/{}", order.id);
    let address = || Some(json!({"shipping_address": address("Herengracht 2")}));
    let routes: Vec<(&str, String, Option<Value>, [u16; 4])> = vec![
        // Owner, another customer, admin, nobody.
        (
            "POST",
            "/api/orders".into(),
            Some(json!({"lines": [{"sku": "LAMP", "quantity": 1}]})),
            [201, 201, 201, 401],
        ),
        (
            "POST",
            "/api/orders".into(),
            Some(json!({"lines": [{"sku": "LAMP", "quantity": 1}], "user_id": shop.ada.id})),
            [201, 403, 201, 401],
        ),
        ("GET", "/api/orders".into(), None, [200, 200, 200, 401]),
        ("GET", path.clone(), None, [200, 404, 200, 401]),
        ("GET", format!("{path}?version=1"), None, [200, 404, 200, 401]),
        ("GET", format!("{path}/events"), None, [200, 404, 200, 401]),
        ("PATCH", path.clone(), address(), [200, 404, 200, 401]),
        (
            "PATCH",
            path.clone(),
            Some(json!({"metadata": {"a": 1}})),
            [403, 404, 200, 401],
        ),
        (
            "PATCH",
            path.clone(),
            Some(json!({"status": "confirmed"})),
            [403, 404, 200, 401],
        ),
        ("PATCH", path.clone(), Some(json!({})), [200, 404, 200, 401]),
        ("POST", format!("{path}/cancel"), None, [200, 404, 200, 401]),
        ("GET", "/api/dead-letters".into(), None, [403, 403, 200, 401]),
        ("PUT", path.clone(), address(), [405, 405, 405, 405]),
        ("DELETE", path.clone(), None, [405, 405, 405, 405]),
    ];
    for (method, path, body, expected) in routes {
        let callers = [Some(shop.ada), Some(shop.bob), Some(shop.admin), None];
        // The one who is refused first, so that nothing has happened yet.
        for (caller, status) in callers.into_iter().zip(expected).rev() {
            let answer = shop.http(method, &path, caller, body.clone()).await;
            assert_eq!(answer.status, status, "{method} {path} {caller:?}: {}", answer.body);
        }
    }
    assert_eq!(shop.status(&order).await, OrderStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn another_ones_order_is_answered_as_none() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let unknown = format!("/api/orders/ord_{}", "0".repeat(26));
    for id in [format!("/api/orders/{}", order.id), unknown, "/api/orders/7".into()] {
        let mut problem = shop.http("GET", &id, Some(shop.bob), None).await.problem();
        problem.instance = None;
        assert_eq!(problem, contracts::Code::NotFound.into(), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_read_an_order_is_told_on_live_streams_and_in_no_journal() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let path = format!("/api/orders/{}", order.id);
    let mut stream = shop.accesses.subscribe();
    let before = shop.harness.journal().await;
    assert_eq!(shop.http("GET", &path, Some(shop.bob), None).await.status, 404);
    assert_eq!(shop.http("GET", &path, Some(shop.admin), None).await.status, 200);
    let access = stream.next().await.unwrap();
    assert_eq!(
        (access.source, access.stream.as_str()),
        (Service::Orders, order.id.to_string().as_str())
    );
    assert_eq!(&*access.actor, shop.admin.id.to_string());
    let viewed = contracts::order::Viewed {
        order_id: order.id,
        user_id: shop.ada.id,
    };
    assert_eq!(access.event, viewed.into());
    assert_eq!(shop.harness.journal().await, before);
    let engine = shop.harness.engine();
    assert_eq!(
        engine
            .reader()
            .store()
            .tail(Position::START, 0)
            .await
            .unwrap()
            .head
            .position,
        Position(1)
    );
}
