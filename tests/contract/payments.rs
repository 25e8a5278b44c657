//! Paying, and giving money back.

use serde_json::{Value, json};

use crate::UNKNOWN;
use crate::support::{Actor, eventually, id_of, shop};

const FIELDS: &str = "id order_id user_id amount refunded status provider created_at updated_at version \
    payment_method? client_secret? decline_code?";

fn usd(amount: u64) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

/// Waits until an order cannot be paid, for this reason. Payments may not know it yet; then it takes nothing, or gives it back.
pub(crate) async fn until_refused(customer: &Actor, order: &str, code: &str) {
    eventually(format!("{order} cannot be paid"), async || {
        let answer = customer.post("/api/payments", json!({"order_id": order})).await;
        if answer.status == 409 {
            return Some(answer.refused(409, code));
        }
        let path = format!("/api/payments/{}", answer.expect(201).text_at("id"));
        eventually("nothing is kept", async || {
            let status = customer.get(&path).await.text_at("status");
            matches!(&*status, "voided" | "refunded" | "failed").then_some(())
        })
        .await;
        None
    })
    .await;
}

#[tokio::test]
async fn an_order_is_paid_in_full_and_once() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(1234, 10).await);
    let order = customer.confirmed_order(&product, 2).await;
    let body = json!({"order_id": order});
    shop.anonymous
        .post("/api/payments", body.clone())
        .await
        .refused(401, "unauthorized");
    let paid = customer
        .post("/api/payments", body.clone())
        .await
        .expect(201)
        .has_fields(FIELDS);
    let id = paid.text_at("id");
    let path = format!("/api/payments/{id}");
    assert_eq!(paid.header("location"), path);
    assert_eq!(
        (&paid.json["order_id"], &paid.json["user_id"]),
        (&json!(order), &json!(customer.id))
    );
    assert_eq!((&paid.json["amount"], &paid.json["refunded"]), (&usd(2468), &usd(0)));
    assert_eq!(
        (&paid.json["provider"], &paid.json["status"]),
        (&json!("simulated"), &json!("captured"))
    );
    let shown = customer.until_order(&order, "paid").await;
    assert_eq!(shown["payment"], json!({"id": id, "status": "captured"}));
    assert_eq!(
        customer.get(&path).await.expect(200).header("etag"),
        format!("\"{}\"", paid.number_at("version"))
    );
    for actor in [&customer, &shop.admin] {
        actor
            .post("/api/payments", body.clone())
            .await
            .refused(409, "already-paid");
        assert_eq!(
            actor.get(&format!("/api/payments?order_id={order}")).await.ids(),
            std::slice::from_ref(&id)
        );
    }
    for event_type in ["payment.initiated", "payment.authorized", "payment.captured"] {
        let event = shop.admin.until_event(event_type, &id).await;
        assert_eq!(
            (&event["data"]["order_id"], &event["data"]["user_id"]),
            (&json!(order), &json!(customer.id))
        );
    }
}

#[tokio::test]
async fn a_payment_is_its_owners_and_the_admins() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(10).await,
    );
    let (order, payment) = customer.paid_order(&product, 1).await;
    let path = format!("/api/payments/{payment}");
    shop.admin.get(&path).await.expect(200).has_fields(FIELDS);
    shop.anonymous.get(&path).await.refused(401, "unauthorized");
    other.get(&path).await.refused(404, "not-found");
    assert_eq!(
        other.get(&format!("/api/payments?order_id={order}")).await.data().len(),
        0
    );
    assert_eq!(other.get("/api/payments").await.data().len(), 0);
    for actor in [&customer, &other] {
        actor
            .post(&format!("{path}/refunds"), json!({}))
            .await
            .refused(403, "forbidden");
    }
    // An admin may pay for somebody.
    let order = customer.confirmed_order(&product, 1).await;
    let paid = shop
        .admin
        .post("/api/payments", json!({"order_id": order}))
        .await
        .expect(201);
    assert_eq!(paid.json["user_id"], customer.id.as_str());
    customer
        .get("/api/payments?order_id=x")
        .await
        .refused_field(422, "invalid-query", "order_id");
}

#[tokio::test]
async fn a_payment_may_come_before_the_confirmation() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    for _ in 0..5 {
        let order = id_of(&customer.place_order(&product, 1).await);
        let paid = customer
            .post("/api/payments", json!({"order_id": order}))
            .await
            .expect(201);
        customer.until_order(&order, "paid").await;
        customer
            .until(&format!("/api/payments/{}", paid.text_at("id")), "status", "captured")
            .await;
    }
    // One for what is not to be had takes nothing.
    let order = id_of(&customer.place_order(&product, 1000).await);
    let payment = customer.post("/api/payments", json!({"order_id": order})).await;
    customer.until_order(&order, "rejected").await;
    if payment.status == 201 {
        let path = format!("/api/payments/{}", payment.text_at("id"));
        eventually("nothing is kept", async || {
            let status = customer.get(&path).await.text_at("status");
            matches!(&*status, "voided" | "refunded" | "failed").then_some(())
        })
        .await;
    } else {
        payment.refused(409, "not-payable");
    }
}

#[tokio::test]
async fn a_declined_card_is_402_and_another_may_follow() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    for (method, decline_code) in [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedExpiredCard", "expired_card"),
    ] {
        let body = json!({"order_id": order, "payment_method": method});
        let declined = customer.post("/api/payments", body).await.refused(402, "card-declined");
        let path = format!("/api/payments/{}", declined.text_at("payment_id"));
        let failed = customer.get(&path).await.expect(200).has_fields(FIELDS);
        assert_eq!(
            (&failed.json["status"], &failed.json["decline_code"]),
            (&json!("failed"), &json!(decline_code))
        );
        assert_eq!(
            customer.get(&format!("/api/orders/{order}")).await.json["status"],
            "confirmed"
        );
    }
    let body = json!({"order_id": order, "payment_method": "pm_card_mastercard"});
    customer.post("/api/payments", body).await.expect(201);
    customer.until_order(&order, "paid").await;
    assert_eq!(
        customer
            .get(&format!("/api/payments?order_id={order}"))
            .await
            .data()
            .len(),
        4
    );
}

#[tokio::test]
async fn an_order_has_one_open_payment() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    let asks = json!({"order_id": order, "payment_method": "pm_card_authenticationRequired"});
    let asked = customer
        .post("/api/payments", asks.clone())
        .await
        .expect(201)
        .has_fields(FIELDS);
    assert_eq!(asked.json["status"], "requires_action");
    assert!(asked.json["client_secret"].is_string(), "{asked}");
    customer.post("/api/payments", asks).await.refused(409, "payment-open");
    customer
        .post("/api/payments", json!({"order_id": order}))
        .await
        .refused(409, "payment-open");
    customer
        .post(&format!("/api/orders/{order}/cancel"), json!({}))
        .await
        .expect(200);
    customer
        .until(&format!("/api/payments/{}", asked.text_at("id")), "status", "voided")
        .await;
    customer
        .post("/api/payments", json!({"order_id": order}))
        .await
        .refused(409, "not-payable");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    for (field, value) in [
        ("amount", usd(1)),
        ("status", json!("captured")),
        ("user_id", json!(customer.id)),
    ] {
        let mut body = json!({"order_id": order});
        body[field] = value;
        customer
            .post("/api/payments", body)
            .await
            .refused_field(422, "invalid", field);
    }
    for method in [
        json!("pm_unknown"),
        json!("4242424242424242"),
        json!(""),
        json!("a b"),
        json!(1),
    ] {
        let body = json!({"order_id": order, "payment_method": method});
        customer
            .post("/api/payments", body)
            .await
            .refused_field(422, "invalid", "payment_method");
    }
    customer
        .post("/api/payments", json!({}))
        .await
        .refused_field(422, "invalid", "order_id");
    let unknown = json!({"order_id": format!("ord_{UNKNOWN}")});
    eventually("the order is unknown", async || {
        let answer = customer.post("/api/payments", unknown.clone()).await;
        (answer.status != 503).then(|| answer.refused(404, "not-found"))
    })
    .await;
    assert_eq!(customer.get("/api/payments").await.data().len(), 0);
}

#[tokio::test]
async fn a_refund_never_exceeds_what_was_captured() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(1000, 10).await);
    let (order, payment) = customer.paid_order(&product, 3).await;
    let path = format!("/api/payments/{payment}");
    let refunds = format!("{path}/refunds");
    let refund = |body: Value| shop.admin.post(&refunds, body);
    let first = refund(json!({"amount": usd(500), "reason": "late"})).await.expect(201);
    let first = first.has_fields("id payment_id amount status");
    assert!(first.text_at("id").starts_with("rfn_"), "{first}");
    assert_eq!(
        (&first.json["payment_id"], &first.json["amount"]),
        (&json!(payment), &usd(500))
    );
    assert_eq!(first.json["status"], "succeeded");
    let partly = customer.get(&path).await.expect(200);
    assert_eq!(
        (&partly.json["status"], &partly.json["refunded"]),
        (&json!("partially_refunded"), &usd(500))
    );
    assert_eq!(
        customer.get(&format!("/api/orders/{order}")).await.json["status"],
        "paid",
        "in part changes no status"
    );
    for wrong in [2501, 3000, 9_007_199_254_740_991] {
        refund(json!({"amount": usd(wrong)}))
            .await
            .refused(409, "refund-exceeds-captured");
    }
    for wrong in [
        usd(0),
        json!({"amount": -1, "currency": "USD"}),
        json!({"amount": 1.5, "currency": "USD"}),
        json!(5),
    ] {
        let answer = refund(json!({"amount": wrong})).await.refused(422, "invalid");
        assert!(
            answer.json["errors"][0]["field"]
                .as_str()
                .unwrap()
                .starts_with("amount"),
            "{answer}"
        );
    }
    let euro = json!({"amount": {"amount": 1, "currency": "EUR"}});
    refund(euro).await.refused_field(422, "invalid", "amount.currency");
    // At once: one of them fits.
    let many = (0..6).map(|_| refund(json!({"amount": usd(2000)})).into_future());
    let many = futures::future::join_all(many).await;
    let done = many.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(done, 1);
    let rest = refund(json!({})).await.expect(201);
    assert_eq!(rest.json["amount"], usd(500));
    customer.until(&path, "status", "refunded").await;
    customer.until_order(&order, "refunded").await;
    shop.admin.until_stock(&product, (10, 0, 10)).await;
    refund(json!({})).await.refused(409, "refund-exceeds-captured");
    shop.anonymous
        .post(&refunds, json!({}))
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn what_was_not_captured_is_not_refunded() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    let body = json!({"order_id": order, "payment_method": "pm_card_chargeDeclined"});
    let declined = customer
        .post("/api/payments", body)
        .await
        .expect(402)
        .text_at("payment_id");
    let refunds = format!("/api/payments/{declined}/refunds");
    shop.admin
        .post(&refunds, json!({}))
        .await
        .refused(409, "not-refundable");
}

#[tokio::test]
async fn a_fulfilled_order_that_is_refunded_brings_no_stock_back() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let (order, payment) = customer.paid_order(&product, 4).await;
    shop.admin.until_stock(&product, (6, 0, 6)).await;
    shop.admin
        .patch(&format!("/api/orders/{order}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    shop.admin
        .post(&format!("/api/payments/{payment}/refunds"), json!({}))
        .await
        .expect(201);
    customer.until_order(&order, "refunded").await;
    shop.admin.until_event("order.refunded", &order).await;
    assert_eq!(shop.admin.stock(&product).await, (6, 0, 6));
}
