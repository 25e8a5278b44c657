//! Stock.

use serde_json::{Value, json};

use crate::support::{shop, unique};

const FIELDS: &str = "sku product_id on_hand reserved available version";

#[tokio::test]
async fn stock_is_what_lies_in_the_warehouse_reserved_included() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let answer = shop
        .anonymous
        .get(&product.stock_path())
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(
        (answer.text_at("sku"), answer.text_at("product_id")),
        (product.sku.clone(), product.id.clone())
    );
    let order = customer.confirmed_order(&product, 4).await;
    assert_eq!(shop.admin.stock(&product).await, (10, 4, 6));
    customer.pay(&order).await;
    shop.admin.until_stock(&product, (6, 0, 6)).await;
}

#[tokio::test]
async fn stock_is_set_and_journaled_as_the_difference() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let path = product.stock_path();
    shop.anonymous
        .put(&path, json!({"on_hand": 1}))
        .await
        .refused(401, "unauthorized");
    customer
        .put(&path, json!({"on_hand": 1}))
        .await
        .refused(403, "forbidden");
    let set = shop
        .admin
        .put(&path, json!({"on_hand": 25}))
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(set.json["on_hand"], 25);
    crate::support::eventually("the change is in the log", async || {
        let log = shop
            .admin
            .logged(&format!(
                "/api/events?type=inventory.updated&subject=sku:{}",
                product.sku
            ))
            .await;
        let change = log.into_iter().find(|event| event["data"]["cause"] == "set")?;
        assert_eq!(
            (&change["data"]["delta"], &change["data"]["on_hand"]),
            (&json!(15), &json!(25))
        );
        Some(())
    })
    .await;
    for wrong in [
        json!(-1),
        json!(1.5),
        json!("5"),
        Value::Null,
        json!(1_000_000_000_001_u64),
        json!(1e20),
    ] {
        shop.admin
            .put(&path, json!({"on_hand": wrong}))
            .await
            .refused_field(422, "invalid", "on_hand");
    }
    shop.admin
        .put(&path, json!({"available": 5}))
        .await
        .refused(422, "invalid");
    shop.admin.put(&path, json!({"on_hand": 0})).await.expect(200);
}

#[tokio::test]
async fn stock_is_adjusted_with_a_reason() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let path = format!("{}/adjustments", product.stock_path());
    customer
        .post(&path, json!({"delta": 1, "reason": "x"}))
        .await
        .refused(403, "forbidden");
    let added = shop
        .admin
        .post(&path, json!({"delta": 5, "reason": "found"}))
        .await
        .expect(201)
        .has_fields(FIELDS);
    assert_eq!(
        (added.json["on_hand"].clone(), added.header("location")),
        (json!(15), product.stock_path().as_str())
    );
    let removed = shop
        .admin
        .post(&path, json!({"delta": -15, "reason": "broken"}))
        .await
        .expect(201);
    assert_eq!(removed.json["on_hand"], 0);
    for delta in [json!(1.5), json!("1"), Value::Null, json!(1_000_000_000_001_u64)] {
        shop.admin
            .post(&path, json!({"delta": delta, "reason": "x"}))
            .await
            .refused_field(422, "invalid", "delta");
    }
    for reason in [json!(""), json!(" "), json!("x".repeat(501)), Value::Null] {
        shop.admin
            .post(&path, json!({"delta": 1, "reason": reason}))
            .await
            .refused_field(422, "invalid", "reason");
    }
    shop.admin
        .post(&path, json!({"delta": 1}))
        .await
        .refused_field(422, "invalid", "reason");
    shop.admin
        .post(&path, json!({"delta": 1_000_000_000_000_u64, "reason": "x"}))
        .await
        .expect(201);
    shop.admin
        .post(&path, json!({"delta": 1, "reason": "x"}))
        .await
        .refused(422, "invalid");
}

#[tokio::test]
async fn what_is_reserved_stays() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    customer.confirmed_order(&product, 6).await;
    let (path, adjust) = (product.stock_path(), format!("{}/adjustments", product.stock_path()));
    shop.admin
        .put(&path, json!({"on_hand": 5}))
        .await
        .refused(409, "below-reserved");
    shop.admin
        .post(&adjust, json!({"delta": -5, "reason": "lost"}))
        .await
        .refused(409, "below-reserved");
    shop.admin
        .post(&adjust, json!({"delta": -11, "reason": "lost"}))
        .await
        .refused(409, "below-reserved");
    assert_eq!(shop.admin.stock(&product).await, (10, 6, 4));
    shop.admin.put(&path, json!({"on_hand": 6})).await.expect(200);
    assert_eq!(shop.admin.stock(&product).await, (6, 6, 0));
}

#[tokio::test]
async fn an_admin_sees_what_runs_low() {
    let shop = shop().await;
    let (customer, low, high) = (
        shop.customer().await,
        shop.admin.product(2).await,
        shop.admin.product(900).await,
    );
    let all = async |query: &str| {
        let page = shop
            .admin
            .get(&format!("/api/inventory?limit=200{query}"))
            .await
            .expect(200);
        page.data()
            .iter()
            .for_each(|entry| crate::support::assert_fields(entry, FIELDS, &page));
        page
    };
    let page = all("&available_below=3").await;
    assert!(
        page.data().iter().all(|entry| entry["available"].as_u64().unwrap() < 3),
        "{page}"
    );
    let has = |page: &crate::support::Answer, sku: &str| page.data().iter().any(|entry| entry["sku"] == sku);
    // The list may have more than one page, on a shop that others use.
    assert!(has(&page, &low.sku) || page.json["next_cursor"].is_string());
    assert!(!has(&page, &high.sku));
    for wrong in ["available_below=-1", "available_below=x", "available_below=1.5"] {
        shop.admin
            .get(&format!("/api/inventory?{wrong}"))
            .await
            .refused_field(422, "invalid-query", "available_below");
    }
    shop.anonymous.get("/api/inventory").await.refused(401, "unauthorized");
    customer.get("/api/inventory").await.refused(403, "forbidden");
}

#[tokio::test]
async fn an_unknown_sku_is_waited_for_and_then_not_found() {
    let shop = shop().await;
    let sku = unique("never-seen");
    // It may be on its way as long as the replica lags behind.
    crate::support::eventually("the SKU is unknown", async || {
        let answer = shop.anonymous.get(&format!("/api/inventory/{sku}")).await;
        match answer.status {
            503 => {
                answer.refused(503, "catching-up");
                None
            }
            _ => Some(answer.refused(404, "not-found")),
        }
    })
    .await;
    let adjustment = json!({"delta": 1, "reason": "x"});
    let answer = shop
        .admin
        .post(&format!("/api/inventory/{sku}/adjustments"), adjustment)
        .await;
    assert!(matches!(answer.status, 404 | 503), "{answer}");
    for wrong in ["%20a", "a%0Ab", &"x".repeat(65), "%00"] {
        shop.anonymous
            .get(&format!("/api/inventory/{wrong}"))
            .await
            .refused(404, "not-found");
    }
}
