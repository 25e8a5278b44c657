use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::Router;
use contracts::{Role, Service};
use insta::assert_snapshot;
use jiff::SignedDuration;
use kernel::auth::{Caller, FetchError, Jwks, KeySource, Verifier};
use kernel::clock::Clock as _;

use crate::fixture::{request, setup, user};

#[tokio::test]
async fn a_verified_caller_is_passed_on() {
    let app = setup().open();
    let caller = async |token: &str| app.get("/api/orders", &[("authorization", token)]).await.json()["caller"].clone();
    assert_eq!(caller(&app.customer(1)).await, user(1, Role::Customer).id.to_string());
    assert_eq!(
        caller(&app.bearer(Caller::Service(Service::Notifications))).await,
        "service:notifications"
    );
    assert!(app.get("/api/products", &[]).await.json()["caller"].is_null());
}

#[tokio::test]
async fn a_bad_token_is_refused_before_the_service_hears_of_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let orders = Router::new().fallback(async move || counted.fetch_add(1, Ordering::Relaxed).to_string());
    let app = setup().with(Service::Orders, orders).open();
    for bad in ["Bearer x", "Bearer ", "Basic YTpi", "x", &app.customer(1)[7..]] {
        let answer = app.get("/api/orders", &[("authorization", bad)]).await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, r#"Bearer error="invalid_token""#),
            "{bad}"
        );
    }
    let token = app.customer(1);
    app.clock.jump(SignedDuration::from_mins(16));
    assert_snapshot!(app.get("/api/orders", &[("authorization", &token)]).await.shown(), @r#"401 {"type":"/docs/errors#token-expired","title":"Token expired","status":401,"detail":"Refresh the token at /api/token/refresh, or sign in again.","instance":"/api/orders#ID","code":"token-expired"}"#);
    let token = app.customer(1);
    app.verifier.refuse_user(
        user(1, Role::Customer).id,
        app.clock.now() + SignedDuration::from_mins(15),
    );
    assert_eq!(app.get("/api/orders", &[("authorization", &token)]).await.status, 401);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[derive(Debug)]
struct Unreachable;

#[async_trait]
impl KeySource for Unreachable {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        Err(FetchError::new("10.0.0.7 is down"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_verified_now_is_not_called_bad() {
    let mut setup = setup();
    setup.verifier = Arc::new(Verifier::new(Arc::new(Unreachable), Arc::clone(&setup.clock) as _));
    let app = setup.open();
    let answer = app.get("/api/orders", &[("authorization", &app.customer(1))]).await;
    assert_eq!(
        (answer.header("retry-after"), answer.header("www-authenticate")),
        ("1", "")
    );
    assert_snapshot!(answer.shown(), @r#"503 {"type":"/docs/errors#keys-unavailable","title":"Signing keys unavailable","status":503,"detail":"Repeat the request after the Retry-After; no token can be verified yet.","instance":"/api/orders#ID","code":"keys-unavailable"}"#);
    assert_eq!(app.get("/api/products", &[]).await.status, 200);
}

#[tokio::test]
async fn what_a_client_says_of_itself_gains_nothing() {
    let app = setup().open();
    let claims = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "admin.internal"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-caller", "service:orders"),
        ("x-user-id", "usr_01h455vb4pex5vsknk084sn02q"),
        ("x-role", "admin"),
    ];
    let answer = app.get("/api/orders", &claims).await.json();
    assert!(answer["caller"].is_null());
    for (name, _) in &claims[..5] {
        assert_eq!(answer["headers"].get(name), None, "{name}");
    }
    // Not even what a server in front might leave among the extensions is believed.
    let mut forged = request("GET", "/api/orders", &[]);
    forged.extensions_mut().insert(Caller::User(user(1, Role::Admin)));
    assert!(app.send(forged).await.json()["caller"].is_null());
    let mut forged = request("GET", "/api/orders", &[("authorization", &app.customer(2))]);
    forged.extensions_mut().insert(Caller::User(user(1, Role::Admin)));
    assert_eq!(
        app.send(forged).await.json()["caller"],
        user(2, Role::Customer).id.to_string()
    );
}
