//! Accounts.

use serde_json::{Value, json};

use crate::UNKNOWN;
use crate::support::{PASSWORD, shop, unique};

const FIELDS: &str = "id email name username phone addresses role created_at updated_at version";

fn address() -> Value {
    json!({"name": "Ada", "line1": "Herengracht 1", "line2": "III", "city": "Amsterdam", "region": "NH",
        "postal_code": "1015 BA", "country": "NL", "phone": "+31 20 1234567"})
}

#[tokio::test]
async fn a_sign_up_answers_with_the_account() {
    let shop = shop().await;
    let (email, username) = (format!("{}@Example.com", unique("Ada")), unique("ada"));
    let body = json!({"email": email, "password": PASSWORD, "name": "Ada", "username": username,
        "phone": "+31 6 12345678", "addresses": [address()]});
    let answer = shop
        .anonymous
        .post("/api/users", body.clone())
        .await
        .expect(201)
        .has_fields(FIELDS);
    let id = answer.text_at("id");
    assert_eq!(answer.header("location"), format!("/api/users/{id}"));
    assert_eq!(answer.header("etag"), "\"1\"");
    assert_eq!(answer.json["role"], "customer");
    for field in ["email", "name", "username", "phone", "addresses"] {
        assert_eq!(answer.json[field], body[field], "{field}");
    }
    assert!(
        !answer.text.contains(PASSWORD) && !answer.text.contains("argon2"),
        "{answer}"
    );

    let user = shop.anonymous.signed_in(&email, PASSWORD).await;
    assert_eq!(user.id, id);
    assert_eq!(user.get("/api/users/me").await.expect(200).json, answer.json);
    let registered = shop.admin.until_event("user.registered", &id).await;
    assert_eq!(
        registered["data"],
        json!({"user_id": id, "role": "customer"}),
        "no personal data in an event"
    );
}

#[tokio::test]
async fn what_is_not_given_is_null() {
    let shop = shop().await;
    let me = shop
        .customer()
        .await
        .get("/api/users/me")
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(
        [&me.json["name"], &me.json["username"], &me.json["phone"]],
        [&Value::Null; 3]
    );
    assert_eq!(me.json["addresses"], json!([]));
}

#[tokio::test]
async fn an_email_is_taken_in_any_case() {
    let shop = shop().await;
    let customer = shop.customer().await;
    for email in [customer.email.clone(), customer.email.to_uppercase()] {
        let body = json!({"email": email, "password": PASSWORD});
        shop.anonymous
            .post("/api/users", body)
            .await
            .refused(409, "email-taken");
    }
    shop.anonymous.signed_in(&customer.email.to_uppercase(), PASSWORD).await;
}

#[tokio::test]
async fn a_role_never_comes_from_a_client() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let me = format!("/api/users/{}", customer.id);
    for role in ["admin", "customer", "service"] {
        let body = json!({"email": "new@example.com", "password": PASSWORD, "role": role});
        shop.anonymous
            .post("/api/users", body)
            .await
            .refused_field(422, "invalid", "role");
        customer
            .patch(&me, json!({"role": role}))
            .await
            .refused_field(422, "invalid", "role");
        customer
            .put(&format!("{me}/role"), json!({"role": role}))
            .await
            .refused(403, "forbidden");
    }
    shop.admin
        .patch(&me, json!({"role": "admin"}))
        .await
        .refused_field(422, "invalid", "role");
    assert_eq!(customer.get(&me).await.json["role"], "customer");
}

#[tokio::test]
async fn a_sign_up_that_makes_no_sense_is_refused_by_field() {
    let shop = shop().await;
    let good = json!({"email": "good@example.com", "password": PASSWORD});
    let many: Vec<Value> = (0..21).map(|_| address()).collect();
    for (field, wrong) in [
        ("email", json!("")),
        ("email", json!("ada")),
        ("email", json!("a@b@c")),
        ("email", json!("ada@example.com\nBcc: x@example.com")),
        ("email", json!(1)),
        ("email", json!({"$ne": null})),
        ("email", json!(["ada@example.com"])),
        ("email", json!(format!("{}@example.com", "a".repeat(300)))),
        ("email", Value::Null),
        ("password", json!("1234567")),
        ("password", json!("x".repeat(257))),
        ("password", json!({"$gt": ""})),
        ("password", Value::Null),
        ("name", json!("")),
        ("name", json!("  ")),
        ("name", json!("x".repeat(201))),
        ("username", json!("x".repeat(65))),
        ("phone", json!("1".repeat(33))),
        ("addresses", json!("here")),
        ("addresses", json!(many)),
        (
            "addresses[0].country",
            json!([{"line1": "a", "city": "b", "country": "Holland"}]),
        ),
        ("addresses[0].city", json!([{"line1": "a", "country": "NL"}])),
    ] {
        let mut body = good.clone();
        body[field.split('[').next().unwrap()] = wrong;
        shop.anonymous
            .post("/api/users", body)
            .await
            .refused_field(422, "invalid", field);
    }
    for missing in ["email", "password"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(missing);
        shop.anonymous
            .post("/api/users", body)
            .await
            .refused_field(422, "invalid", missing);
    }
    for password in ["12345678", &"x".repeat(256), "пароль на русском", "        "] {
        let email = format!("{}@example.com", unique("password"));
        shop.anonymous
            .post("/api/users", json!({"email": email, "password": password}))
            .await
            .expect(201);
        shop.anonymous.signed_in(&email, password).await;
    }
}

#[tokio::test]
async fn an_account_is_its_owners_and_the_admins() {
    let shop = shop().await;
    let (customer, other) = (shop.customer().await, shop.customer().await);
    let path = format!("/api/users/{}", customer.id);
    for actor in [&customer, &shop.admin] {
        assert_eq!(
            actor.get(&path).await.expect(200).has_fields(FIELDS).json["email"],
            customer.email.as_str()
        );
    }
    other.get(&path).await.refused(404, "not-found");
    other
        .patch(&path, json!({"name": "Mine"}))
        .await
        .refused(404, "not-found");
    other.delete(&path).await.refused(404, "not-found");
    let password = json!({"current_password": PASSWORD, "new_password": "another password"});
    for actor in [&other, &shop.admin] {
        actor
            .post(&format!("{path}/password"), password.clone())
            .await
            .refused(404, "not-found");
    }
    shop.anonymous.get(&path).await.refused(401, "unauthorized");
    shop.anonymous.get("/api/users/me").await.refused(401, "unauthorized");
    // What is not one's own looks as what is not there.
    let unknown = other
        .get(&format!("/api/users/usr_{UNKNOWN}"))
        .await
        .refused(404, "not-found");
    let foreign = other.get(&path).await;
    assert_eq!(
        (unknown.json["detail"].clone(), unknown.json["title"].clone()),
        (foreign.json["detail"].clone(), foreign.json["title"].clone())
    );
}

#[tokio::test]
async fn an_absent_field_stays_and_null_clears_it() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let path = format!("/api/users/{}", customer.id);
    let all = json!({"name": "Ada", "username": unique("ada"), "phone": "+31 6 1", "addresses": [address()]});
    for method in ["PATCH", "PUT"] {
        let full = customer
            .request(method, &path)
            .json(&all)
            .await
            .expect(200)
            .has_fields(FIELDS);
        for field in ["name", "username", "phone", "addresses"] {
            assert_eq!(full.json[field], all[field]);
            let cleared = customer
                .request(method, &path)
                .json(&json!({field: null}))
                .await
                .expect(200);
            let empty = if field == "addresses" { json!([]) } else { Value::Null };
            assert_eq!(cleared.json[field], empty, "{cleared}");
            let kept = ["name", "username", "phone", "addresses"]
                .into_iter()
                .filter(|other| *other != field);
            kept.for_each(|other| assert_eq!(cleared.json[other], all[other], "{cleared}"));
            customer
                .request(method, &path)
                .json(&json!({field: all[field]}))
                .await
                .expect(200);
        }
    }
    customer
        .patch(&path, json!({"email": null}))
        .await
        .refused_field(422, "invalid", "email");
    customer
        .patch(&path, json!({"password": "x"}))
        .await
        .refused_field(422, "invalid", "password");
    let updated = shop.admin.until_event("user.updated", &customer.id).await;
    assert!(!updated.to_string().contains("Herengracht"), "{updated}");
}

#[tokio::test]
async fn an_email_and_a_username_are_one_persons() {
    let shop = shop().await;
    let (customer, other) = (shop.customer().await, shop.customer().await);
    let (path, username) = (format!("/api/users/{}", customer.id), unique("name"));
    other
        .patch(&format!("/api/users/{}", other.id), json!({"username": username}))
        .await
        .expect(200);
    customer
        .patch(&path, json!({"username": username}))
        .await
        .refused(409, "username-taken");
    customer
        .patch(&path, json!({"email": other.email}))
        .await
        .refused(409, "email-taken");
    let email = format!("{}@example.com", unique("moved"));
    customer.patch(&path, json!({"email": email})).await.expect(200);
    shop.anonymous.signed_in(&email, PASSWORD).await;
    let old = json!({"email": customer.email, "password": PASSWORD});
    shop.anonymous
        .post("/api/login", old.clone())
        .await
        .refused(401, "invalid-credentials");
    // The address that was left is free.
    shop.anonymous.post("/api/users", old).await.expect(201);
}

#[tokio::test]
async fn an_admin_gives_roles() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let path = format!("/api/users/{}/role", customer.id);
    for wrong in [
        json!({"role": "service"}),
        json!({"role": "root"}),
        json!({"role": null}),
        json!({}),
    ] {
        shop.admin.put(&path, wrong).await.refused_field(422, "invalid", "role");
    }
    shop.anonymous
        .put(&path, json!({"role": "admin"}))
        .await
        .refused(401, "unauthorized");
    let promoted = shop
        .admin
        .put(&path, json!({"role": "admin"}))
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(promoted.json["role"], "admin");
    let promoted = shop.anonymous.signed_in(&customer.email, PASSWORD).await;
    promoted.get("/api/users").await.expect(200);
    shop.admin.put(&path, json!({"role": "customer"})).await.expect(200);
    // The token says admin for its 15 minutes; where roles are given, the truth is known at once.
    promoted
        .put(&path, json!({"role": "admin"}))
        .await
        .refused(403, "forbidden");
    shop.anonymous
        .signed_in(&customer.email, PASSWORD)
        .await
        .get("/api/users")
        .await
        .refused(403, "forbidden");
    let unknown = format!("/api/users/usr_{UNKNOWN}/role");
    shop.admin
        .put(&unknown, json!({"role": "admin"}))
        .await
        .refused(404, "not-found");
}

#[tokio::test]
async fn an_admin_finds_an_account_by_email() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let found = shop
        .admin
        .get(&format!("/api/users?email={}", customer.email.to_uppercase()))
        .await
        .expect(200);
    assert_eq!(found.ids(), std::slice::from_ref(&customer.id));
    let nobody = shop
        .admin
        .get("/api/users?email=nobody-at-all@example.com")
        .await
        .expect(200);
    assert_eq!(nobody.json, json!({"data": [], "next_cursor": null}));
    shop.admin
        .get("/api/users?email=x")
        .await
        .refused_field(422, "invalid-query", "email");
    shop.anonymous.get("/api/users").await.refused(401, "unauthorized");
    for path in ["/api/users".to_owned(), format!("/api/users?email={}", customer.email)] {
        customer.get(&path).await.refused(403, "forbidden");
    }
}

#[tokio::test]
async fn an_account_that_was_deleted_is_gone() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let path = format!("/api/users/{}", customer.id);
    customer.delete(&path).await.expect(204);
    shop.admin.get(&path).await.refused(404, "not-found");
    shop.admin.delete(&path).await.refused(404, "not-found");
    let credentials = json!({"email": customer.email, "password": PASSWORD});
    shop.anonymous
        .post("/api/login", credentials.clone())
        .await
        .refused(401, "invalid-credentials");
    let refresh = json!({"refresh_token": customer.refresh_token});
    shop.anonymous
        .post("/api/token/refresh", refresh)
        .await
        .refused(401, "session-ended");
    shop.admin.until_event("user.erased", &customer.id).await;
    let again = shop.anonymous.post("/api/users", credentials).await.expect(201);
    assert_ne!(again.text_at("id"), customer.id);
}
