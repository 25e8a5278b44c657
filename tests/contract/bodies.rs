//! Bodies that are not what a route wants.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::UNKNOWN;
use crate::support::{Actor, Shop, shop};

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Every route that takes a body, with one that it could take.
fn writes(shop: &Shop) -> Vec<(&Actor, &'static str, String, Value)> {
    let (nobody, admin) = (&shop.anonymous, &shop.admin);
    let me = format!("/api/users/{}", admin.id);
    let tokens = json!({"refresh_token": "x"});
    let order = format!("ord_{UNKNOWN}");
    vec![
        (
            nobody,
            "POST",
            "/api/users".to_owned(),
            json!({"email": "nobody@example.com", "password": "long enough"}),
        ),
        (
            nobody,
            "POST",
            "/api/login".to_owned(),
            json!({"email": "nobody@example.com", "password": "x"}),
        ),
        (nobody, "POST", "/api/token/refresh".to_owned(), tokens),
        (admin, "PATCH", me.clone(), json!({})),
        (admin, "PUT", me.clone(), json!({})),
        (admin, "PUT", format!("{me}/role"), json!({"role": "admin"})),
        (
            admin,
            "POST",
            format!("{me}/password"),
            json!({"current_password": "x", "new_password": "long enough"}),
        ),
        (
            admin,
            "POST",
            "/api/products".to_owned(),
            json!({"sku": "no-such", "name": "x", "price": {"amount": 1, "currency": "USD"}}),
        ),
        (admin, "PATCH", format!("/api/products/prd_{UNKNOWN}"), json!({})),
        (admin, "PUT", format!("/api/products/prd_{UNKNOWN}"), json!({})),
        (admin, "PUT", "/api/inventory/no-such".to_owned(), json!({"on_hand": 1})),
        (
            admin,
            "POST",
            "/api/inventory/no-such/adjustments".to_owned(),
            json!({"delta": 1, "reason": "found"}),
        ),
        (
            admin,
            "POST",
            "/api/orders".to_owned(),
            json!({"lines": [{"sku": "no-such", "quantity": 1}]}),
        ),
        (admin, "PATCH", format!("/api/orders/{order}"), json!({})),
        (admin, "POST", format!("/api/orders/{order}/cancel"), json!({})),
        (admin, "POST", "/api/payments".to_owned(), json!({"order_id": order})),
        (admin, "POST", format!("/api/payments/pay_{UNKNOWN}/refunds"), json!({})),
        (
            admin,
            "POST",
            "/api/notify".to_owned(),
            json!({"user_id": admin.id, "order_id": order}),
        ),
        (
            admin,
            "POST",
            "/api/events".to_owned(),
            json!({"type": "custom.x", "subject": "x", "data": {}}),
        ),
    ]
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name() {
    let shop = shop().await;
    for (actor, method, path, mut body) in writes(&shop) {
        for field in ["surprise", "id", "version", "__proto__"] {
            body[field] = json!("x");
            let answer = actor.request(method, &path).json(&body).await.refused(422, "invalid");
            let told = &answer.json["errors"][0];
            assert!(told.to_string().contains(field), "{answer}");
            body.as_object_mut().unwrap().remove(field);
        }
    }
}

#[tokio::test]
async fn what_is_no_json_is_400() {
    let shop = shop().await;
    let deep = "[".repeat(200_000);
    let deep_field = format!("{{\"data\":{}", "{\"a\":".repeat(10_000));
    let garbage: [&[u8]; 9] = [
        b"{",
        b"{\"email\": }",
        b"email=a&password=b",
        b"<xml/>",
        b"\xff\xfe{}",
        b"{\"a\":\"\xc3\x28\"}",
        b"{} {}",
        deep.as_bytes(),
        deep_field.as_bytes(),
    ];
    for (actor, method, path, _) in writes(&shop) {
        for body in garbage {
            let answer = actor.request(method, &path).raw_json(body.to_vec()).await;
            // A body that is wrong before it is broken may be told so.
            assert!(matches!(answer.status, 400 | 422), "{answer}");
        }
        for body in [&b"{"[..], b"<xml/>", b"\xff\xfe{}"] {
            actor
                .request(method, &path)
                .raw_json(body.to_vec())
                .await
                .refused(400, "malformed-json");
        }
    }
}

#[tokio::test]
async fn what_is_no_object_is_422() {
    let shop = shop().await;
    for (actor, method, path, _) in writes(&shop) {
        for body in ["[]", "null", "\"x\"", "1", "[\"nobody@example.com\",\"long enough\"]"] {
            actor
                .request(method, &path)
                .raw_json(body)
                .await
                .refused(422, "invalid");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_415() {
    let shop = shop().await;
    for (actor, method, path, body) in writes(&shop) {
        let text = body.to_string();
        actor
            .request(method, &path)
            .raw(text.clone())
            .await
            .refused(415, "unsupported-media-type");
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/xml",
            "",
        ] {
            let call = actor
                .request(method, &path)
                .header("content-type", kind)
                .raw(text.clone());
            call.await.refused(415, "unsupported-media-type");
        }
    }
    let call = shop
        .anonymous
        .request("POST", "/api/login")
        .header("content-type", "application/json; charset=utf-8");
    call.raw(r#"{"email":"nobody@example.com","password":"x"}"#)
        .await
        .refused(401, "invalid-credentials");
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_413_however_it_comes() {
    let shop = shop().await;
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    for (actor, method, path, _) in writes(&shop) {
        // With a length of its own account, and without one.
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            large.chunks(65_536).map(|chunk| Ok(chunk.to_vec())).collect();
        let chunked = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        for body in [reqwest::Body::from(large.clone()), chunked] {
            let answer = actor.request(method, &path).raw_json(body).await;
            let answer = answer.refused(413, "body-too-large");
            assert_eq!(
                answer.header("connection"),
                "close",
                "the rest is not told from the next request: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_on_while_it_is_refused_can_read_the_refusal() {
    let shop = shop().await;
    let address = shop.server.url().strip_prefix("http://").unwrap();
    let body = vec![b' '; 5 * BODY_BYTES_MAX];
    let chunks: Vec<u8> = body
        .chunks(65_536)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect();
    let chunked = [&chunks[..], b"0\r\n\r\n"].concat();
    for _ in 0..10 {
        for (path, header, body, status) in [
            ("/api/login", format!("content-length: {}", body.len()), &body, "413"),
            ("/api/login", "transfer-encoding: chunked".to_owned(), &chunked, "413"),
            ("/api/orders", format!("content-length: {}", body.len()), &body, "413"),
            ("/api/orders", "transfer-encoding: chunked".to_owned(), &chunked, "401"),
            ("/api/nothing", "transfer-encoding: chunked".to_owned(), &chunked, "404"),
        ] {
            // Everything is sent before anything is read.
            let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{header}\r\n\r\n");
            connection.write_all(head.as_bytes()).await.unwrap();
            connection.write_all(body).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path} {header}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_read() {
    let shop = shop().await;
    let mut body = br#"{"email":"nobody@example.com","password":"x"}"#.to_vec();
    body.resize(BODY_BYTES_MAX, b' ');
    shop.anonymous
        .request("POST", "/api/login")
        .raw_json(body.clone())
        .await
        .refused(401, "invalid-credentials");
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = body.chunks(1000).map(|chunk| Ok(chunk.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    shop.anonymous
        .request("POST", "/api/login")
        .raw_json(chunked)
        .await
        .refused(401, "invalid-credentials");
}

#[tokio::test]
async fn the_character_nul_is_refused_wherever_it_is() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let product = shop.admin.product(5).await;
    let me = format!("/api/users/{}", customer.id);
    let line = json!([{"sku": product.sku, "quantity": 1}]);
    let address = json!({"line1": "a\0b", "city": "c", "country": "NL"});
    let price = json!({"amount": 1, "currency": "USD"});
    for (actor, method, path, body, field) in [
        (
            &shop.anonymous,
            "POST",
            "/api/users",
            json!({"email": "a\0@example.com", "password": "12345678"}),
            "email",
        ),
        (
            &shop.anonymous,
            "POST",
            "/api/users",
            json!({"email": "a@example.com", "password": "1234\u{0}5678"}),
            "password",
        ),
        (
            &shop.anonymous,
            "POST",
            "/api/login",
            json!({"email": "a@example.com", "password": "\0"}),
            "password",
        ),
        (&customer, "PATCH", me.as_str(), json!({"name": "A\0da"}), "name"),
        (
            &customer,
            "PATCH",
            me.as_str(),
            json!({"addresses": [address]}),
            "addresses[0].line1",
        ),
        (
            &shop.admin,
            "POST",
            "/api/products",
            json!({"sku": "a\0", "name": "x", "price": price}),
            "sku",
        ),
        (
            &shop.admin,
            "POST",
            "/api/products",
            json!({"sku": "a", "name": "x", "price": price, "attributes": {"a": {"b": ["\0"]}}}),
            "attributes",
        ),
        (
            &customer,
            "POST",
            "/api/orders",
            json!({"lines": line, "metadata": {"note": "\0"}}),
            "metadata",
        ),
        (
            &shop.admin,
            "POST",
            "/api/events",
            json!({"type": "custom.x", "subject": "x", "data": {"a": "b\0"}}),
            "data",
        ),
    ] {
        actor
            .request(method, path)
            .json(&body)
            .await
            .refused_field(422, "invalid", field);
    }
    shop.anonymous
        .get("/api/products?q=a%00b")
        .await
        .refused(422, "invalid-query");
    // An escaped backslash before `u0000` is no NUL.
    let body = r#"{"type":"custom.x","subject":"x","data":{"a":"\\u0000"}}"#;
    shop.admin
        .request("POST", "/api/events")
        .raw_json(body)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_body_that_may_be_left_out_may_be() {
    let shop = shop().await;
    let (customer, product) = (shop.customer().await, shop.admin.product(5).await);
    let order = customer.confirmed_order(&product, 1).await;
    customer
        .request("POST", &format!("/api/orders/{order}/cancel"))
        .await
        .expect(200);
    let (_, payment) = customer.paid_order(&product, 1).await;
    shop.admin
        .request("POST", &format!("/api/payments/{payment}/refunds"))
        .await
        .expect(201);
    customer.request("POST", "/api/logout").await.expect(204);
}
