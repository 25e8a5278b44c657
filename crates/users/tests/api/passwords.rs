//! Passwords: changing them, guessing them, and too many of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use contracts::{Password, PasswordAttempt};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use users::password::Error;
use users::{PasswordHasher, SimulatedHasher};

use crate::fixture::{App, PASSWORD, Person, app, app_with};

async fn change(app: &App, who: &Person, current: &str, new: &str) -> crate::fixture::Answer {
    let path = format!("/api/users/{}/password", who.id);
    let body = json!({"current_password": current, "new_password": new});
    app.request("POST", &path, Some(&who.token), &[], Some(body)).await
}

#[tokio::test(start_paused = true)]
async fn a_new_password_ends_the_other_sessions_and_keeps_this_one() {
    let app = app().await;
    let here = app.customer("ada@example.com").await;
    let there = app.signed_in("ada@example.com").await;
    let rotated = app.refresh(&there.refresh).await;
    let bob = app.customer("bob@example.com").await;
    assert_eq!(change(&app, &here, PASSWORD, "another password").await.status, 204);
    assert_eq!(app.count("sessions").await, 2);
    assert_eq!(
        app.refresh(rotated.text("refresh_token")).await.refusal(),
        (401, "session-ended")
    );
    let refreshed = app.refresh(&here.refresh).await;
    assert_eq!(refreshed.status, 200);
    assert_eq!(app.refresh(&bob.refresh).await.status, 200);
    assert_eq!(app.log_in("ada@example.com", PASSWORD).await.status, 401);
    assert_eq!(app.log_in("ada@example.com", "another password").await.status, 200);
    let journal = app.journal().await;
    let update = journal.iter().find(|event| event.event_type == "user.updated").unwrap();
    let expected = format!(
        r#"{{"user_id":"{}","changed":["password"],"role":"customer"}}"#,
        here.id
    );
    assert_eq!(update.data.get(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_current_password_changes_nothing() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    assert_eq!(
        change(&app, &ada, "wrong", "another password").await.refusal(),
        (401, "invalid-credentials")
    );
    assert_eq!(change(&app, &ada, PASSWORD, "short").await.refusal(), (422, "invalid"));
    assert_eq!(app.log_in("ada@example.com", PASSWORD).await.status, 200);
    assert_eq!(app.refresh(&ada.refresh).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_email_and_a_wrong_password_look_the_same() {
    let app = app().await;
    app.customer("ada@example.com").await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@example.com", "wrong"),
        ("nobody@example.com", PASSWORD),
        ("ada@example.com", ""),
    ] {
        let answer = app.log_in(email, password).await;
        let mut body = answer.body.clone();
        body["instance"].take();
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.retain(|header| !header.starts_with("x-request-id") && !header.starts_with("content-length"));
        answers.push((answer.status, body, headers));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// Notes whether there was a hash, and holds the first verification until it is let go.
#[derive(Debug)]
struct Held {
    seen: std::sync::Mutex<Vec<bool>>,
    hold: AtomicBool,
    holding: Notify,
    gate: Semaphore,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: std::sync::Mutex::default(),
            hold: AtomicBool::new(false),
            holding: Notify::new(),
            gate: Semaphore::new(0),
        })
    }
}

#[async_trait]
impl PasswordHasher for Held {
    async fn hash(&self, password: Password) -> Result<Arc<str>, Error> {
        SimulatedHasher.hash(password).await
    }

    async fn verify(&self, attempt: PasswordAttempt, hash: Option<Arc<str>>) -> Result<bool, Error> {
        self.seen.lock().unwrap().push(hash.is_some());
        if self.hold.swap(false, Ordering::AcqRel) {
            self.holding.notify_one();
            self.gate.acquire().await.unwrap().forget();
        }
        SimulatedHasher.verify(attempt, hash).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_email_costs_a_verification_too() {
    let hasher = Held::new();
    let app = app_with(Arc::clone(&hasher) as _).await;
    app.customer("ada@example.com").await;
    app.log_in("ada@example.com", "wrong").await;
    app.log_in("nobody@example.com", "wrong").await;
    assert_eq!(*hasher.seen.lock().unwrap(), [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_changes_while_it_is_verified_begins_no_session() {
    let hasher = Held::new();
    let app = Arc::new(app_with(Arc::clone(&hasher) as _).await);
    let ada = app.customer("ada@example.com").await;
    hasher.hold.store(true, Ordering::Release);
    let late = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.log_in("ada@example.com", PASSWORD).await.status }
    });
    hasher.holding.notified().await;
    assert_eq!(change(&app, &ada, PASSWORD, "another password").await.status, 204);
    hasher.gate.add_permits(1);
    assert_eq!(late.await.unwrap(), 401);
    assert_eq!(app.count("sessions").await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_erased_while_its_password_is_verified_begins_no_session() {
    let hasher = Held::new();
    let app = Arc::new(app_with(Arc::clone(&hasher) as _).await);
    let ada = app.customer("ada@example.com").await;
    hasher.hold.store(true, Ordering::Release);
    let late = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.log_in("ada@example.com", PASSWORD).await.status }
    });
    hasher.holding.notified().await;
    assert_eq!(
        app.delete(&format!("/api/users/{}", ada.id), &ada.token).await.status,
        204
    );
    hasher.gate.add_permits(1);
    assert_eq!(late.await.unwrap(), 401);
    app.wait(SignedDuration::from_secs(3)).await;
    assert_eq!(app.count("sessions").await, 0);
}

#[tokio::test(start_paused = true)]
async fn ten_wrong_passwords_are_enough_for_a_quarter_of_an_hour_known_email_or_not() {
    let app = app().await;
    app.customer("ada@example.com").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        for spelling in [email.to_owned(), email.to_uppercase()].iter().cycle().take(10) {
            assert_eq!(
                app.log_in(spelling, "wrong").await.refusal(),
                (401, "invalid-credentials")
            );
        }
        let refused = app.log_in(email, PASSWORD).await;
        assert_eq!(refused.refusal(), (429, "rate-limited"));
        assert_eq!(refused.header("retry-after"), "900");
    }
    app.customer("bob@example.com").await;
    app.wait(SignedDuration::from_mins(15)).await;
    assert_eq!(app.log_in("ada@example.com", PASSWORD).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stolen_token_does_not_help_guessing_the_password() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    for _ in 0..10 {
        assert_eq!(change(&app, &ada, "wrong", "another password").await.status, 401);
    }
    assert_eq!(
        change(&app, &ada, PASSWORD, "another password").await.refusal(),
        (429, "rate-limited")
    );
}

#[derive(Debug)]
struct Overloaded;

#[async_trait]
impl PasswordHasher for Overloaded {
    async fn hash(&self, _: Password) -> Result<Arc<str>, Error> {
        Err(Error::Overloaded)
    }

    async fn verify(&self, _: PasswordAttempt, _: Option<Arc<str>>) -> Result<bool, Error> {
        Err(Error::Failed("a secret reason".to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_passwords_at_once_are_answered_with_when_to_come_back() {
    let app = app_with(Arc::new(Overloaded)).await;
    let answer = app
        .post("/api/users", json!({"email": "ada@example.com", "password": PASSWORD}))
        .await;
    assert_eq!(
        (answer.refusal(), answer.header("retry-after")),
        ((503, "overloaded"), "1")
    );
    let failed = app.log_in("ada@example.com", PASSWORD).await;
    assert_eq!(failed.refusal(), (500, "internal"));
    assert!(!failed.body.to_string().contains("secret"));
    // What was not verified was not wrong.
    for _ in 0..20 {
        assert_eq!(app.log_in("ada@example.com", PASSWORD).await.status, 500);
    }
}

#[tokio::test]
async fn a_password_is_kept_as_argon2id_alone() {
    let ids = Arc::new(kernel::clock::Ids::from_seed(5));
    let app = app_with(Arc::new(users::Argon2Hasher::on_all_processors(ids))).await;
    let ada = app.customer("ada@example.com").await;
    let everything = app.everything().await;
    assert!(
        everything
            .iter()
            .any(|text| text.starts_with("credentials/") && text.contains("$argon2id$v=19$m=19456,t=2,p=1$"))
    );
    for secret in [PASSWORD, &ada.token, &ada.refresh] {
        assert!(!everything.iter().any(|text| text.contains(secret)));
    }
    assert_eq!(app.log_in("ada@example.com", "wrong").await.status, 401);
    assert_eq!(
        app.log_in("ada@example.com", PASSWORD).await.body["user_id"],
        Value::from(ada.id)
    );
}
