use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use gateway::RateLimiter;
use gateway::limit::{Policy, Verdict};
use insta::assert_snapshot;
use kernel::auth::Caller;

use crate::fixture::{Answer, setup};

fn told(answer: &Answer) -> String {
    let all = |name| {
        let values = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(", ")
    };
    format!(
        "{} {} | {} | {}",
        answer.status,
        all("ratelimit-policy"),
        all("ratelimit"),
        all("retry-after")
    )
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_token_are_limited_by_address() {
    let app = setup().limited("2/20s", "3/30s", "off").open();
    let from = async |peer: &str| told(&app.get_from(peer, "/api/products", &[]).await);
    assert_snapshot!(from("192.0.2.1").await, @r#"200 "anonymous";q=2;w=20 | "anonymous";r=1;t=10 |"#);
    assert_snapshot!(from("192.0.2.1").await, @r#"200 "anonymous";q=2;w=20 | "anonymous";r=0;t=10 |"#);
    tokio::time::advance(Duration::from_millis(1500)).await;
    assert_snapshot!(from("192.0.2.1").await, @r#"429 "anonymous";q=2;w=20 | "anonymous";r=0;t=9 | 9"#);
    assert_snapshot!(from("192.0.2.2").await, @r#"200 "anonymous";q=2;w=20 | "anonymous";r=1;t=10 |"#);
    tokio::time::advance(Duration::from_millis(8500)).await;
    assert_snapshot!(from("192.0.2.1").await, @r#"200 "anonymous";q=2;w=20 | "anonymous";r=0;t=10 |"#);
    assert_snapshot!(from("192.0.2.1").await, @r#"429 "anonymous";q=2;w=20 | "anonymous";r=0;t=10 | 10"#);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_problem_that_says_when_to_come_back() {
    let app = setup().limited("1/15m", "off", "off").open();
    app.get("/api/products", &[]).await;
    let refused = app.get("/api/products", &[]).await;
    assert_eq!(refused.header("retry-after"), "900");
    assert_snapshot!(refused.shown(), @r#"429 {"type":"/docs/errors#rate-limited","title":"Too many requests","status":429,"detail":"Wait as long as the Retry-After header says.","instance":"/api/products#ID","code":"rate-limited"}"#);
}

#[tokio::test(start_paused = true)]
async fn requests_with_a_token_are_limited_by_user_wherever_they_come_from() {
    let app = setup().limited("1/1h", "2/1h", "off").open();
    let [ada, bob] = [app.customer(1), app.customer(2)];
    let from = async |peer: &str, token: &str| {
        app.get_from(peer, "/api/orders", &[("authorization", token)])
            .await
            .status
    };
    assert_eq!(
        [
            from("192.0.2.1", &ada).await,
            from("192.0.2.2", &ada).await,
            from("192.0.2.3", &ada).await
        ],
        [200, 200, 429]
    );
    assert_eq!(from("192.0.2.1", &bob).await, 200);
    // The same address still has what it may send without a token.
    assert_eq!(app.get_from("192.0.2.1", "/api/products", &[]).await.status, 200);
    let service = app.bearer(Caller::Service(Service::Notifications));
    for _ in 0..5 {
        assert_eq!(from("192.0.2.1", &service).await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn guessing_tokens_and_paths_is_no_way_around_the_limit() {
    let app = setup().limited("3/1h", "off", "off").open();
    let guess = async |path, token| {
        app.get_from("192.0.2.1", path, &[("authorization", token)])
            .await
            .status
    };
    assert_eq!(guess("/api/orders", "Bearer x").await, 401);
    assert_eq!(guess("/api/orders", "Basic x").await, 401);
    assert_eq!(app.get_from("192.0.2.1", "/nowhere", &[]).await.status, 404);
    assert_eq!(guess("/api/orders", "Bearer y").await, 429);
    assert_eq!(app.get_from("192.0.2.1", "/nowhere", &[]).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn every_request_of_an_address_can_be_limited_too() {
    let app = setup().limited("5/1h", "5/1h", "2/1h").open();
    let token = app.customer(1);
    let signed_in = app
        .get_from("192.0.2.1", "/api/orders", &[("authorization", &token)])
        .await;
    assert_snapshot!(told(&signed_in), @r#"200 "ip";q=2;w=3600, "user";q=5;w=3600 | "ip";r=1;t=1800, "user";r=4;t=720 |"#);
    assert_eq!(app.get_from("192.0.2.1", "/api/products", &[]).await.status, 200);
    let refused = app
        .get_from("192.0.2.1", "/api/orders", &[("authorization", &token)])
        .await;
    assert_snapshot!(told(&refused), @r#"429 "ip";q=2;w=3600 | "ip";r=0;t=1800 | 1800"#);
}

#[tokio::test(start_paused = true)]
async fn without_limits_nothing_is_said_of_them() {
    let answer = setup().open().get("/api/products", &[]).await;
    assert_eq!(
        (answer.header("ratelimit"), answer.header("ratelimit-policy")),
        ("", "")
    );
}

#[tokio::test(start_paused = true)]
async fn health_metrics_and_signed_webhooks_are_not_counted() {
    let app = setup().limited("1/1h", "off", "1/1h").open();
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        for _ in 0..3 {
            let answer = app.get(path, &[]).await;
            assert!(answer.status != 429 && answer.header("ratelimit").is_empty(), "{path}");
        }
    }
    let app = setup().limited("1/1h", "off", "off").open();
    for _ in 0..3 {
        assert_eq!(
            app.request("POST", "/api/payments/stripe/webhook", &[]).await.status,
            200
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_choose_the_address_that_it_is_counted_under() {
    let app = setup().limited("1/1h", "off", "off").open();
    assert_eq!(
        app.get_from("192.0.2.1", "/api/products", &[("x-forwarded-for", "198.51.100.1")])
            .await
            .status,
        200
    );
    assert_eq!(
        app.get_from("192.0.2.1", "/api/products", &[("x-forwarded-for", "198.51.100.2")])
            .await
            .status,
        429
    );
}

#[tokio::test(start_paused = true)]
async fn behind_a_trusted_proxy_clients_are_counted_apart() {
    let mut setup = setup().limited("1/1h", "off", "off");
    setup.config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let app = setup.open();
    let through = async |forwarded: &str| {
        app.get_from("10.0.0.1", "/api/products", &[("x-forwarded-for", forwarded)])
            .await
            .status
    };
    assert_eq!(
        [through("198.51.100.1").await, through("198.51.100.2").await],
        [200, 200]
    );
    assert_eq!(through("198.51.100.1, 10.0.0.2").await, 429);
    // What the client wrote itself stands to the left of what the proxy saw.
    assert_eq!(through("203.0.113.1, 198.51.100.1").await, 429);
    assert_eq!(
        [
            through("2001:db8::1").await,
            through("2001:db8::2").await,
            through("2001:db8:0:1::1").await
        ],
        [200, 429, 200]
    );
}

/// Counts in some other place.
#[derive(Debug)]
struct Elsewhere;

#[async_trait]
impl RateLimiter for Elsewhere {
    async fn take(&self, policy: Policy, subject: u128) -> Verdict {
        assert_eq!(
            (policy, subject),
            (
                Policy::Anonymous,
                "::ffff:192.0.2.1".parse::<std::net::Ipv6Addr>().unwrap().to_bits()
            )
        );
        tokio::task::yield_now().await;
        Verdict::Refused {
            retry_after: Duration::from_millis(1001),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_can_be_counted_elsewhere() {
    let app = setup()
        .limited("100/15m", "off", "off")
        .open_with(|gateway| gateway.with_limiter(Arc::new(Elsewhere)));
    assert_snapshot!(told(&app.get_from("192.0.2.1", "/api/products", &[]).await), @r#"429 "anonymous";q=100;w=900 | "anonymous";r=0;t=2 | 2"#);
}
