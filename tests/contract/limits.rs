//! How many requests are let through, each limit on a server of its own.

use serde_json::json;

use crate::support::{Actor, Answer, PASSWORD, Server};

/// What a rate limit's header says: `"anonymous";r=3;t=720`.
fn told(answer: &Answer, header: &str, policy: &str, parameter: &str) -> u64 {
    let all: Vec<&str> = answer
        .headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let item = all.iter().find(|item| item.starts_with(&format!("\"{policy}\";")));
    let item = item.unwrap_or_else(|| panic!("no {header} of {policy}: {answer}"));
    let value = item
        .split(';')
        .find_map(|part| part.strip_prefix(&format!("{parameter}=")));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{answer}"))
}

async fn spend(actor: &Actor, path: &str, requests: u64) {
    for _ in 0..requests {
        let answer = actor.get(path).await;
        assert_ne!(answer.status, 429, "{answer}");
    }
}

#[tokio::test]
async fn without_a_token_an_address_has_so_many_requests() {
    let server = Server::settings().with("rate_limit_anonymous", "5/1h").start().await;
    let nobody = server.anonymous();
    for left in (0..5).rev() {
        // One with a bad token, or to what is not there, counts like others: guessing is no way around.
        let answer = match left {
            1 => nobody.with_token("x").get("/api/users/me").await.expect(401),
            2 => nobody.get("/api/nothing").await.expect(404),
            _ => nobody.get("/api/products").await.expect(200),
        };
        assert_eq!(told(&answer, "ratelimit", "anonymous", "r"), left);
        assert_eq!(told(&answer, "ratelimit-policy", "anonymous", "q"), 5);
        assert_eq!(told(&answer, "ratelimit-policy", "anonymous", "w"), 3600);
    }
    for actor in [nobody.clone(), nobody.with_token("x"), nobody.with_token("a.b.c")] {
        let answer = actor.get("/api/products").await.refused(429, "rate-limited");
        let retry_after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=720).contains(&retry_after), "{answer}");
        assert_eq!(told(&answer, "ratelimit", "anonymous", "r"), 0);
        assert_eq!(told(&answer, "ratelimit", "anonymous", "t"), retry_after);
    }
    // Who says to be somebody else is not believed.
    for (name, value) in [
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-for", "198.51.100.7, 127.0.0.1"),
        ("forwarded", "for=198.51.100.7"),
        ("x-real-ip", "198.51.100.7"),
        ("cf-connecting-ip", "198.51.100.7"),
        ("true-client-ip", "198.51.100.7"),
    ] {
        nobody
            .get("/api/products")
            .header(name, value)
            .await
            .refused(429, "rate-limited");
    }
    let login = json!({"email": "a@example.com", "password": PASSWORD});
    nobody.post("/api/login", login).await.refused(429, "rate-limited");
    // What is not counted is not refused, either.
    for _ in 0..20 {
        for path in ["/", "/healthz", "/readyz", "/metrics"] {
            let answer = nobody.get(path).await.expect(200);
            assert!(answer.headers.get("ratelimit").is_none(), "{answer}");
        }
    }
}

#[tokio::test]
async fn with_a_token_a_user_has_so_many_requests_from_wherever() {
    let server = Server::settings().with("rate_limit_user", "6/1h").start().await;
    let (customer, other) = (server.customer().await, server.customer().await);
    let first = customer.get("/api/products").await.expect(200);
    assert_eq!(told(&first, "ratelimit", "user", "r"), 5);
    assert_eq!(told(&first, "ratelimit-policy", "user", "q"), 6);
    // Another session of the same person is the same person.
    let again = server.anonymous().signed_in(&customer.email, PASSWORD).await;
    spend(&again, "/api/users/me", 5).await;
    for actor in [&customer, &again] {
        let answer = actor.get("/api/users/me").await.refused(429, "rate-limited");
        assert_eq!(told(&answer, "ratelimit", "user", "r"), 0);
    }
    other.get("/api/users/me").await.expect(200);
    let anonymous = server.anonymous().get("/api/products").await.expect(200);
    assert!(anonymous.headers.get("ratelimit").is_none(), "{anonymous}");
}

#[tokio::test]
async fn an_address_has_so_many_requests_whoever_sends_them() {
    let server = Server::settings()
        .with("rate_limit_ip", "10/1h")
        .with("rate_limit_user", "100/1h")
        .start()
        .await;
    // Signing up and in are two.
    let customer = server.customer().await;
    let answer = customer.get("/api/users/me").await.expect(200);
    assert_eq!(told(&answer, "ratelimit", "ip", "r"), 7);
    assert_eq!(told(&answer, "ratelimit", "user", "r"), 99);
    spend(&server.anonymous(), "/api/products", 4).await;
    spend(&customer, "/api/users/me", 3).await;
    for actor in [&customer, &server.anonymous()] {
        actor.get("/api/products").await.refused(429, "rate-limited");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let settings = Server::settings().with("rate_limit_anonymous", "2/1h");
    let server = settings.with("trusted_proxies", "127.0.0.1, 10.0.0.0/8").start().await;
    let from = |addresses: &str| {
        server
            .anonymous()
            .get("/api/products")
            .header("x-forwarded-for", addresses)
    };
    for client in ["198.51.100.1", "198.51.100.2", "2001:db8::1"] {
        for _ in 0..2 {
            from(client).await.expect(200);
        }
        from(client).await.refused(429, "rate-limited");
        // What stands before what a proxy of ours has written, the client has.
        from(&format!("203.0.113.9, {client}"))
            .await
            .refused(429, "rate-limited");
        from(&format!("{client}, 10.1.2.3")).await.refused(429, "rate-limited");
    }
    // A /64 is one client.
    from("2001:db8::ffff").await.refused(429, "rate-limited");
    from("2001:db8:1::1").await.expect(200);
}

#[tokio::test]
async fn limits_that_are_off_are_not_spoken_of() {
    let server = Server::start().await;
    let customer = server.customer().await;
    for answer in [
        server.anonymous().get("/api/products").await,
        customer.get("/api/products").await,
    ] {
        assert!(answer.headers.get("ratelimit").is_none(), "{answer}");
        assert!(answer.headers.get("ratelimit-policy").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn the_limits_are_those_of_the_contract_unless_configured() {
    let settings = Server::settings()
        .without("rate_limit_anonymous")
        .without("rate_limit_user");
    let server = settings.start().await;
    let anonymous = server.anonymous().get("/api/products").await.expect(200);
    assert_eq!(anonymous.header("ratelimit-policy"), "\"anonymous\";q=100;w=900");
    let customer = server.customer().await.get("/api/products").await.expect(200);
    assert_eq!(customer.header("ratelimit-policy"), "\"user\";q=6000;w=900");
}
