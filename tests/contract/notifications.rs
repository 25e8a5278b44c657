//! Messages to customers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::UNKNOWN;
use crate::support::{Actor, assert_fields, eventually, shop};

const FIELDS: &str = "id user_id order_id? channel template subject status attempts created_at";

/// Waits until the messages about an order have been sent, by these templates.
async fn until_sent(actor: &Actor, order: &str, templates: &[&str]) -> Vec<Value> {
    eventually(format!("{templates:?} are sent"), async || {
        let page = actor.get("/api/notifications?limit=200").await.expect(200);
        page.data()
            .iter()
            .for_each(|message| assert_fields(message, FIELDS, &page));
        let about: Vec<Value> = page
            .data()
            .iter()
            .filter(|message| message["order_id"] == order)
            .cloned()
            .collect();
        let sent: BTreeSet<&str> = about
            .iter()
            .filter(|it| it["status"] == "sent")
            .map(|it| it["template"].as_str().unwrap())
            .collect();
        (sent == templates.iter().copied().collect() && about.len() == templates.len()).then_some(about)
    })
    .await
}

#[tokio::test]
async fn each_step_of_an_order_is_one_message() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(20).await);
    let (fulfilled, _) = customer.paid_order(&product, 1).await;
    shop.admin
        .patch(&format!("/api/orders/{fulfilled}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    let messages = until_sent(
        &customer,
        &fulfilled,
        &["order-confirmed", "order-paid", "order-fulfilled"],
    )
    .await;
    for message in &messages {
        assert_eq!(
            (&message["user_id"], &message["channel"]),
            (&json!(customer.id), &json!("log"))
        );
        assert_eq!(message["attempts"], 1, "{message}");
        assert!(!message["subject"].as_str().unwrap().is_empty(), "{message}");
    }
    shop.admin
        .until_event("notification.sent", messages[0]["id"].as_str().unwrap())
        .await;

    let (refunded, payment) = customer.paid_order(&product, 1).await;
    shop.admin
        .post(&format!("/api/payments/{payment}/refunds"), json!({}))
        .await
        .expect(201);
    until_sent(
        &customer,
        &refunded,
        &["order-confirmed", "order-paid", "payment-refunded"],
    )
    .await;
    let cancelled = customer.confirmed_order(&product, 1).await;
    customer
        .post(&format!("/api/orders/{cancelled}/cancel"), json!({}))
        .await
        .expect(200);
    until_sent(&customer, &cancelled, &["order-confirmed", "order-cancelled"]).await;
    let rejected = crate::support::id_of(&customer.place_order(&product, 1000).await);
    customer.until_order(&rejected, "rejected").await;
    until_sent(&customer, &rejected, &["order-rejected"]).await;
}

#[tokio::test]
async fn messages_are_their_receivers_and_the_admins() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(20).await,
    );
    let order = customer.confirmed_order(&product, 1).await;
    let message = until_sent(&customer, &order, &["order-confirmed"]).await[0]["id"].clone();
    assert_eq!(other.get("/api/notifications").await.expect(200).data().len(), 0);
    let of_customer = format!("/api/notifications?user_id={}", customer.id);
    assert_eq!(other.get(&of_customer).await.expect(200).data().len(), 0);
    let sent = shop.admin.get(&format!("{of_customer}&status=sent")).await.expect(200);
    assert_eq!(json!(sent.ids()), json!([message]));
    assert_eq!(
        shop.admin
            .get(&format!("{of_customer}&status=failed"))
            .await
            .data()
            .len(),
        0
    );
    for wrong in ["status=gone", "user_id=x"] {
        let field = wrong.split('=').next().unwrap();
        let answer = customer.get(&format!("/api/notifications?{wrong}")).await;
        answer.refused_field(422, "invalid-query", field);
    }
    shop.anonymous
        .get("/api/notifications")
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn an_admin_has_a_message_sent() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(20).await,
    );
    let order = customer.confirmed_order(&product, 1).await;
    until_sent(&customer, &order, &["order-confirmed"]).await;
    let body = json!({"user_id": customer.id, "order_id": order, "template": "order-paid"});
    shop.anonymous
        .post("/api/notify", body.clone())
        .await
        .refused(401, "unauthorized");
    customer
        .post("/api/notify", body.clone())
        .await
        .refused(403, "forbidden");
    let queued = shop
        .admin
        .post("/api/notify", body)
        .await
        .expect(202)
        .has_fields("id status");
    assert!(queued.text_at("id").starts_with("ntf_"), "{queued}");
    assert_eq!(queued.json["status"], "queued");
    until_sent(&customer, &order, &["order-confirmed", "order-paid"]).await;
    for (field, value) in [
        ("template", "../../etc/passwd"),
        ("template", "no-such"),
        ("user_id", "x"),
        ("order_id", "x"),
    ] {
        let mut body = json!({"user_id": customer.id, "order_id": order});
        body[field] = json!(value);
        shop.admin
            .post("/api/notify", body)
            .await
            .refused_field(422, "invalid", field);
    }
    let foreign = json!({"user_id": other.id, "order_id": order});
    shop.admin
        .post("/api/notify", foreign)
        .await
        .refused_field(422, "unknown-reference", "order_id");
    let unknown = json!({"user_id": customer.id, "order_id": format!("ord_{UNKNOWN}")});
    shop.admin
        .post("/api/notify", unknown)
        .await
        .refused_field(422, "unknown-reference", "order_id");
}

#[tokio::test]
async fn what_failed_is_tried_again() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(20).await);
    let order = customer.confirmed_order(&product, 1).await;
    let sent = until_sent(&customer, &order, &["order-confirmed"]).await;
    let path = |id: &str| format!("/api/notifications/{id}/retry");
    let sent = path(sent[0]["id"].as_str().unwrap());
    shop.admin.request("POST", &sent).await.refused(409, "conflict");
    customer.request("POST", &sent).await.refused(403, "forbidden");
    shop.anonymous.request("POST", &sent).await.refused(401, "unauthorized");
    // Nobody can be told who is not there any more.
    let gone = shop.customer().await;
    gone.delete(&format!("/api/users/{}", gone.id)).await.expect(204);
    shop.admin.until_event("user.erased", &gone.id).await;
    let body = json!({"user_id": gone.id, "order_id": format!("ord_{UNKNOWN}"), "template": "order-paid"});
    let queued = shop.admin.post("/api/notify", body).await.expect(202).text_at("id");
    let failed = format!("/api/notifications?user_id={}&status=failed", gone.id);
    let until_failed = async || {
        eventually("it has failed", async || {
            let page = shop.admin.get(&failed).await.expect(200);
            page.data().first().map(|message| message["attempts"].as_u64().unwrap())
        })
        .await
    };
    until_failed().await;
    let event = shop.admin.until_event("notification.failed", &queued).await;
    assert!(event["data"]["cause"].is_string(), "{event}");
    let retried = shop
        .admin
        .request("POST", &path(&queued))
        .await
        .expect(202)
        .has_fields("id status");
    assert_eq!(
        (retried.text_at("id"), &retried.json["status"]),
        (queued, &json!("queued"))
    );
    until_failed().await;
}
