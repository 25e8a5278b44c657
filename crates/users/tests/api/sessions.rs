//! Sessions: signing in, refreshing, signing out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use kernel::auth::Caller;
use serde_json::{Value, json};
use users::{PUBLISHED_AHEAD, REFRESH_TOKEN_LIFETIME, REPEAT_ALLOWED};

use crate::fixture::{Answer, app, user_id};

fn tokens(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.text("token").to_owned(), answer.text("refresh_token").to_owned())
}

fn ended(answer: &Answer) {
    assert_eq!(answer.refusal(), (401, "session-ended"));
}

fn millisecond() -> SignedDuration {
    SignedDuration::from_millis(1)
}

#[tokio::test(start_paused = true)]
async fn signing_in_gives_a_token_of_a_quarter_of_an_hour() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let answer = app.log_in("ada@example.com", crate::fixture::PASSWORD).await;
    assert_eq!(
        (answer.text("token_type"), &answer.body["expires_in"]),
        ("Bearer", &json!(900))
    );
    assert_eq!(
        (answer.text("user_id"), answer.header("cache-control")),
        (&*ada.id, "no-store")
    );
    let claims = answer.text("token").split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let seconds = |claim: &str| claims[claim].as_i64().unwrap();
    assert_eq!(seconds("exp") - seconds("iat"), 900);
    assert_eq!((&claims["sub"], &claims["role"]), (&json!(ada.id), &json!("customer")));
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&json!("tradewind"), &json!("tradewind-api"))
    );
    let Caller::User(user) = app.verifier.verify(answer.text("token")).await.unwrap() else {
        panic!("no user")
    };
    assert_eq!(user.id, user_id(&ada.id));
    let event = app.journal().await.pop().unwrap();
    let expected = format!(r#"{{"user_id":"{}","session_id":"{}"}}"#, ada.id, user.session);
    assert_eq!((&*event.event_type, event.data.get()), ("user.logged_in", &*expected));
    assert_eq!((&*event.meta.actor, event.stream.as_str()), (&*ada.id, &*ada.id));
    app.wait(SignedDuration::from_secs(906)).await;
    assert_eq!(
        app.get("/api/users/me", answer.text("token")).await.refusal(),
        (401, "token-expired")
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_spends_the_token_and_goes_on_with_the_session() {
    let app = app().await;
    let mut refresh = app.customer("ada@example.com").await.refresh;
    let mut sessions = std::collections::BTreeSet::new();
    for _ in 0..5 {
        app.wait(SignedDuration::from_mins(14)).await;
        let answer = app.refresh(&refresh).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let (token, next) = tokens(&answer);
        assert_ne!(next, refresh);
        refresh = next;
        sessions.insert(
            app.verifier
                .verify(&token)
                .await
                .unwrap()
                .user()
                .unwrap()
                .session
                .to_string(),
        );
    }
    assert_eq!((sessions.len(), app.count("sessions").await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_used_again_ends_the_whole_family() {
    let app = app().await;
    let stolen = app.customer("ada@example.com").await.refresh;
    let other = app.signed_in("ada@example.com").await;
    let (_, second) = tokens(&app.refresh(&stolen).await);
    app.wait(SignedDuration::from_mins(14)).await;
    let (_, third) = tokens(&app.refresh(&second).await);
    ended(&app.refresh(&stolen).await);
    for token in [&third, &second, &stolen] {
        ended(&app.refresh(token).await);
    }
    // Another sign-in is another family.
    tokens(&app.refresh(&other.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_within_ten_seconds_gets_a_sibling_that_is_as_good() {
    let app = app().await;
    let first = app.customer("ada@example.com").await.refresh;
    let (_, second) = tokens(&app.refresh(&first).await);
    app.wait(REPEAT_ALLOWED - millisecond()).await;
    let (_, sibling) = tokens(&app.refresh(&first).await);
    assert_ne!(sibling, second);
    let (_, of_second) = tokens(&app.refresh(&second).await);
    let (_, of_sibling) = tokens(&app.refresh(&sibling).await);
    app.wait(SignedDuration::from_mins(1)).await;
    tokens(&app.refresh(&of_second).await);
    tokens(&app.refresh(&of_sibling).await);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_ten_seconds_is_reuse() {
    let app = app().await;
    let first = app.customer("ada@example.com").await.refresh;
    let (_, second) = tokens(&app.refresh(&first).await);
    app.wait(REPEAT_ALLOWED).await;
    ended(&app.refresh(&first).await);
    ended(&app.refresh(&second).await);
    assert_eq!(app.count("sessions").await, 0);
}

#[tokio::test(start_paused = true)]
async fn refreshes_at_once_with_one_token_all_succeed() {
    let app = std::sync::Arc::new(app().await);
    let first = app.customer("ada@example.com").await.refresh;
    let tabs: Vec<_> = (0..8)
        .map(|_| {
            let (app, first) = (std::sync::Arc::clone(&app), first.clone());
            tokio::spawn(async move { tokens(&app.refresh(&first).await).1 })
        })
        .collect();
    app.wait(SignedDuration::from_mins(14)).await;
    for tab in tabs {
        tokens(&app.refresh(&tab.await.unwrap()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_issued_ends_no_session() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    // A session's id is in its access token and in an event; it must not be enough to end the session.
    let mut bytes = URL_SAFE_NO_PAD.decode(&ada.refresh).unwrap();
    bytes[20] ^= 1;
    let forged = URL_SAFE_NO_PAD.encode(&bytes);
    for wrong in [&*forged, "x", &ada.token, &"A".repeat(107)] {
        ended(&app.refresh(wrong).await);
    }
    assert_eq!(
        app.post("/api/token/refresh", json!({"refresh_token": {"$ne": ""}}))
            .await
            .status,
        422
    );
    assert_eq!(app.post("/api/token/refresh", json!({})).await.status, 422);
    tokens(&app.refresh(&ada.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_thirty_days_after_its_last_use_and_is_deleted() {
    let app = app().await;
    let first = app.customer("ada@example.com").await.refresh;
    app.harness
        .clock()
        .jump(REFRESH_TOKEN_LIFETIME - SignedDuration::from_secs(1));
    let (_, second) = tokens(&app.refresh(&first).await);
    app.harness.clock().jump(REFRESH_TOKEN_LIFETIME);
    ended(&app.refresh(&second).await);
    let bob = app.customer("bob@example.com").await.refresh;
    app.wait(SignedDuration::from_secs(2)).await;
    assert_eq!(app.count("sessions").await, 1);
    app.harness.clock().jump(REFRESH_TOKEN_LIFETIME);
    app.wait(SignedDuration::from_secs(2)).await;
    assert_eq!(app.count("sessions").await, 0);
    ended(&app.refresh(&bob).await);
}

#[tokio::test(start_paused = true)]
async fn signing_out_ends_this_session_at_once() {
    let app = app().await;
    let here = app.customer("ada@example.com").await;
    let there = app.signed_in("ada@example.com").await;
    let log_out = async || {
        app.request("POST", "/api/logout", Some(&here.token), &[], None)
            .await
            .status
    };
    assert_eq!(log_out().await, 204);
    assert_eq!(log_out().await, 204);
    ended(&app.refresh(&here.refresh).await);
    tokens(&app.refresh(&there.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn sessions_and_tokens_outlive_a_restart() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let app = crate::fixture::start(
        app.harness,
        std::sync::Arc::new(users::SimulatedHasher),
        users::Config::default(),
    )
    .await;
    assert_eq!(app.get("/api/users/me", &ada.token).await.status, 200);
    tokens(&app.refresh(&ada.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn the_key_set_holds_public_keys_and_may_be_kept_for_a_moment() {
    let app = app().await;
    let answer = app.request("GET", "/.well-known/jwks.json", None, &[], None).await;
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, "public, max-age=15")
    );
    let keys = answer.body["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(
        (&keys[0]["kty"], &keys[0]["crv"], &keys[0]["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    assert!(keys[0].get("d").is_none() && keys[0]["kid"].is_string());
    let ada = app.customer("ada@example.com").await;
    app.keys.rotate().await.unwrap();
    let answer = app.request("GET", "/.well-known/jwks.json", None, &[], None).await;
    assert_eq!(answer.body["keys"].as_array().unwrap().len(), 2);
    app.wait(PUBLISHED_AHEAD).await;
    let eve = app.signed_in("ada@example.com").await;
    for token in [&ada.token, &eve.token] {
        assert_eq!(app.get("/api/users/me", token).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn only_hashes_of_refresh_tokens_are_kept() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let (_, next) = tokens(&app.refresh(&ada.refresh).await);
    let everything = app.everything().await.join("\n");
    for token in [&ada.refresh, &next] {
        let secret = &URL_SAFE_NO_PAD.decode(token).unwrap()[16..48];
        for shown in [token.clone(), URL_SAFE_NO_PAD.encode(secret), token[24..60].to_owned()] {
            assert!(!everything.contains(&shown));
        }
    }
}
