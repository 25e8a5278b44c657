//! Orders that are placed: listed, read, cancelled, changed.

use serde_json::{Value, json};

use crate::placing::FIELDS;
use crate::support::{Server, shop};

#[tokio::test]
async fn an_order_is_its_owners_and_the_admins() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(10).await,
    );
    let order = customer.confirmed_order(&product, 1).await;
    let path = format!("/api/orders/{order}");
    for actor in [&customer, &shop.admin] {
        actor.get(&path).await.expect(200).has_fields(FIELDS);
        actor.get(&format!("{path}/events")).await.expect(200);
    }
    shop.anonymous.get(&path).await.refused(401, "unauthorized");
    let body = json!({"shipping_address": null});
    other.get(&path).await.refused(404, "not-found");
    other.get(&format!("{path}?version=1")).await.refused(404, "not-found");
    other.get(&format!("{path}/events")).await.refused(404, "not-found");
    other.patch(&path, body).await.refused(404, "not-found");
    other
        .patch(&path, json!({"status": "paid"}))
        .await
        .refused(404, "not-found");
    other
        .post(&format!("{path}/cancel"), json!({}))
        .await
        .refused(404, "not-found");
    other
        .post("/api/payments", json!({"order_id": order}))
        .await
        .refused(404, "not-found");
    assert_eq!(customer.get(&path).await.json["status"], "confirmed");
}

#[tokio::test]
async fn the_list_has_ones_own_and_an_admin_has_all() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(10).await,
    );
    let first = customer.confirmed_order(&product, 1).await;
    let between = shop
        .admin
        .get(&format!("/api/orders/{first}"))
        .await
        .text_at("created_at");
    let second = customer.confirmed_order(&product, 1).await;
    customer
        .post(&format!("/api/orders/{second}/cancel"), json!({}))
        .await
        .expect(200);
    let others = other.confirmed_order(&product, 1).await;
    let listed = async |actor: &crate::support::Actor, query: &str| {
        let page = actor.get(&format!("/api/orders?{query}")).await.expect(200);
        page.data()
            .iter()
            .for_each(|order| crate::support::assert_fields(order, FIELDS, &page));
        page.ids()
    };
    assert_eq!(listed(&customer, "").await, [&*second, &*first]);
    assert_eq!(listed(&customer, "status=cancelled").await, [&*second]);
    assert_eq!(listed(&customer, &format!("created_after={between}")).await, [&*second]);
    assert_eq!(listed(&customer, &format!("created_before={between}")).await, [""; 0]);
    assert_eq!(
        listed(&customer, "created_before=2100-01-01T00:00:00Z").await,
        [&*second, &*first]
    );
    assert_eq!(
        listed(&customer, "created_after=2100-01-01T00:00:00%2B01:00").await,
        [""; 0]
    );
    assert_eq!(
        listed(&customer, &format!("user_id={}", customer.id)).await,
        [&*second, &*first]
    );
    assert_eq!(listed(&customer, &format!("user_id={}", other.id)).await, [""; 0]);
    assert_eq!(
        listed(&shop.admin, &format!("user_id={}", customer.id)).await,
        [&*second, &*first]
    );
    assert_eq!(
        listed(&shop.admin, &format!("user_id={}&status=confirmed", other.id)).await,
        [&*others]
    );
    assert!(listed(&shop.admin, "limit=200").await.contains(&others));
    for wrong in [
        "status=gone",
        "user_id=x",
        "created_after=yesterday",
        "created_before=2024-01-01",
    ] {
        let field = wrong.split('=').next().unwrap();
        customer
            .get(&format!("/api/orders?{wrong}"))
            .await
            .refused_field(422, "invalid-query", field);
    }
    shop.anonymous.get("/api/orders").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn cancelling_twice_is_cancelling_once() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 4).await;
    let path = format!("/api/orders/{order}/cancel");
    let cancelled = customer
        .post(&path, json!({"reason": "changed my mind"}))
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(
        (&cancelled.json["status"], &cancelled.json["reason"]),
        (&json!("cancelled"), &json!("changed my mind"))
    );
    let again = customer.post(&path, json!({"reason": "another"})).await.expect(200);
    assert_eq!(again.json, cancelled.json, "nothing happens twice");
    shop.admin.post(&path, json!({})).await.expect(200);
    shop.admin.until_stock(&product, (10, 0, 10)).await;
    let cancels = shop.admin.get(&format!("/api/orders/{order}/events")).await;
    let cancels = cancels
        .data()
        .iter()
        .filter(|event| event["type"] == "order.cancelled")
        .count();
    assert_eq!(cancels, 1);
    let event = shop.admin.until_event("order.cancelled", &order).await;
    assert!(!event.to_string().contains("changed my mind"), "{event}");
    let wrong = json!({"reason": "x".repeat(501)});
    customer
        .post(&path, wrong)
        .await
        .refused_field(422, "invalid", "reason");
}

#[tokio::test]
async fn what_is_fulfilled_is_not_cancelled() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let (order, _) = customer.paid_order(&product, 1).await;
    let path = format!("/api/orders/{order}");
    let fulfilled = shop
        .admin
        .patch(&path, json!({"status": "fulfilled"}))
        .await
        .expect(200);
    assert_eq!(fulfilled.json["status"], "fulfilled");
    for actor in [&customer, &shop.admin] {
        actor
            .post(&format!("{path}/cancel"), json!({}))
            .await
            .refused(409, "not-cancellable");
    }
    shop.admin.until_event("order.fulfilled", &order).await;
    shop.admin.until_stock(&product, (9, 0, 9)).await;
}

#[tokio::test]
async fn a_paid_order_that_is_cancelled_is_refunded_and_goes_back_to_stock() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(700, 10).await);
    let (order, payment) = customer.paid_order(&product, 3).await;
    shop.admin.until_stock(&product, (7, 0, 7)).await;
    customer
        .post(&format!("/api/orders/{order}/cancel"), json!({}))
        .await
        .expect(200);
    let payment = customer
        .until(&format!("/api/payments/{payment}"), "status", "refunded")
        .await;
    assert_eq!(payment["refunded"]["amount"], 2100);
    shop.admin.until_stock(&product, (10, 0, 10)).await;
    let order = customer.get(&format!("/api/orders/{order}")).await;
    assert_eq!(
        order.json["status"], "cancelled",
        "a cancelled order stays cancelled after its refund"
    );
}

#[tokio::test]
async fn an_owner_changes_the_address_and_nothing_else() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let (order, _) = customer.paid_order(&product, 1).await;
    let path = format!("/api/orders/{order}");
    let address = json!({"line1": "Oude Delft 1", "city": "Delft", "country": "NL"});
    let changed = customer
        .patch(&path, json!({"shipping_address": address}))
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(changed.json["shipping_address"], address);
    let cleared = customer
        .patch(&path, json!({"shipping_address": null}))
        .await
        .expect(200);
    assert!(cleared.json.get("shipping_address").is_none(), "{cleared}");
    for status in ["paid", "fulfilled", "cancelled", "confirmed", "refunded"] {
        customer
            .patch(&path, json!({"status": status}))
            .await
            .refused(403, "forbidden");
    }
    customer
        .patch(&path, json!({"metadata": {"a": 1}}))
        .await
        .refused(403, "forbidden");
    for wrong in [
        json!({"line1": "x"}),
        json!("x"),
        json!({"line1": "x", "city": "y", "country": "NLD"}),
    ] {
        customer
            .patch(&path, json!({"shipping_address": wrong}))
            .await
            .refused(422, "invalid");
    }
    for (field, value) in [
        ("total", json!({"amount": 1, "currency": "USD"})),
        ("user_id", json!(customer.id)),
        ("lines", json!([])),
    ] {
        customer
            .patch(&path, json!({field: value}))
            .await
            .refused_field(422, "invalid", field);
        shop.admin
            .patch(&path, json!({field: value}))
            .await
            .refused_field(422, "invalid", field);
    }
    shop.admin
        .patch(&path, json!({"status": "fulfilled"}))
        .await
        .expect(200);
    customer
        .patch(&path, json!({"shipping_address": address}))
        .await
        .refused(409, "conflict");
    let updated = shop.admin.until_event("order.updated", &order).await;
    assert!(!updated.to_string().contains("Delft"), "{updated}");
}

#[tokio::test]
async fn an_admin_changes_what_the_table_of_states_allows() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let order = customer.confirmed_order(&product, 1).await;
    let path = format!("/api/orders/{order}");
    let set = |status: &str| shop.admin.patch(&path, json!({"status": status}));
    for illegal in ["pending", "rejected", "fulfilled", "expired", "refunded"] {
        set(illegal).await.refused(409, "illegal-transition");
    }
    set("confirmed").await.expect(200);
    for wrong in [json!("Paid"), json!("gone"), Value::Null, json!(1)] {
        shop.admin
            .patch(&path, json!({"status": wrong}))
            .await
            .refused_field(422, "invalid", "status");
    }
    // A manual payment, by name.
    assert_eq!(set("paid").await.expect(200).json["status"], "paid");
    let paid = shop.admin.until_event("order.paid", &order).await;
    assert!(paid["data"].to_string().contains(&shop.admin.id), "{paid}");
    shop.admin.until_stock(&product, (99, 0, 99)).await;
    crate::payments::until_refused(&customer, &order, "already-paid").await;
    let metadata = shop
        .admin
        .patch(&path, json!({"metadata": {"tracking": "1Z"}}))
        .await
        .expect(200);
    assert_eq!(metadata.json["metadata"], json!({"tracking": "1Z"}));
    let cleared = shop.admin.patch(&path, json!({"metadata": null})).await.expect(200);
    assert!(cleared.json.get("metadata").is_none(), "{cleared}");
    assert_eq!(set("fulfilled").await.expect(200).json["status"], "fulfilled");
    for illegal in [
        "pending",
        "confirmed",
        "paid",
        "cancelled",
        "rejected",
        "expired",
        "refunded",
    ] {
        set(illegal).await.refused(409, "illegal-transition");
    }
    // By an admin's hand, cancelled is a status like others.
    let order = customer.confirmed_order(&product, 1).await;
    let cancelled = shop
        .admin
        .patch(&format!("/api/orders/{order}"), json!({"status": "cancelled"}))
        .await
        .expect(200);
    assert_eq!(cancelled.json["status"], "cancelled");
}

#[tokio::test]
async fn a_manual_payment_voids_what_is_open() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    let asks = json!({"order_id": order, "payment_method": "pm_card_authenticationRequired"});
    let payment = customer.post("/api/payments", asks).await.expect(201).text_at("id");
    shop.admin
        .patch(&format!("/api/orders/{order}"), json!({"status": "paid"}))
        .await
        .expect(200);
    customer
        .until(&format!("/api/payments/{payment}"), "status", "voided")
        .await;
    assert_eq!(
        customer.get(&format!("/api/orders/{order}")).await.json["status"],
        "paid"
    );
}

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_expires_and_goes_back_to_stock() {
    let server = Server::settings().with("payment_window", "3s").start().await;
    let (customer, admin) = (server.customer().await, server.admin().await);
    let product = admin.product(10).await;
    let order = crate::support::id_of(&customer.place_order(&product, 4).await);
    let paid = crate::support::id_of(&customer.place_order(&product, 1).await);
    customer.pay(&paid).await;
    customer.until_order(&order, "expired").await;
    admin.until_stock(&product, (9, 0, 9)).await;
    admin.until_event("order.expired", &order).await;
    crate::payments::until_refused(&customer, &order, "not-payable").await;
    customer
        .post(&format!("/api/orders/{order}/cancel"), json!({}))
        .await
        .refused(409, "not-cancellable");
    assert_eq!(
        customer.get(&format!("/api/orders/{paid}")).await.json["status"],
        "paid"
    );
}
