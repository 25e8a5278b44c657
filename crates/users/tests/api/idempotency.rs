//! The same key gives the same answer, and changes nothing again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use contracts::{Password, PasswordAttempt};
use jiff::SignedDuration;
use serde_json::json;
use users::password::Error;
use users::{PasswordHasher, SimulatedHasher};

use crate::fixture::{PASSWORD, app, app_with};

const KEY: [(&str, &str); 1] = [("idempotency-key", "k")];

#[derive(Debug, Default)]
struct Counting {
    hashed: AtomicUsize,
    verified: AtomicUsize,
}

#[async_trait]
impl PasswordHasher for Counting {
    async fn hash(&self, password: Password) -> Result<Arc<str>, Error> {
        self.hashed.fetch_add(1, Ordering::Relaxed);
        SimulatedHasher.hash(password).await
    }

    async fn verify(&self, attempt: PasswordAttempt, hash: Option<Arc<str>>) -> Result<bool, Error> {
        self.verified.fetch_add(1, Ordering::Relaxed);
        SimulatedHasher.verify(attempt, hash).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_sign_up_is_answered_again_without_a_hash() {
    let hasher = Arc::new(Counting::default());
    let app = app_with(Arc::clone(&hasher) as _).await;
    let sign_up = async |email: &str, password: &str| {
        app.request(
            "POST",
            "/api/users",
            None,
            &KEY,
            Some(json!({"email": email, "password": password})),
        )
        .await
    };
    let first = sign_up("ada@example.com", PASSWORD).await;
    let again = sign_up("ada@example.com", PASSWORD).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(hasher.hashed.load(Ordering::Relaxed), 1);
    // The claim is the e-mail's: another body under it is refused, and another e-mail has its own.
    assert_eq!(
        sign_up("ada@example.com", "another password").await.refusal(),
        (422, "idempotency-key-reused")
    );
    assert_eq!(sign_up("bob@example.com", PASSWORD).await.status, 201);
    // Without the key it is taken, and that costs no hash.
    let taken = app
        .post("/api/users", json!({"email": "ada@example.com", "password": PASSWORD}))
        .await;
    assert_eq!(taken.refusal(), (409, "email-taken"));
    assert_eq!(hasher.hashed.load(Ordering::Relaxed), 2);
    assert_eq!(app.harness.journal().await, ["user.registered"; 2]);
}

#[tokio::test(start_paused = true)]
async fn sign_ups_at_once_under_one_key_are_one() {
    let app = Arc::new(app().await);
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let app = Arc::clone(&app);
            let request = json!({"email": "ada@example.com", "password": PASSWORD});
            tokio::spawn(async move { app.request("POST", "/api/users", None, &KEY, Some(request)).await })
        })
        .collect();
    let mut bodies = Vec::new();
    for one in tries {
        let answer = one.await.unwrap();
        assert_eq!(answer.status, 201);
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(app.harness.journal().await, ["user.registered"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_decided_again() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let path = format!("/api/users/{}", ada.id);
    let sign_up = || Some(json!({"email": "ADA@example.com", "password": PASSWORD}));
    assert_eq!(
        app.request("POST", "/api/users", None, &KEY, sign_up()).await.refusal(),
        (409, "email-taken")
    );
    app.put(&path, &ada.token, json!({"email": "eve@example.com"})).await;
    assert_eq!(
        app.request("POST", "/api/users", None, &KEY, sign_up()).await.status,
        201
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeated_change_of_password_is_answered_again_though_the_old_one_is_wrong_by_now() {
    let hasher = Arc::new(Counting::default());
    let app = app_with(Arc::clone(&hasher) as _).await;
    let ada = app.customer("ada@example.com").await;
    let path = format!("/api/users/{}/password", ada.id);
    let change = async |new: &str| {
        let body = json!({"current_password": PASSWORD, "new_password": new});
        app.request("POST", &path, Some(&ada.token), &KEY, Some(body)).await
    };
    assert_eq!(change("another password").await.status, 204);
    let (hashed, verified) = (
        hasher.hashed.load(Ordering::Relaxed),
        hasher.verified.load(Ordering::Relaxed),
    );
    assert_eq!(change("another password").await.status, 204);
    assert_eq!(
        change("yet another one").await.refusal(),
        (422, "idempotency-key-reused")
    );
    assert_eq!(
        (
            hasher.hashed.load(Ordering::Relaxed),
            hasher.verified.load(Ordering::Relaxed)
        ),
        (hashed, verified)
    );
    assert_eq!(app.log_in("ada@example.com", "another password").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_update_or_deletion_is_answered_again() {
    let app = app().await;
    let root = app.admin("root@example.com").await;
    let ada = app.customer("ada@example.com").await;
    let path = format!("/api/users/{}", ada.id);
    let update = async |name: &str| {
        app.request("PUT", &path, Some(&ada.token), &KEY, Some(json!({"name": name})))
            .await
    };
    let first = update("Ada").await;
    app.put(&path, &root.token, json!({"name": "Eve"})).await;
    let again = update("Ada").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(update("Bob").await.refusal(), (422, "idempotency-key-reused"));
    let delete = async || app.request("DELETE", &path, Some(&root.token), &KEY, None).await.status;
    assert_eq!(delete().await, 204);
    app.wait(SignedDuration::from_secs(3)).await;
    assert_eq!(delete().await, 204);
    assert_eq!(app.delete(&path, &root.token).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn sign_in_refresh_and_sign_out_ignore_the_key() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let log_in = || Some(json!({"email": "ada@example.com", "password": PASSWORD}));
    let [one, two] = [
        app.request("POST", "/api/login", None, &KEY, log_in()).await,
        app.request("POST", "/api/login", None, &KEY, log_in()).await,
    ];
    assert_ne!(one.text("refresh_token"), two.text("refresh_token"));
    let refresh = || Some(json!({"refresh_token": ada.refresh}));
    let [one, two] = [
        app.request("POST", "/api/token/refresh", None, &KEY, refresh()).await,
        app.request("POST", "/api/token/refresh", None, &KEY, refresh()).await,
    ];
    assert_ne!(one.text("refresh_token"), two.text("refresh_token"));
    assert_eq!(
        app.request("POST", "/api/logout", Some(&ada.token), &KEY, None)
            .await
            .status,
        204
    );
    assert_eq!(app.count("idempotency").await, 0);
}
