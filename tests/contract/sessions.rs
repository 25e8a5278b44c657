//! Signing in and out, refreshing, and changing the password.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{Actor, Answer, PASSWORD, Server, shop, unique};

const FIELDS: &str = "token token_type expires_in refresh_token user_id";
/// A refresh token that is used again within this time gets a sibling.
const REPEAT_ALLOWED: Duration = Duration::from_secs(10);

async fn log_in(actor: &Actor, email: &str, password: &str) -> Answer {
    actor
        .post("/api/login", json!({"email": email, "password": password}))
        .await
}

async fn refresh(actor: &Actor, token: &str) -> Answer {
    actor.post("/api/token/refresh", json!({"refresh_token": token})).await
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_says_who_and_for_how_long_and_is_verified_by_a_published_key() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let answer = log_in(&shop.anonymous, &customer.email, PASSWORD)
        .await
        .expect(200)
        .has_fields(FIELDS);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        (&answer.json["token_type"], &answer.json["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    assert_eq!(answer.text_at("user_id"), customer.id);
    let token = answer.text_at("token");
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(
        (&claims["sub"], &claims["role"]),
        (&json!(customer.id), &json!("customer"))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        15 * 60
    );
    for claim in ["iss", "aud", "sid"] {
        assert!(claims[claim].is_string(), "{claims}");
    }
    assert!(!claims.to_string().contains(&customer.email), "{claims}");

    let keys = shop
        .anonymous
        .get("/.well-known/jwks.json")
        .await
        .expect(200)
        .has_fields("keys");
    let keys = keys.json["keys"].as_array().unwrap().clone();
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    assert!(
        key["x"].is_string() && keys.iter().all(|key| key.get("d").is_none()),
        "{keys:?}"
    );
    shop.admin.until_event("user.logged_in", &customer.id).await;
}

#[tokio::test]
async fn an_unknown_email_looks_as_a_wrong_password_does_and_takes_as_long() {
    // Alone, so that others do not slow one of the two down.
    let server = Server::start().await;
    let nobody = server.anonymous();
    let mut times = [Vec::new(), Vec::new()];
    let mut bodies = Vec::new();
    let customers = [
        server.customer().await,
        server.customer().await,
        server.customer().await,
    ];
    for round in 0..12 {
        let unknown = format!("{}@example.com", unique("unknown"));
        for (known, email) in [(0, &customers[round % 3].email), (1, &unknown)] {
            let started = tokio::time::Instant::now();
            let answer = log_in(&nobody, email, "a wrong password")
                .await
                .refused(401, "invalid-credentials");
            times[known].push(started.elapsed());
            let mut body = answer.json;
            body.as_object_mut().unwrap().remove("instance");
            let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            bodies.push((body, names));
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    let [known, unknown] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "known {known:?}, unknown {unknown:?}");
    // Not because neither is verified: a password costs as much as Argon2id with 19 MiB does.
    assert!(known > Duration::from_millis(3), "{known:?}");
}

#[tokio::test]
async fn what_is_no_password_is_refused_without_a_look() {
    let shop = shop().await;
    let customer = shop.customer().await;
    for password in [json!({"$ne": ""}), json!(["x"]), json!(null), json!(true), json!(1)] {
        let body = json!({"email": customer.email, "password": password});
        shop.anonymous
            .post("/api/login", body)
            .await
            .refused_field(422, "invalid", "password");
    }
    for email in [json!({"$gt": ""}), json!("' OR 1=1 --"), json!(null)] {
        let body = json!({"email": email, "password": PASSWORD});
        shop.anonymous
            .post("/api/login", body)
            .await
            .refused_field(422, "invalid", "email");
    }
    for password in [
        "correct horse battery stapl",
        "Correct horse battery staple",
        "' OR '1'='1",
        " ",
        "",
    ] {
        let answer = log_in(&shop.anonymous, &customer.email, password).await;
        assert!(matches!(answer.status, 401 | 422), "{answer}");
    }
}

#[tokio::test]
async fn too_many_wrong_passwords_close_the_account_for_a_while_known_or_not() {
    let shop = shop().await;
    let (customer, other) = (shop.customer().await, shop.customer().await);
    for email in [customer.email.clone(), format!("{}@example.com", unique("unknown"))] {
        let tries = (0..40).map(|_| log_in(&shop.anonymous, &email, "a wrong password"));
        let statuses: Vec<u16> = futures::future::join_all(tries)
            .await
            .iter()
            .map(|answer| answer.status)
            .collect();
        let wrong = statuses.iter().filter(|status| **status == 401).count();
        assert!(
            statuses.iter().all(|status| matches!(status, 401 | 429)),
            "{statuses:?}"
        );
        assert!(wrong <= 10, "{wrong} guesses got through: {statuses:?}");
        let answer = log_in(&shop.anonymous, &email, PASSWORD)
            .await
            .refused(429, "rate-limited");
        assert!(
            answer.header("retry-after").parse::<u64>().unwrap() <= 15 * 60,
            "{answer}"
        );
    }
    log_in(&shop.anonymous, &other.email, PASSWORD).await.expect(200);
    // Whoever is signed in goes on.
    customer.get("/api/users/me").await.expect(200);
    refresh(&shop.anonymous, customer.refresh_token.as_ref().unwrap())
        .await
        .expect(200);
}

#[tokio::test]
async fn a_refresh_token_is_spent_for_the_next() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let mut token = customer.refresh_token.clone().unwrap();
    for _ in 0..3 {
        let answer = refresh(&shop.anonymous, &token).await.expect(200).has_fields(FIELDS);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.text_at("user_id"), customer.id);
        assert_ne!(answer.text_at("refresh_token"), token);
        token = answer.text_at("refresh_token");
        shop.anonymous
            .with_token(&answer.text_at("token"))
            .get("/api/users/me")
            .await
            .expect(200);
        // An access token is none to refresh with, and the other way round.
        refresh(&shop.anonymous, &answer.text_at("token"))
            .await
            .refused(401, "session-ended");
        shop.anonymous
            .with_token(&token)
            .get("/api/users/me")
            .await
            .refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_repeat_within_ten_seconds_gets_a_sibling_and_one_after_them_ends_the_family() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let first = customer.refresh_token.clone().unwrap();
    let second = refresh(&shop.anonymous, &first)
        .await
        .expect(200)
        .text_at("refresh_token");
    let spent = tokio::time::Instant::now();
    let sibling = refresh(&shop.anonymous, &first)
        .await
        .expect(200)
        .text_at("refresh_token");
    assert_ne!(second, sibling);
    let third = refresh(&shop.anonymous, &second)
        .await
        .expect(200)
        .text_at("refresh_token");
    let another_session = log_in(&shop.anonymous, &customer.email, PASSWORD).await.expect(200);

    // Time itself is what is waited for.
    tokio::time::sleep_until(spent + REPEAT_ALLOWED + Duration::from_millis(500)).await;
    refresh(&shop.anonymous, &first).await.refused(401, "session-ended");
    for token in [&second, &sibling, &third] {
        refresh(&shop.anonymous, token).await.refused(401, "session-ended");
    }
    refresh(&shop.anonymous, &another_session.text_at("refresh_token"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_made_up_refresh_token_is_refused_and_ends_nothing() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let good = customer.refresh_token.clone().unwrap();
    let mut forged = URL_SAFE_NO_PAD.decode(&good).unwrap();
    forged[20] ^= 1;
    for wrong in [
        URL_SAFE_NO_PAD.encode(&forged),
        "x".to_owned(),
        good[1..].to_owned(),
        format!("{good}A"),
    ] {
        refresh(&shop.anonymous, &wrong).await.refused(401, "session-ended");
    }
    shop.anonymous
        .post("/api/token/refresh", json!({"refresh_token": {"$ne": ""}}))
        .await
        .refused(422, "invalid");
    refresh(&shop.anonymous, &good).await.expect(200);
}

#[tokio::test]
async fn signing_out_ends_this_session() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let other_session = shop.anonymous.signed_in(&customer.email, PASSWORD).await;
    customer.request("POST", "/api/logout").await.expect(204);
    refresh(&shop.anonymous, customer.refresh_token.as_ref().unwrap())
        .await
        .refused(401, "session-ended");
    customer.request("POST", "/api/logout").await.expect(204);
    refresh(&shop.anonymous, other_session.refresh_token.as_ref().unwrap())
        .await
        .expect(200);
    shop.anonymous
        .request("POST", "/api/logout")
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn a_new_password_ends_other_sessions() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let other_session = shop.anonymous.signed_in(&customer.email, PASSWORD).await;
    let path = format!("/api/users/{}/password", customer.id);
    let change =
        |current: &str, new: &str| customer.post(&path, json!({"current_password": current, "new_password": new}));
    change("wrong", "another password")
        .await
        .refused(401, "invalid-credentials");
    change(PASSWORD, "1234567")
        .await
        .refused_field(422, "invalid", "new_password");
    change(PASSWORD, &"x".repeat(257))
        .await
        .refused_field(422, "invalid", "new_password");
    let changed = change(PASSWORD, "another password").await.expect(204);
    assert_eq!(changed.text, "");
    log_in(&shop.anonymous, &customer.email, PASSWORD)
        .await
        .refused(401, "invalid-credentials");
    log_in(&shop.anonymous, &customer.email, "another password")
        .await
        .expect(200);
    refresh(&shop.anonymous, other_session.refresh_token.as_ref().unwrap())
        .await
        .refused(401, "session-ended");
    refresh(&shop.anonymous, customer.refresh_token.as_ref().unwrap())
        .await
        .expect(200);
}
