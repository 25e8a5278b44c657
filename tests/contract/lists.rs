//! Lists: how many, and how to go on.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;

use crate::support::{Actor, shop, unique};

const LISTS: [&str; 8] = [
    "/api/users",
    "/api/products",
    "/api/inventory",
    "/api/orders",
    "/api/payments",
    "/api/notifications",
    "/api/events",
    "/api/dead-letters",
];

/// Walks a list to its end by pages of `limit`; each entry's `id` (or `sku`), in order.
async fn walk(actor: &Actor, path: &str, limit: usize) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = actor
            .get(&format!("{path}limit={limit}{cursor}"))
            .await
            .expect(200)
            .has_fields("data next_cursor");
        assert!(page.data().len() <= limit, "{page}");
        ids.extend(page.data().iter().map(|entry| {
            let id = entry.get("id").unwrap_or(&entry["sku"]);
            id.as_str().unwrap_or_else(|| panic!("{entry}")).to_owned()
        }));
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
        assert!(ids.len() < 10_000, "{path} has no end");
    }
}

#[tokio::test]
async fn a_limit_is_1_to_200() {
    let shop = shop().await;
    for list in LISTS {
        for good in ["1", "50", "200"] {
            let page = shop.admin.get(&format!("{list}?limit={good}")).await.expect(200);
            page.has_fields("data next_cursor");
        }
        for wrong in [
            "0",
            "201",
            "-1",
            "1.5",
            "x",
            "",
            "99999999999999999999",
            "1e2",
            "%31%30%30%30",
        ] {
            let answer = shop.admin.get(&format!("{list}?limit={wrong}")).await;
            answer.refused_field(422, "invalid-query", "limit");
        }
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_refused() {
    let shop = shop().await;
    for list in LISTS {
        for wrong in [
            "surprise=1",
            "offset=10",
            "limit=1&limit=2",
            "$where=1",
            "user_id[$ne]=x",
        ] {
            shop.admin
                .get(&format!("{list}?{wrong}"))
                .await
                .refused(422, "invalid-query");
        }
    }
}

#[tokio::test]
async fn a_cursor_that_is_not_of_this_list_is_refused() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(9).await);
    for _ in 0..2 {
        customer.place_order(&product, 1).await;
    }
    let page = customer.get("/api/orders?limit=1").await.expect(200);
    let cursor = page.text_at("next_cursor");
    for list in LISTS.into_iter().filter(|list| *list != "/api/events") {
        for wrong in ["x", "AAAA", "0", "%00", "aXQ", &"A".repeat(2049)] {
            let answer = shop.admin.get(&format!("{list}?cursor={wrong}")).await;
            answer.refused(422, "invalid-query");
        }
    }
    // That of a list in another order.
    shop.admin
        .get(&format!("/api/products?cursor={cursor}"))
        .await
        .refused(422, "invalid-query");
    shop.admin
        .get(&format!("/api/products?sort=price&cursor={cursor}"))
        .await
        .refused(422, "invalid-query");
}

#[tokio::test]
async fn a_page_has_50_entries_unless_told_otherwise_and_pages_have_each_entry_once() {
    let shop = shop().await;
    let prefix = unique("paged");
    let created = join_all((0..60).map(|number| {
        let body = json!({
            "sku": format!("{prefix}-{number}"),
            "name": format!("{prefix} {}", number % 7),
            "price": {"amount": 100 + number % 5, "currency": "USD"},
        });
        shop.admin.post("/api/products", body).into_future()
    }));
    let created: BTreeSet<String> = created
        .await
        .into_iter()
        .map(|answer| answer.expect(201).text_at("id"))
        .collect();
    let first = shop
        .anonymous
        .get(&format!("/api/products?q={prefix}"))
        .await
        .expect(200);
    assert_eq!(first.data().len(), 50);
    assert!(first.json["next_cursor"].is_string());
    for sort in ["created_at", "-created_at", "name", "-name", "price", "-price"] {
        for limit in [7, 59, 60, 200] {
            let ids = walk(
                &shop.anonymous,
                &format!("/api/products?q={prefix}&sort={sort}&"),
                limit,
            )
            .await;
            assert_eq!(ids.len(), 60, "{sort} {limit}");
            assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), created, "{sort} {limit}");
        }
    }
}

#[tokio::test]
async fn every_list_pages() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(customer.paid_order(&product, 1).await);
    }
    orders.reverse();
    let (orders, payments): (Vec<String>, Vec<String>) = orders.into_iter().unzip();
    assert_eq!(walk(&customer, "/api/orders?", 2).await, orders, "newest first");
    assert_eq!(walk(&customer, "/api/payments?", 2).await, payments, "newest first");
    // order.confirmed and order.paid of each.
    let messages = format!("/api/notifications?user_id={}", customer.id);
    crate::support::eventually("ten messages", async || {
        (shop.admin.get(&messages).await.expect(200).data().len() == 10).then_some(())
    })
    .await;
    let messages = walk(&customer, "/api/notifications?", 3).await;
    assert_eq!(messages.iter().collect::<BTreeSet<_>>().len(), 10);
    let users = walk(&shop.admin, "/api/users?", 3).await;
    assert!(users.contains(&customer.id) && users.contains(&shop.admin.id));
    let skus = walk(&shop.admin, "/api/inventory?", 200).await;
    assert!(skus.contains(&product.sku));
}
