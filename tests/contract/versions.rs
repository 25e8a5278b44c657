//! Versions: `ETag` out, `If-Match` in.

use serde_json::{Value, json};

use crate::support::{Actor, shop, unique};

/// What changes at a path, each time to something else.
struct Resource<'a> {
    actor: &'a Actor,
    path: String,
    methods: &'static [&'static str],
    change: fn(usize) -> Value,
}

#[tokio::test]
async fn a_change_on_condition_of_a_version_is_refused_when_that_is_stale() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(100).await);
    let order = customer.confirmed_order(&product, 1).await;
    for Resource {
        actor,
        path,
        methods,
        change,
    } in [
        Resource {
            actor: &customer,
            path: format!("/api/users/{}", customer.id),
            methods: &["PATCH", "PUT"],
            change: |number| json!({"name": format!("Name {number}")}),
        },
        Resource {
            actor: &shop.admin,
            path: product.path(),
            methods: &["PATCH", "PUT"],
            change: |number| json!({"name": format!("Name {number}")}),
        },
        Resource {
            actor: &shop.admin,
            path: product.stock_path(),
            methods: &["PUT"],
            change: |number| json!({"on_hand": 1000 + number}),
        },
        Resource {
            actor: &customer,
            path: format!("/api/orders/{order}"),
            methods: &["PATCH"],
            change: |number| {
                let line1 = format!("Street {number}");
                json!({"shipping_address": {"line1": line1, "city": "Delft", "country": "NL"}})
            },
        },
    ] {
        let mut number = 0;
        let mut next = || {
            number += 1;
            change(number)
        };
        for method in methods {
            let before = actor.get(&path).await.expect(200);
            let tag = before.header("etag").to_owned();
            assert_eq!(tag, format!("\"{}\"", before.number_at("version")), "{before}");
            let put = |body: Value, condition: &str| actor.request(method, &path).json(&body).if_match(condition);

            let after = put(next(), &tag).await.expect(200);
            assert_eq!(after.number_at("version"), before.number_at("version") + 1, "{after}");
            assert_eq!(
                after.header("etag"),
                format!("\"{}\"", after.number_at("version")),
                "{after}"
            );
            put(next(), &tag).await.refused(412, "stale-version");
            // A weak tag, a foreign one, one of the future: none of them is this version.
            let now = after.header("etag").to_owned();
            for stale in [
                format!("W/{now}"),
                "\"x\"".to_owned(),
                "\"999999\"".to_owned(),
                "\"0\"".to_owned(),
            ] {
                put(next(), &stale).await.refused(412, "stale-version");
            }
            for wrong in ["1", "x", "", "\"1"] {
                put(next(), wrong).await.refused_field(422, "invalid", "If-Match");
            }
            let same = actor.get(&path).await.expect(200);
            assert_eq!(same.text, after.text, "a refused change has changed something");
            put(next(), &format!("\"x\", {now}")).await.expect(200);
            put(next(), "*").await.expect(200);
        }
    }
}

#[tokio::test]
async fn deleting_on_condition_of_a_version_is_refused_when_that_is_stale() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(1).await);
    for (actor, path) in [
        (&customer, format!("/api/users/{}", customer.id)),
        (&shop.admin, product.path()),
    ] {
        let tag = actor.get(&path).await.header("etag").to_owned();
        actor.patch(&path, json!({"name": unique("another")})).await.expect(200);
        actor.delete(&path).if_match(&tag).await.refused(412, "stale-version");
        let tag = actor.get(&path).await.expect(200).header("etag").to_owned();
        actor.delete(&path).if_match(&tag).await.expect(204);
    }
}

#[tokio::test]
async fn of_two_changes_on_condition_of_the_same_version_one_is_made() {
    let shop = shop().await;
    let product = shop.admin.product(1).await;
    let tag = shop.admin.get(&product.path()).await.header("etag").to_owned();
    let changes = (0..10).map(|number| {
        let body = json!({"name": format!("Name {number}")});
        shop.admin.patch(&product.path(), body).if_match(&tag).into_future()
    });
    let answers = futures::future::join_all(changes).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 412)));
}

#[tokio::test]
async fn a_change_that_changes_nothing_makes_no_version() {
    let shop = shop().await;
    let product = shop.admin.product(7).await;
    let before = shop.admin.get(&product.path()).await.expect(200);
    for body in [
        json!({}),
        json!({"name": before.json["name"]}),
        json!({"description": null}),
    ] {
        let after = shop.admin.patch(&product.path(), body).await.expect(200);
        assert_eq!(after.json, before.json);
    }
    let before = shop.admin.get(&product.stock_path()).await.expect(200);
    let after = shop
        .admin
        .put(&product.stock_path(), json!({"on_hand": 7}))
        .await
        .expect(200);
    assert_eq!(after.json, before.json);
}
