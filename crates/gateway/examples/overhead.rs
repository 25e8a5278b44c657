//! What the gateway and the kernel's layer cost per request, on one core, without a network:
//! `cargo run --release -p gateway --example overhead`.
//!
//! Each line is the best of several rounds, in nanoseconds per request. The first is a handler in a bare router, the
//! second the same behind the kernel's layer, and the others go through the gateway to that.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::routing::get;
use contracts::{Role, Service, SessionId, UserId};
use gateway::config::{Origins, RateLimits};
use gateway::{Config, Gateway};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use kernel::auth::{Claims, Jwks, SigningKey, User, Verifier};
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::http::{Kit, Versioned, Write, serve_with};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt;

const ROUNDS: u32 = 2_000;
/// Few, so that requests made beforehand stay in the processor's cache, as one does that has just been read.
const REQUESTS_PER_ROUND: u32 = 50;

#[derive(serde::Deserialize)]
struct Order {
    #[expect(dead_code, reason = "only parsed")]
    sku: String,
}

fn routes() -> Router {
    let read = async || Versioned {
        version: 7,
        body: [("name", "Teapot"), ("sku", "TEA-1"), ("status", "active")],
    };
    Router::new().route(
        "/api/orders/{id}",
        get(read).post(async |order: Write<Order>| order.context.actor.to_string()),
    )
}

async fn measure<S>(name: &str, clock: &dyn Clock, service: &S, request: impl Fn() -> Request)
where
    S: tower::Service<Request, Response = Response, Error = std::convert::Infallible> + Clone,
{
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let requests: Vec<Request> = (0..REQUESTS_PER_ROUND).map(|_| request()).collect();
        let started = clock.monotonic();
        for request in requests {
            let Ok(response) = service.clone().oneshot(request).await;
            assert!(response.status().is_success(), "{}", response.status());
            black_box(response);
        }
        let taken = clock.monotonic().saturating_sub(started);
        best = best.min(taken.as_secs_f64() * 1e9 / f64::from(REQUESTS_PER_ROUND));
    }
    println!("{best:8.0} ns  {name}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    PrometheusBuilder::new()
        .install_recorder()
        .expect("nobody else records");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = Arc::new(Ids::from_entropy());
    let key = SigningKey::generate(&ids);
    let keys = Arc::new(Jwks {
        keys: vec![key.jwk().clone()],
    });
    let verifier = Arc::new(Verifier::new(keys, Arc::clone(&clock)));
    let user = User {
        id: UserId::from_uuid(ids.uuid(clock.now())),
        role: Role::Customer,
        session: SessionId::from_uuid(ids.uuid(clock.now())),
    };
    let token = format!("Bearer {}", key.sign(&Claims::of_user(user, clock.now())));
    let kit = Kit {
        service: "orders",
        verifier: Arc::clone(&verifier),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        idempotency_secret: [7; 32],
    };
    let gateway = |config: Config| {
        let upstreams = BTreeMap::from([(Service::Orders, serve_with(routes(), kit.clone()).into())]);
        Gateway::new(
            config,
            upstreams,
            Arc::clone(&verifier),
            Arc::clone(&clock),
            Arc::clone(&ids),
        )
        .open()
    };
    let off = || Config {
        rate_limit: RateLimits::OFF,
        ..Config::default()
    };
    let generous = "4000000000/15m".parse().expect("a rate");
    let limited = Config {
        rate_limit: RateLimits {
            anonymous: generous,
            user: generous,
            ip: generous,
        },
        ..off()
    };
    let any = Origins::try_from(vec!["*".to_owned()]).expect("an origin");

    let peer = ConnectInfo(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 4321)));
    let builder = || {
        Request::builder()
            .uri("/api/orders/ord_01h455vb4pex5vsknk084sn02q")
            .extension(peer)
    };
    let read = || builder().body(Body::empty()).expect("a request");
    let signed_in = || {
        builder()
            .header(AUTHORIZATION, &*token)
            .body(Body::empty())
            .expect("a request")
    };
    let browser = || {
        let request = builder()
            .header(ACCEPT_ENCODING, "gzip, deflate, br, zstd")
            .header("origin", "https://shop.example");
        request
            .header(AUTHORIZATION, &*token)
            .body(Body::empty())
            .expect("a request")
    };
    let write = || {
        let request = builder()
            .method("POST")
            .header(AUTHORIZATION, &*token)
            .header(CONTENT_TYPE, "application/json");
        request.body(Body::from(r#"{"sku":"TEA-1"}"#)).expect("a request")
    };
    measure("bare router", &*clock, &routes(), read).await;
    let service = serve_with(routes(), kit.clone());
    measure("kernel", &*clock, &service, read).await;
    measure("kernel, token", &*clock, &service, signed_in).await;
    measure("kernel, token, write", &*clock, &service, write).await;
    measure("gateway, no limits", &*clock, &gateway(off()), read).await;
    measure("gateway, no limits, token", &*clock, &gateway(off()), signed_in).await;
    let door = gateway(limited.clone());
    measure("gateway, limits", &*clock, &door, read).await;
    measure("gateway, limits, token", &*clock, &door, signed_in).await;
    measure("gateway, limits, token, write", &*clock, &door, write).await;
    let door = gateway(Config {
        cors_origins: any,
        ..limited
    });
    measure(
        "gateway, limits, token, CORS, small answer to a browser",
        &*clock,
        &door,
        browser,
    )
    .await;
}
