//! Placing orders.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::UNKNOWN;
use crate::support::{Answer, eventually, id_of, shop, unique};

pub(crate) const FIELDS: &str =
    "id user_id status lines total created_at updated_at version shipping_address? payment? reason? metadata?";
const LINE_FIELDS: &str = "sku product_id name quantity unit_price total";

fn usd(amount: u64) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

#[tokio::test]
async fn an_order_is_placed_at_the_catalogues_price() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let (lamp, cable) = (
        shop.admin.product_at(1250, 10).await,
        shop.admin.product_at(99, 10).await,
    );
    let address = json!({"line1": "Herengracht 1", "city": "Amsterdam", "country": "NL"});
    let body = json!({
        "lines": [
            {"product_id": lamp.id, "quantity": 2},
            {"sku": cable.sku, "quantity": 3, "expected_unit_price": usd(99)},
        ],
        "shipping_address": address,
        "metadata": {"gift": true},
    });
    let answer = customer.post("/api/orders", body).await.expect(201).has_fields(FIELDS);
    let path = format!("/api/orders/{}", answer.text_at("id"));
    assert_eq!(
        (answer.header("location"), answer.header("etag")),
        (path.as_str(), "\"1\"")
    );
    let order = &answer.json;
    assert_eq!(
        (&order["status"], &order["user_id"]),
        (&json!("pending"), &json!(customer.id))
    );
    assert_eq!((&order["total"], &order["shipping_address"]), (&usd(2797), &address));
    assert_eq!(order["metadata"], json!({"gift": true}));
    for (line, (product, quantity)) in order["lines"].as_array().unwrap().iter().zip([(&lamp, 2), (&cable, 3)]) {
        crate::support::assert_fields(line, LINE_FIELDS, &answer);
        assert_eq!(
            (&line["sku"], &line["product_id"]),
            (&json!(product.sku), &json!(product.id))
        );
        assert_eq!(
            (&line["quantity"], &line["unit_price"]),
            (&json!(quantity), &usd(product.cents))
        );
        assert_eq!(line["total"], usd(product.cents * quantity));
    }
    let confirmed = customer.until_order(&answer.text_at("id"), "confirmed").await;
    assert_eq!(confirmed["lines"], order["lines"]);
    let placed = shop.admin.until_event("order.placed", &answer.text_at("id")).await;
    assert!(!placed.to_string().contains("Herengracht"), "{placed}");
    shop.anonymous
        .post("/api/orders", json!({"lines": []}))
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn a_quantity_is_1_to_a_million() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(1, 5_000_000).await);
    let place = |quantity: &str| {
        let body = format!(r#"{{"lines":[{{"sku":"{}","quantity":{quantity}}}]}}"#, product.sku);
        customer.request("POST", "/api/orders").raw_json(body)
    };
    let wrong = [
        "0",
        "-1",
        "-0",
        "1.5",
        "1.0",
        "1e3",
        "1000001",
        "4294967297",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775809",
        "1e300",
        "0.1",
    ];
    for wrong in wrong {
        let answer = place(wrong).await;
        let answer = answer.refused_field(422, "invalid-quantity", "lines[0].quantity");
        assert!(
            answer.text.contains("1000000") || answer.text.contains("1,000,000"),
            "{answer}"
        );
    }
    for wrong in ["\"1\"", "null", "true", "[1]", "{}"] {
        let answer = place(wrong).await;
        assert_eq!(answer.status, 422, "{answer}");
        assert_eq!(answer.json["errors"][0]["field"], "lines[0].quantity", "{answer}");
    }
    for wrong in ["NaN", "+1", "1e999", "01"] {
        place(wrong).await.refused(400, "malformed-json");
    }
    for wrong in ["01", "0x10"] {
        let answer = place(wrong).await;
        assert!(matches!(answer.status, 400 | 422), "{answer}");
    }
    for good in ["1", "1000000"] {
        place(good).await.expect(201);
    }
    assert_eq!(customer.get("/api/orders").await.data().len(), 2);
}

#[tokio::test]
async fn a_price_or_a_status_never_comes_from_a_client() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(5000, 10).await);
    let line = json!({"sku": product.sku, "quantity": 1});
    for (field, value) in [
        ("price", usd(1)),
        ("unit_price", usd(1)),
        ("total", usd(1)),
        ("discount", json!(100)),
        ("name", json!("Cheap")),
    ] {
        let mut line = line.clone();
        line[field] = value;
        let answer = customer
            .post("/api/orders", json!({"lines": [line]}))
            .await
            .refused(422, "invalid");
        assert!(answer.json["errors"].to_string().contains(field), "{answer}");
    }
    for (field, value) in [
        ("status", json!("paid")),
        ("total", usd(1)),
        ("payment", json!({})),
        ("id", json!("ord_x")),
    ] {
        let mut body = json!({"lines": [line]});
        body[field] = value;
        customer
            .post("/api/orders", body)
            .await
            .refused_field(422, "invalid", field);
    }
    // What the client expects is checked, and is not the price.
    for wrong in [usd(4999), usd(1), json!({"amount": 5000, "currency": "EUR"})] {
        let mut line = line.clone();
        line["expected_unit_price"] = wrong;
        let answer = customer.post("/api/orders", json!({"lines": [line]})).await;
        answer.refused_field(409, "price-changed", "lines[0].expected_unit_price");
    }
    assert_eq!(customer.get("/api/orders").await.data().len(), 0);
}

#[tokio::test]
async fn lines_that_make_no_sense_are_refused() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let place = |lines: Value| customer.post("/api/orders", json!({"lines": lines}));
    place(json!([])).await.refused_field(422, "invalid", "lines");
    customer
        .post("/api/orders", json!({}))
        .await
        .refused_field(422, "invalid", "lines");
    let line = json!({"sku": product.sku, "quantity": 1});
    place(json!(vec![line.clone(); 1001]))
        .await
        .refused_field(422, "invalid", "lines");
    for wrong in [
        json!({"quantity": 1}),
        json!({"sku": product.sku, "product_id": product.id, "quantity": 1}),
        json!({"sku": "", "quantity": 1}),
        json!("x"),
        Value::Null,
    ] {
        let answer = place(json!([line, wrong])).await.refused(422, "invalid");
        let field = answer.json["errors"][0]["field"].as_str().unwrap().to_owned();
        assert!(field.starts_with("lines[1]"), "{answer}");
    }
    let answer = place(json!([line, {"product_id": product.id}])).await;
    answer.refused_field(422, "invalid-quantity", "lines[1].quantity");
    for (id, field) in [
        (format!("prd_{UNKNOWN}"), "lines[1]"),
        ("x".to_owned(), "lines[1].product_id"),
    ] {
        let answer = place(json!([line, {"product_id": id, "quantity": 1}])).await;
        answer.refused_field(422, "unknown-product", field);
    }
    let unknown = json!([{"sku": unique("unknown"), "quantity": 1}]);
    eventually("the SKU is unknown", async || {
        let answer = place(unknown.clone()).await;
        (answer.status != 503).then(|| answer.refused_field(422, "unknown-product", "lines[0]"))
    })
    .await;
    let thousand = place(json!(vec![line; 1000])).await.expect(201);
    assert_eq!(thousand.json["total"], usd(1_250_000));
    customer.until_order(&thousand.text_at("id"), "rejected").await;
}

#[tokio::test]
async fn an_order_has_one_currency_and_a_total_that_can_be_counted() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let product = async |amount: u64, currency: &str| {
        let sku = unique("CUR");
        let body = json!({"sku": sku, "name": "x", "price": {"amount": amount, "currency": currency}});
        shop.admin.post("/api/products", body).await.expect(201);
        sku
    };
    let (euro, dollar) = (product(100, "EUR").await, product(100, "USD").await);
    let dear = product(9_007_199_254_740_991, "USD").await;
    let place = async |lines: Value| -> Answer {
        let body = json!({"lines": lines});
        eventually("the products are known", async || {
            Some(customer.post("/api/orders", body.clone()).await).filter(|answer| answer.status != 503)
        })
        .await
    };
    let both = json!([{"sku": euro, "quantity": 1}, {"sku": dollar, "quantity": 1}]);
    place(both).await.refused(422, "mixed-currencies");
    for lines in [
        json!([{"sku": dear, "quantity": 2}]),
        json!([{"sku": dear, "quantity": 1}, {"sku": dollar, "quantity": 1}]),
        json!([{"sku": dear, "quantity": 1_000_000}]),
    ] {
        place(lines).await.refused_field(422, "invalid", "lines");
    }
    place(json!([{"sku": dear, "quantity": 1}])).await.expect(201);
}

#[tokio::test]
async fn only_an_admin_orders_for_another() {
    let shop = shop().await;
    let (customer, other, product) = (
        shop.customer().await,
        shop.customer().await,
        shop.admin.product(10).await,
    );
    let body = |user: &str| json!({"lines": [{"sku": product.sku, "quantity": 1}], "user_id": user});
    customer
        .post("/api/orders", body(&other.id))
        .await
        .refused(403, "forbidden");
    customer.post("/api/orders", body(&customer.id)).await.expect(201);
    let order = shop.admin.post("/api/orders", body(&other.id)).await.expect(201);
    assert_eq!(order.json["user_id"], other.id.as_str());
    other.until_order(&order.text_at("id"), "confirmed").await;
    customer
        .get(&format!("/api/orders/{}", order.text_at("id")))
        .await
        .refused(404, "not-found");
}

#[tokio::test]
async fn what_is_sold_out_is_not_sold() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(3).await);
    let order = customer.place_order(&product, 4).await;
    let order = customer.until_order(&id_of(&order), "rejected").await;
    assert_eq!(shop.admin.stock(&product).await, (3, 0, 3));
    crate::payments::until_refused(&customer, &id_of(&order), "not-payable").await;
    // Two lines of one order share what is there.
    let line = json!({"sku": product.sku, "quantity": 2});
    let order = customer
        .post("/api/orders", json!({"lines": [line, line]}))
        .await
        .expect(201);
    customer.until_order(&order.text_at("id"), "rejected").await;
    // All lines or none.
    let other = shop.admin.product(10).await;
    let lines = json!([{"sku": other.sku, "quantity": 1}, {"sku": product.sku, "quantity": 4}]);
    let order = customer.post("/api/orders", json!({"lines": lines})).await.expect(201);
    customer.until_order(&order.text_at("id"), "rejected").await;
    assert_eq!(shop.admin.stock(&other).await, (10, 0, 10));
    assert_eq!(shop.admin.stock(&product).await, (3, 0, 3));
}

#[tokio::test]
async fn of_many_who_want_the_last_pieces_as_many_get_them_as_there_are() {
    let shop = shop().await;
    let product = shop.admin.product(5).await;
    let customers = join_all((0..4).map(|_| shop.customer())).await;
    let body = json!({"lines": [{"sku": product.sku, "quantity": 1}]});
    let placed = join_all((0..40).map(|number| customers[number % 4].post("/api/orders", body.clone()).into_future()));
    let orders: Vec<String> = placed
        .await
        .into_iter()
        .map(|answer| answer.expect(201).text_at("id"))
        .collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for order in &orders {
        let path = format!("/api/orders/{order}");
        let status = eventually("the order is settled", async || {
            let status = shop.admin.get(&path).await.expect(200).text_at("status");
            (status != "pending").then_some(status)
        })
        .await;
        *counts.entry(status).or_default() += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([("confirmed".to_owned(), 5), ("rejected".to_owned(), 35)])
    );
    assert_eq!(shop.admin.stock(&product).await, (5, 5, 0));
}
