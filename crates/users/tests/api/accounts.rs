//! Signing up, reading, changing.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::fixture::{PASSWORD, app};

fn address() -> Value {
    json!({"line1": "Herengracht 1", "city": "Amsterdam", "country": "NL"})
}

#[tokio::test(start_paused = true)]
async fn a_sign_up_makes_a_customer() {
    let app = app().await;
    let request = json!({
        "email": "Ada@Example.com", "password": PASSWORD, "name": "Ada", "username": "ada", "phone": "+31 20 1",
        "addresses": [address()],
    });
    let answer = app.post("/api/users", request).await;
    assert_eq!(answer.status, 201);
    let mut body = answer.body.clone();
    let id = body["id"].take();
    assert_eq!(body["created_at"].take(), body["updated_at"].take());
    assert_eq!(
        answer.header("location"),
        format!("/api/users/{}", id.as_str().unwrap())
    );
    assert_eq!(answer.header("etag"), "\"1\"");
    insta::assert_json_snapshot!(body, @r#"
    {
      "addresses": [
        {
          "city": "Amsterdam",
          "country": "NL",
          "line1": "Herengracht 1"
        }
      ],
      "created_at": null,
      "email": "Ada@Example.com",
      "id": null,
      "name": "Ada",
      "phone": "+31 20 1",
      "role": "customer",
      "updated_at": null,
      "username": "ada",
      "version": 1
    }
    "#);
    let event = &app.journal().await[0];
    assert_eq!(event.event_type, "user.registered");
    assert_eq!(Value::from(&*event.meta.actor), id);
}

#[tokio::test(start_paused = true)]
async fn absent_fields_are_null_and_no_secret_comes_back() {
    let app = app().await;
    let answer = app
        .post("/api/users", json!({"email": "ada@example.com", "password": PASSWORD}))
        .await;
    for field in ["name", "username", "phone"] {
        assert_eq!(answer.body[field], Value::Null, "{field}");
    }
    assert_eq!(answer.body["addresses"], json!([]));
    assert!(!answer.body.to_string().contains(PASSWORD) && answer.body.get("password").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_chooses_neither_role_nor_status_nor_id() {
    let app = app().await;
    for (field, value) in [
        ("role", "admin"),
        ("status", "active"),
        ("id", "usr_01h455vb4pex5vsknk084sn02q"),
        ("is_admin", "true"),
    ] {
        let mut request = json!({"email": "ada@example.com", "password": PASSWORD});
        request[field] = value.into();
        let answer = app.post("/api/users", request).await;
        assert_eq!(answer.refusal(), (422, "invalid"), "{field}");
    }
    let ada = app.customer("ada@example.com").await;
    for field in ["role", "status", "id", "version", "password"] {
        let answer = app
            .put(&format!("/api/users/{}", ada.id), &ada.token, json!({field: "admin"}))
            .await;
        assert_eq!(answer.refusal(), (422, "invalid"), "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_email_or_password_is_named() {
    let app = app().await;
    for (request, field) in [
        (json!({"email": "ada", "password": PASSWORD}), "email"),
        (json!({"email": {"$gt": ""}, "password": PASSWORD}), "email"),
        (json!({"email": "ada@example.com", "password": "1234567"}), "password"),
        (
            json!({"email": "ada@example.com", "password": "x".repeat(257)}),
            "password",
        ),
        (
            json!({"email": "ada@example.com", "password": PASSWORD, "name": ""}),
            "name",
        ),
        (
            json!({"email": "ada@example.com", "password": PASSWORD, "name": "a\u{0}"}),
            "name",
        ),
    ] {
        let answer = app.post("/api/users", request).await;
        assert_eq!(
            (answer.status, answer.body["errors"][0]["field"].as_str()),
            (422, Some(field)),
            "{answer:?}"
        );
    }
    assert_eq!(
        app.post("/api/users", json!({"email": "ada@example.com"})).await.status,
        422
    );
}

#[tokio::test(start_paused = true)]
async fn an_email_is_one_accounts_in_any_case() {
    let app = app().await;
    app.customer("ada@example.com").await;
    let again = app
        .post("/api/users", json!({"email": "ADA@example.com", "password": PASSWORD}))
        .await;
    assert_eq!(again.refusal(), (409, "email-taken"));
    app.signed_in("Ada@EXAMPLE.com").await;
}

#[tokio::test(start_paused = true)]
async fn one_of_many_who_sign_up_at_once_with_an_email_gets_it() {
    let app = std::sync::Arc::new(app().await);
    let tries: Vec<_> = (0..20)
        .map(|number| {
            let app = std::sync::Arc::clone(&app);
            let (email, username) = (format!("ada{}@example.com", number % 2), format!("Ada{}", number % 3));
            tokio::spawn(async move {
                let request = json!({"email": email, "password": PASSWORD, "username": username});
                app.post("/api/users", request).await.status
            })
        })
        .collect();
    let mut created = 0;
    for one in tries {
        let status = one.await.unwrap();
        assert!([201, 409].contains(&status));
        created += u32::from(status == 201);
    }
    assert_eq!(created, 2);
    assert_eq!(app.harness.journal().await, ["user.registered"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_username_is_one_accounts_and_is_free_again_when_changed() {
    let app = app().await;
    let sign_up = async |email: &str, username: &str| {
        app.post(
            "/api/users",
            json!({"email": email, "password": PASSWORD, "username": username}),
        )
        .await
    };
    assert_eq!(sign_up("ada@example.com", "Ada").await.status, 201);
    assert_eq!(
        sign_up("bob@example.com", "ada").await.refusal(),
        (409, "username-taken")
    );
    let ada = app.signed_in("ada@example.com").await;
    let path = format!("/api/users/{}", ada.id);
    assert_eq!(
        app.put(&path, &ada.token, json!({"username": "ADA"})).await.body["username"],
        "ADA"
    );
    assert_eq!(sign_up("bob@example.com", "ada").await.status, 409);
    assert_eq!(
        app.put(&path, &ada.token, json!({"username": null})).await.body["username"],
        Value::Null
    );
    assert_eq!(sign_up("bob@example.com", "ada").await.status, 201);
    assert_eq!(
        app.put(&path, &ada.token, json!({"username": "ada"})).await.refusal(),
        (409, "username-taken")
    );
}

#[tokio::test(start_paused = true)]
async fn an_email_that_was_changed_is_free_again_and_the_new_one_signs_in() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let bob = app.customer("bob@example.com").await;
    let path = format!("/api/users/{}", ada.id);
    assert_eq!(
        app.put(&path, &ada.token, json!({"email": "BOB@example.com"}))
            .await
            .refusal(),
        (409, "email-taken")
    );
    assert_eq!(
        app.put(&path, &ada.token, json!({"email": "eve@example.com"}))
            .await
            .status,
        200
    );
    assert_eq!(
        app.log_in("ada@example.com", PASSWORD).await.refusal(),
        (401, "invalid-credentials")
    );
    assert_eq!(app.signed_in("eve@example.com").await.id, ada.id);
    let path = format!("/api/users/{}", bob.id);
    assert_eq!(
        app.put(&path, &bob.token, json!({"email": "ada@example.com"}))
            .await
            .status,
        200
    );
    assert_eq!(app.put(&path, &bob.token, json!({"email": null})).await.status, 422);
}

#[tokio::test(start_paused = true)]
async fn put_is_patch_and_the_event_names_fields_alone() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let path = format!("/api/users/{}", ada.id);
    app.wait(SignedDuration::from_secs(1)).await;
    let put = app
        .put(
            &path,
            &ada.token,
            json!({"name": "Ada", "phone": "1", "addresses": [address()]}),
        )
        .await;
    assert_eq!((put.status, put.header("etag")), (200, "\"2\""));
    let body = Some(json!({"phone": null}));
    let patched = app.request("PATCH", &path, Some(&ada.token), &[], body).await;
    assert_eq!(
        (&patched.body["name"], &patched.body["phone"]),
        (&json!("Ada"), &Value::Null)
    );
    assert_eq!(
        (&patched.body["version"], &patched.body["addresses"]),
        (&json!(3), &json!([address()]))
    );
    assert_ne!(patched.body["updated_at"], patched.body["created_at"]);
    assert_eq!(app.get("/api/users/me", &ada.token).await.body, patched.body);
    // What changes nothing is no event.
    assert_eq!(
        app.put(&path, &ada.token, json!({"name": "Ada"})).await.header("etag"),
        "\"3\""
    );
    let journal = app.journal().await;
    let updates: Vec<_> = journal
        .iter()
        .filter(|event| event.event_type == "user.updated")
        .collect();
    let changed: Vec<Value> = updates
        .iter()
        .map(|it| serde_json::from_str::<Value>(it.data.get()).unwrap())
        .collect();
    assert_eq!(
        changed[0],
        json!({"user_id": ada.id, "changed": ["name", "phone", "addresses"], "role": "customer"})
    );
    assert_eq!(changed[1]["changed"], json!(["phone"]));
    assert_eq!(changed.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stale_if_match_changes_nothing_and_a_sign_in_makes_none_stale() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    app.signed_in("ada@example.com").await;
    let path = format!("/api/users/{}", ada.id);
    let update = async |if_match: &str, name: &str| {
        let body = Some(json!({"name": name}));
        app.request("PUT", &path, Some(&ada.token), &[("if-match", if_match)], body)
            .await
    };
    assert_eq!(update("\"1\"", "Ada").await.status, 200);
    assert_eq!(update("\"1\"", "Eve").await.refusal(), (412, "stale-version"));
    let stale = app
        .request("DELETE", &path, Some(&ada.token), &[("if-match", "\"1\"")], None)
        .await;
    assert_eq!(stale.refusal(), (412, "stale-version"));
    assert_eq!(app.get(&path, &ada.token).await.body["name"], "Ada");
    assert_eq!(update("\"2\"", "Eve").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_admin_lists_accounts_a_page_at_a_time_or_finds_one_by_email() {
    let app = app().await;
    let root = app.admin("root@example.com").await;
    for name in ["ada", "bob", "eve"] {
        app.wait(SignedDuration::from_secs(1)).await;
        app.customer(&format!("{name}@example.com")).await;
    }
    let emails = |body: &Value| -> Vec<String> {
        body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["email"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = app.get("/api/users?limit=3", &root.token).await;
    assert_eq!(
        emails(&first.body),
        ["eve@example.com", "bob@example.com", "ada@example.com"]
    );
    let path = format!("/api/users?limit=3&cursor={}", first.text("next_cursor"));
    let second = app.get(&path, &root.token).await;
    assert_eq!(
        (emails(&second.body), &second.body["next_cursor"]),
        (vec!["root@example.com".to_owned()], &Value::Null)
    );
    let found = app.get("/api/users?email=BOB@example.com", &root.token).await;
    assert_eq!(emails(&found.body), ["bob@example.com"]);
    assert!(found.body["data"][0].get("password").is_none());
    assert_eq!(
        app.get("/api/users?email=nobody@example.com", &root.token).await.body["data"],
        json!([])
    );
    for wrong in ["?email=nobody", "?role=admin", "?limit=0", "?cursor=x"] {
        assert_eq!(
            app.get(&format!("/api/users{wrong}"), &root.token).await.refusal(),
            (422, "invalid-query"),
            "{wrong}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_erased_are_in_no_list_and_views_are_what_the_journal_says() {
    let app = app().await;
    let root = app.admin("root@example.com").await;
    let ada = app.customer("ada@example.com").await;
    let bob = app.customer("bob@example.com").await;
    app.put(
        &format!("/api/users/{}/role", bob.id),
        &root.token,
        json!({"role": "admin"}),
    )
    .await;
    app.put(&format!("/api/users/{}", ada.id), &ada.token, json!({"name": "Ada"}))
        .await;
    app.delete(&format!("/api/users/{}", ada.id), &ada.token).await;
    app.wait(SignedDuration::from_secs(3)).await;
    let listed = app.get("/api/users", &root.token).await;
    assert_eq!(listed.body["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        app.get(&format!("/api/users/{}", ada.id), &root.token).await.status,
        404
    );
    assert_eq!(
        app.get("/api/users?email=ada@example.com", &root.token).await.body["data"],
        json!([])
    );

    let before = app.everything().await;
    app.harness.engine().stop().await;
    let store = app.harness.engine().reader().store().clone();
    let ids = kernel::clock::Ids::from_seed(1);
    kernel::rebuild::rebuild(&store, users::COLLECTIONS, users::fold, &ids, |_, _| {})
        .await
        .unwrap();
    assert_eq!(app.everything().await, before);
}
