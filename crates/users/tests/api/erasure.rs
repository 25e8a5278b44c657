//! Erasure leaves nothing of the person.

use jiff::SignedDuration;
use kernel::auth::Refusal;
use serde_json::json;

use crate::fixture::{App, PASSWORD, app};

const PERSONAL: [&str; 9] = [
    "ada@",
    "Ada@",
    "lovelace",
    "Lovelace",
    "countess",
    "5551234",
    "Herengracht",
    "Amsterdam",
    "1012",
];

/// What is in the store of Ada, by where it is.
async fn traces(app: &App) -> Vec<String> {
    let everything = app.everything().await;
    everything
        .into_iter()
        .filter(|text| PERSONAL.iter().any(|personal| text.contains(personal)))
        .collect()
}

/// Ada signs up, and everything that can be written of her is, by herself and by an admin, with idempotency keys.
async fn busy_ada(app: &App) -> (String, String, String, String) {
    let root = app.admin("root@example.com").await;
    let sign_up = json!({
        "email": "Ada@lovelace.example", "password": PASSWORD, "name": "Ada Lovelace", "username": "countess",
        "phone": "5551234", "addresses": [{"line1": "Herengracht 1", "city": "Amsterdam", "postal_code": "1012", "country": "NL"}],
    });
    let key = |key: &'static str| [("idempotency-key", key)];
    let signed_up = app.request("POST", "/api/users", None, &key("a"), Some(sign_up)).await;
    assert_eq!(signed_up.status, 201);
    let path = format!("/api/users/{}", signed_up.text("id"));
    let ada = app.signed_in("ada@lovelace.example").await;
    let update = Some(json!({"email": "Ada@countess.example", "phone": "5551234 home"}));
    assert_eq!(
        app.request("PUT", &path, Some(&ada.token), &key("b"), update)
            .await
            .status,
        200
    );
    let by_admin = Some(json!({"name": "Ada, Countess of Lovelace"}));
    assert_eq!(
        app.request("PUT", &path, Some(&root.token), &key("c"), by_admin)
            .await
            .status,
        200
    );
    let role = Some(json!({"role": "admin"}));
    assert_eq!(
        app.request("PUT", &format!("{path}/role"), Some(&root.token), &key("d"), role)
            .await
            .status,
        200
    );
    let third = json!({"email": "third@lovelace.example", "password": PASSWORD, "name": "Ada Lovelace"});
    let by_admin = app
        .request("POST", "/api/users", Some(&root.token), &key("e"), Some(third))
        .await;
    assert_eq!(by_admin.status, 201);
    (
        path,
        ada.token,
        ada.refresh,
        format!("/api/users/{}", by_admin.text("id")),
    )
}

#[tokio::test(start_paused = true)]
async fn nothing_personal_of_the_erased_is_in_any_document_or_event() {
    let app = app().await;
    let (path, token, _, third) = busy_ada(&app).await;
    let before = traces(&app).await;
    assert!(
        before.iter().any(|text| text.starts_with("profiles/"))
            && before.iter().any(|text| text.starts_with("idempotency/"))
    );
    assert!(
        !before.iter().any(|text| text.starts_with('{')),
        "in an event: {before:?}"
    );
    let root = app.signed_in("root@example.com").await;
    assert_eq!(app.delete(&third, &root.token).await.status, 204);
    assert_eq!(app.delete(&path, &token).await.status, 204);
    // What the commit itself deletes is gone at once.
    assert!(traces(&app).await.iter().all(|text| text.starts_with("idempotency/")));
    app.wait(SignedDuration::from_secs(3)).await;
    assert_eq!(traces(&app).await, [""; 0]);
    let of_ada: Vec<String> = app
        .everything()
        .await
        .into_iter()
        .filter(|text| text.contains(&path["/api/users/".len()..]))
        .collect();
    let documents: Vec<&str> = of_ada
        .iter()
        .filter(|text| !text.starts_with('{'))
        .map(|text| text.split('/').next().unwrap())
        .collect();
    assert_eq!(documents, ["erased_users", "users"]);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_the_erased_are_refused_at_once_and_no_refresh_helps() {
    let app = app().await;
    let (path, token, refresh, _) = busy_ada(&app).await;
    assert_eq!(app.delete(&path, &token).await.status, 204);
    assert_eq!(app.verifier.verify(&token).await, Err(Refusal::Erased));
    assert_eq!(app.get("/api/users/me", &token).await.refusal(), (401, "unauthorized"));
    assert_eq!(app.refresh(&refresh).await.refusal(), (401, "session-ended"));
    assert_eq!(
        app.log_in("ada@countess.example", PASSWORD).await.refusal(),
        (401, "invalid-credentials")
    );
    app.wait(SignedDuration::from_mins(31)).await;
    assert_eq!(app.get("/api/users/me", &token).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn an_erased_account_stays_unknown_to_everybody() {
    let app = app().await;
    let (path, _, _, _) = busy_ada(&app).await;
    let root = app.signed_in("root@example.com").await;
    assert_eq!(app.delete(&path, &root.token).await.status, 204);
    let service = app.service().await;
    for token in [&root.token, &service] {
        assert_eq!(app.get(&path, token).await.refusal(), (404, "not-found"));
    }
    assert_eq!(app.delete(&path, &root.token).await.status, 404);
    assert_eq!(app.put(&path, &root.token, json!({"name": "Ada"})).await.status, 404);
    assert_eq!(
        app.put(&format!("{path}/role"), &root.token, json!({"role": "admin"}))
            .await
            .status,
        404
    );
    assert_eq!(
        app.harness
            .journal()
            .await
            .iter()
            .filter(|kind| *kind == "user.erased")
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn the_email_and_the_username_of_the_erased_are_free_for_a_new_person() {
    let app = app().await;
    let (path, token, _, _) = busy_ada(&app).await;
    app.delete(&path, &token).await;
    app.wait(SignedDuration::from_secs(3)).await;
    let request = json!({"email": "ada@countess.example", "password": PASSWORD, "username": "countess"});
    let again = app
        .request("POST", "/api/users", None, &[("idempotency-key", "a")], Some(request))
        .await;
    assert_eq!(again.status, 201);
    assert_ne!(format!("/api/users/{}", again.text("id")), path);
    assert_eq!(again.body["role"], "customer");
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_the_erased_outlives_a_restart() {
    let app = app().await;
    let (path, token, _, _) = busy_ada(&app).await;
    app.delete(&path, &token).await;
    app.wait(SignedDuration::from_secs(3)).await;
    let app = crate::fixture::start(
        app.harness,
        std::sync::Arc::new(users::SimulatedHasher),
        users::Config::default(),
    )
    .await;
    assert_eq!(app.get("/api/users/me", &token).await.status, 401);
}
