use axum::Router;
use axum::response::IntoResponse;
use contracts::Service;
use gateway::config::Origins;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::fixture::{Answer, App, setup};

fn products(bytes: usize, content_type: &'static str) -> Router {
    Router::new().fallback(async move || ([(CONTENT_TYPE, content_type)], "x".repeat(bytes)))
}

async fn compressed(bytes: usize, content_type: &'static str, accepted: &str) -> (String, usize, String) {
    let app = setup().with(Service::Catalog, products(bytes, content_type)).open();
    let answer = app.get("/api/products", &[("accept-encoding", accepted)]).await;
    assert_eq!(answer.status, 200);
    (
        answer.header("content-encoding").to_owned(),
        answer.body.len(),
        answer.header("vary").to_owned(),
    )
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_who_asks() {
    for (accepted, coding) in [
        ("br", "br"),
        ("gzip", "gzip"),
        ("gzip, deflate, br", "br"),
        ("br;q=0, gzip;q=0.1", "gzip"),
    ] {
        let (encoding, bytes, vary) = compressed(2000, "application/json", accepted).await;
        assert_eq!((&*encoding, &*vary), (coding, "accept-encoding"), "{accepted}");
        assert!(bytes < 100, "{bytes}");
    }
}

#[tokio::test]
async fn small_answers_images_and_those_nobody_asked_for_stay_as_they_are() {
    for (bytes, content_type, accepted) in [
        (1024, "application/json", "br"),
        (2000, "image/png", "br"),
        (2000, "text/event-stream", "br"),
        (2000, "application/json", ""),
        (2000, "application/json", "identity"),
        (2000, "application/json", "zstd, identity;q=0"),
    ] {
        let (encoding, sent, _) = compressed(bytes, content_type, accepted).await;
        assert_eq!((&*encoding, sent), ("", bytes), "{accepted}");
    }
    let mut setup = setup().with(Service::Catalog, products(2000, "application/json"));
    setup.config.compression = false;
    assert_eq!(
        setup
            .open()
            .get("/api/products", &[("accept-encoding", "br")])
            .await
            .body
            .len(),
        2000
    );
}

#[tokio::test]
async fn every_answer_tells_browsers_to_take_it_for_what_it_is() {
    let users = Router::new().fallback(async || {
        let policy = [(CONTENT_SECURITY_POLICY, "default-src 'self'")];
        (StatusCode::OK, policy, "<p>").into_response()
    });
    let app = setup().with(Service::Users, users).open();
    for path in ["/api/orders", "/nowhere", "/healthz"] {
        let answer = app.get(path, &[]).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    assert_eq!(
        app.get("/api/users/me", &[]).await.header("content-security-policy"),
        "default-src 'self'"
    );
}

const SHOP: (&str, &str) = ("origin", "https://shop.example");
const PREFLIGHT: [(&str, &str); 3] = [
    SHOP,
    ("access-control-request-method", "POST"),
    (
        "access-control-request-headers",
        "authorization,content-type,idempotency-key",
    ),
];

fn open_to(origins: &[&str]) -> App {
    let mut setup = setup().limited("2/1h", "off", "off");
    setup.config.cors_origins = Origins::try_from(origins.iter().map(|&it| it.to_owned()).collect::<Vec<_>>()).unwrap();
    setup.open()
}

fn is_cors(answer: &Answer) -> bool {
    answer
        .headers
        .keys()
        .any(|name| name.as_str().starts_with("access-control-"))
}

#[tokio::test]
async fn by_default_no_web_page_is_let_in() {
    let app = open_to(&[]);
    assert!(!is_cors(&app.get("/api/products", &[SHOP]).await));
    assert!(!is_cors(&app.request("OPTIONS", "/api/products", &PREFLIGHT).await));
}

#[tokio::test]
async fn a_preflight_is_answered_at_the_door_and_not_counted() {
    let app = open_to(&["https://shop.example", "http://localhost:5173"]);
    for _ in 0..3 {
        let preflight = app.request("OPTIONS", "/api/orders", &PREFLIGHT).await;
        assert_eq!((preflight.status, preflight.text()), (200, ""));
        assert_eq!(preflight.header("access-control-allow-origin"), "https://shop.example");
        assert_eq!(
            preflight.header("access-control-allow-methods"),
            "GET,HEAD,POST,PUT,PATCH,DELETE"
        );
        assert_eq!(preflight.header("access-control-max-age"), "7200");
        let allowed = preflight.header("access-control-allow-headers");
        assert!(
            ["authorization", "idempotency-key", "if-match"]
                .iter()
                .all(|name| allowed.contains(name)),
            "{allowed}"
        );
        assert_eq!(preflight.header("x-request-id").len(), 36);
    }
    // One that is no preflight is a request like any other.
    let options = app.request("OPTIONS", "/api/orders", &[SHOP]).await;
    assert_eq!(options.json()["method"], "OPTIONS");
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_answers_and_their_headers() {
    let app = open_to(&["https://shop.example", "http://localhost:5173"]);
    let answer = app.get("/api/products", &[SHOP]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://shop.example");
    let exposed = answer.header("access-control-expose-headers");
    for name in [
        "etag",
        "location",
        "retry-after",
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
    ] {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{exposed}");
    }
    assert!(answer.header("vary").contains("origin"));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let other = app.get("/api/products", &[("origin", "https://evil.example")]).await;
    assert_eq!(other.header("access-control-allow-origin"), "");
    // Refusals too, or pages would not learn why.
    let refused = app.get("/api/products", &[SHOP]).await;
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (429, "https://shop.example")
    );
}

#[tokio::test]
async fn all_origins_may_be_let_in() {
    let app = open_to(&["*"]);
    assert_eq!(
        app.get("/api/products", &[SHOP])
            .await
            .header("access-control-allow-origin"),
        "*"
    );
}
