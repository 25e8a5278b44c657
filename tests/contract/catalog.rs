//! Products.

use serde_json::{Value, json};

use crate::support::{eventually, shop, unique};

const FIELDS: &str = "id sku name price status created_at updated_at version description? attributes? image_url?";

fn usd(amount: u64) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

#[tokio::test]
async fn a_product_is_made_by_an_admin() {
    let shop = shop().await;
    let sku = unique("MADE");
    let body = json!({"sku": sku, "name": "Lamp", "price": usd(129_900), "description": "Lights up",
        "attributes": {"colour": "red", "watts": 40}, "image_url": "https://example.com/lamp.png", "initial_stock": 3});
    let customer = shop.customer().await;
    shop.anonymous
        .post("/api/products", body.clone())
        .await
        .refused(401, "unauthorized");
    customer
        .post("/api/products", body.clone())
        .await
        .refused(403, "forbidden");
    let answer = shop
        .admin
        .post("/api/products", body.clone())
        .await
        .expect(201)
        .has_fields(FIELDS);
    let path = format!("/api/products/{}", answer.text_at("id"));
    assert_eq!(answer.header("location"), path);
    assert_eq!(
        (answer.header("etag"), &answer.json["status"]),
        ("\"1\"", &json!("active"))
    );
    for field in ["sku", "name", "price", "description", "attributes", "image_url"] {
        assert_eq!(answer.json[field], body[field], "{field}");
    }
    assert_eq!(shop.anonymous.get(&path).await.expect(200).json, answer.json);
    let stock = format!("/api/inventory/{sku}");
    eventually(&stock, async || {
        (shop.anonymous.get(&stock).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(shop.anonymous.get(&stock).await.json["on_hand"], 3);
    let created = shop.admin.until_event("product.created", &answer.text_at("id")).await;
    assert_eq!(created["data"]["sku"], sku.as_str());
    shop.admin.post("/api/products", body).await.refused(409, "sku-taken");
}

#[tokio::test]
async fn a_product_that_makes_no_sense_is_refused_by_field() {
    let shop = shop().await;
    let good = json!({"sku": "sensible", "name": "x", "price": usd(1)});
    for (field, wrong) in [
        ("price.amount", usd(0)),
        ("price.amount", json!({"amount": -1, "currency": "USD"})),
        ("price.amount", json!({"amount": 1.5, "currency": "USD"})),
        (
            "price.amount",
            json!({"amount": 9_007_199_254_740_992_u64, "currency": "USD"}),
        ),
        ("price.amount", json!({"amount": 1e30, "currency": "USD"})),
        ("price.amount", json!({"amount": "1", "currency": "USD"})),
        ("price.currency", json!({"amount": 1, "currency": "usd"})),
        ("price.currency", json!({"amount": 1, "currency": "XYZ"})),
        ("price.currency", json!({"amount": 1})),
        ("price", json!(12.5)),
        ("price", Value::Null),
        ("sku", json!("")),
        ("sku", json!(" a")),
        ("sku", json!("a\nb")),
        ("sku", json!("x".repeat(65))),
        ("name", json!("")),
        ("name", json!("x".repeat(201))),
        ("description", json!("x".repeat(10_001))),
        ("image_url", json!("javascript:alert(1)")),
        ("attributes", json!([1])),
        ("initial_stock", json!(-1)),
        ("initial_stock", json!(0.5)),
        ("initial_stock", json!(1_000_000_000_001_u64)),
        ("status", json!("archived")),
        ("stock", json!(5)),
    ] {
        let mut body = good.clone();
        body[field.split('.').next().unwrap()] = wrong;
        let answer = shop.admin.post("/api/products", body).await.refused(422, "invalid");
        let told = answer.json["errors"][0]["field"].as_str().unwrap();
        assert!(
            told == field || field.starts_with(&format!("{told}.")),
            "{field}: {answer}"
        );
    }
    for missing in ["sku", "name", "price"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(missing);
        shop.admin
            .post("/api/products", body)
            .await
            .refused_field(422, "invalid", missing);
    }
    let mut dear = good;
    dear["sku"] = json!(unique("DEAR"));
    dear["price"] = usd(9_007_199_254_740_991);
    shop.admin.post("/api/products", dear).await.expect(201);
}

#[tokio::test]
async fn products_are_found_by_what_they_are_called() {
    let shop = shop().await;
    let word = unique("Wört");
    let mut made = Vec::new();
    for (number, (name, description)) in [("Alpha", Some(word.clone())), ("Beta", None), ("Gamma", None)]
        .into_iter()
        .enumerate()
    {
        let name = if number == 1 {
            format!("{name} {word}")
        } else {
            name.to_owned()
        };
        let sku = if number == 2 {
            format!("{word}-sku")
        } else {
            unique("FOUND")
        };
        let mut body = json!({"sku": sku, "name": name, "price": usd(100 + number as u64)});
        description
            .into_iter()
            .for_each(|text| body["description"] = json!(text));
        made.push(shop.admin.post("/api/products", body).await.expect(201));
    }
    let found = async |query: String| {
        shop.anonymous
            .get(&format!("/api/products?{query}"))
            .await
            .expect(200)
            .ids()
    };
    let ids: Vec<String> = made.iter().map(|answer| answer.text_at("id")).collect();
    let encoded = word.to_lowercase().replace('ö', "%C3%B6");
    assert_eq!(
        found(format!("q={encoded}&sort=created_at")).await,
        ids,
        "by description, name and SKU, in any case"
    );
    assert_eq!(
        found(format!("q={encoded}&sort=-price")).await,
        [&*ids[2], &*ids[1], &*ids[0]]
    );
    assert_eq!(
        found(format!("q={encoded}")).await,
        [&*ids[2], &*ids[1], &*ids[0]],
        "newest first"
    );
    let sku = made[1].text_at("sku");
    assert_eq!(found(format!("sku={sku}")).await, [&*ids[1]]);
    assert_eq!(
        found(format!("sku={}", sku.to_lowercase())).await,
        [""; 0],
        "a SKU has its case"
    );
    // What looks like a pattern is a text.
    assert_eq!(found(format!("q={encoded}%25")).await, [""; 0]);
    assert_eq!(found(format!("q={}_{}", &encoded[..2], &encoded[3..])).await, [""; 0]);
    for wrong in ["status=gone", "sort=sku", "sort=", "q=", "sku="] {
        shop.anonymous
            .get(&format!("/api/products?{wrong}"))
            .await
            .refused(422, "invalid-query");
    }
}

#[tokio::test]
async fn an_absent_field_stays_and_null_clears_it() {
    let shop = shop().await;
    let path = shop.admin.product(1).await.path();
    let all = json!({"description": "d", "attributes": {"a": 1}, "image_url": "http://example.com/a"});
    for method in ["PATCH", "PUT"] {
        let full = shop
            .admin
            .request(method, &path)
            .json(&all)
            .await
            .expect(200)
            .has_fields(FIELDS);
        for field in ["description", "attributes", "image_url"] {
            let cleared = shop
                .admin
                .request(method, &path)
                .json(&json!({field: null}))
                .await
                .expect(200);
            assert!(cleared.json.get(field).is_none_or(Value::is_null), "{cleared}");
            assert_eq!(cleared.json["name"], full.json["name"]);
            shop.admin
                .request(method, &path)
                .json(&json!({field: all[field]}))
                .await
                .expect(200);
        }
    }
    for field in ["name", "price", "status"] {
        shop.admin
            .patch(&path, json!({field: null}))
            .await
            .refused(422, "invalid");
    }
    shop.admin
        .patch(&path, json!({"sku": "another"}))
        .await
        .refused_field(422, "invalid", "sku");
    let customer = shop.customer().await;
    customer
        .patch(&path, json!({"price": usd(1)}))
        .await
        .refused(403, "forbidden");
    customer.delete(&path).await.refused(403, "forbidden");
    shop.admin
        .until_event("product.updated", path.rsplit('/').next().unwrap())
        .await;
}

#[tokio::test]
async fn a_placed_order_keeps_its_price() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product_at(1000, 10).await);
    let order = customer.confirmed_order(&product, 2).await;
    shop.admin
        .patch(&product.path(), json!({"price": usd(5000), "name": "Dearer"}))
        .await
        .expect(200);
    eventually("an order at the new price", async || {
        let order = customer.place_order(&product, 1).await;
        (order["total"] == usd(5000)).then_some(())
    })
    .await;
    let order = customer.get(&format!("/api/orders/{order}")).await;
    assert_eq!(order.json["total"], usd(2000));
    assert_ne!(order.json["lines"][0]["name"], "Dearer");
}

#[tokio::test]
async fn an_archived_product_is_gone_from_lists_and_old_orders_keep_it() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(10).await);
    let order = customer.confirmed_order(&product, 1).await;
    let deleted = shop.admin.delete(&product.path()).await.expect(204);
    assert_eq!(deleted.text, "");
    let listed = format!("/api/products?sku={}", product.sku);
    assert_eq!(shop.anonymous.get(&listed).await.data().len(), 0);
    assert_eq!(
        shop.anonymous.get(&format!("{listed}&status=archived")).await.ids(),
        std::slice::from_ref(&product.id)
    );
    assert_eq!(
        shop.anonymous.get(&product.path()).await.expect(200).json["status"],
        "archived"
    );
    shop.admin.until_event("product.archived", &product.id).await;
    let body = json!({"lines": [{"product_id": product.id, "quantity": 1}]});
    eventually("the product cannot be ordered", async || {
        let answer = customer.post("/api/orders", body.clone()).await;
        (answer.status == 422).then(|| answer.refused(422, "unknown-product"))
    })
    .await;
    let order = customer.get(&format!("/api/orders/{order}")).await.expect(200);
    assert_eq!(order.json["lines"][0]["sku"], product.sku.as_str());
    customer.pay(&order.text_at("id")).await;
    customer.until_order(&order.text_at("id"), "paid").await;
    // Its SKU stays its own.
    let again = json!({"sku": product.sku, "name": "x", "price": usd(1)});
    shop.admin.post("/api/products", again).await.refused(409, "sku-taken");
}

#[tokio::test]
async fn a_sku_may_be_anything_that_can_be_printed() {
    let shop = shop().await;
    let prefix = unique("Größe");
    for (sku, path) in [
        (
            format!("{prefix} a/b"),
            format!("{prefix} a/b").replace(' ', "%20").replace('/', "%2F"),
        ),
        (format!("{prefix}%2F?"), format!("{prefix}%252F%3F")),
        (format!("{prefix}#&=+;"), format!("{prefix}%23%26%3D%2B%3B")),
        (format!("{prefix}.."), format!("{prefix}..")),
        (format!("{prefix}\"'<>"), format!("{prefix}%22'%3C%3E")),
    ] {
        let path = path.replace('ö', "%C3%B6").replace('ß', "%C3%9F");
        let body = json!({"sku": sku, "name": "x", "price": usd(1), "initial_stock": 2});
        shop.admin.post("/api/products", body).await.expect(201);
        let stock = format!("/api/inventory/{path}");
        let seen = eventually(&stock, async || {
            Some(shop.anonymous.get(&stock).await).filter(|it| it.status == 200)
        })
        .await;
        assert_eq!(seen.json["sku"], sku.as_str());
        let adjusted = shop
            .admin
            .post(&format!("{stock}/adjustments"), json!({"delta": 1, "reason": "found"}))
            .await;
        let adjusted = adjusted.expect(201);
        let location = adjusted.header("location").to_owned();
        assert_eq!(
            shop.anonymous.get(&location).await.expect(200).json["on_hand"],
            3,
            "{location}"
        );
    }
}
