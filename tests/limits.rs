//! Gateways that count requests together, in a Redis that may be away.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use servers::{Kind, Server as Redis};
use support::{Server, Settings, eventually, tradewind};
use tempfile::TempDir;
use tokio::time::Instant;

const SERVICES: [&str; 7] = [
    "users",
    "catalog",
    "inventory",
    "orders",
    "payments",
    "notifications",
    "events",
];
/// What an address has for a long time.
const QUOTA: u64 = 6;
/// So many requests do not get answers in so short a time if each waits for what stands still.
const REQUESTS: u32 = 200;
const AT_ONCE: Duration = Duration::from_secs(8);
/// How a log begins to tell of an outage, and how it tells that one is over.
const AWAY: &str = "this gateway counts for itself";
const BACK: &str = "counts requests again";

/// Two gateways in front of a shop, and a Redis.
struct Shop {
    gateways: [Server; 2],
    redis: Redis,
    _services: Server,
    _place: TempDir,
}

impl Shop {
    async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let redis = Redis::start(Kind::Redis, &place.path().join("redis")).unwrap();
        let services = Server::start().await;
        Self {
            gateways: [
                gateway(&services, &redis).start().await,
                gateway(&services, &redis).start().await,
            ],
            redis,
            _services: services,
            _place: place,
        }
    }

    /// What an address that nobody had before is told that asks both gateways in turn; nothing where it is refused.
    async fn told(&self) -> Vec<Option<u64>> {
        let address = address();
        let mut told = Vec::new();
        for _ in 0..QUOTA {
            for gateway in &self.gateways {
                told.push(ask(gateway, &address).await);
            }
        }
        told
    }

    async fn until_counted_together(&self) {
        let together: Vec<Option<u64>> = (0..QUOTA).rev().map(Some).chain((0..QUOTA).map(|_| None)).collect();
        eventually("the gateways count together", async || {
            (self.told().await == together).then_some(())
        })
        .await;
    }

    async fn until_each_counts_for_itself(&self) {
        let apart: Vec<Option<u64>> = (0..QUOTA).rev().flat_map(|left| [Some(left); 2]).collect();
        eventually("each gateway counts for itself", async || {
            (self.told().await == apart).then_some(())
        })
        .await;
    }
}

fn gateway(services: &Server, redis: &Redis) -> Settings {
    let settings = Server::settings()
        .running(&["gateway"])
        .with("rate_limit_anonymous", &format!("{QUOTA}/31d"))
        .with("trusted_proxies", "127.0.0.1")
        .with("redis", &redis.url());
    SERVICES.iter().fold(settings, |settings, service| {
        settings.with(&format!("{service}_url"), services.url())
    })
}

/// One that nobody had before.
fn address() -> String {
    static COUNTED: AtomicU32 = AtomicU32::new(0);
    let [_, high, middle, low] = COUNTED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("10.{high}.{middle}.{low}")
}

/// What a gateway says is left, of one more request from this address; nothing if it is refused.
async fn ask(gateway: &Server, address: &str) -> Option<u64> {
    let nobody = gateway.anonymous();
    let answer = nobody.get("/api/products").header("x-forwarded-for", address).await;
    if answer.status == 429 {
        return None;
    }
    let answer = answer.expect(200);
    let (_, rest) = answer.header("ratelimit").split_once("r=").unwrap();
    Some(rest.split(';').next().unwrap().parse().unwrap())
}

/// How often each outage is told of.
fn told_in_the_log(gateway: &Server) -> (usize, usize) {
    let log = gateway.log();
    let count = |words| log.lines().filter(|line| line.contains(words)).count();
    (count(AWAY), count(BACK))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_with_one_redis_count_together_through_its_outages() {
    let mut shop = Shop::start().await;
    shop.until_counted_together().await;

    // It stands still: nobody waits for it, and each gateway has limits all the same.
    let before = told_in_the_log(&shop.gateways[0]);
    shop.redis.pause().unwrap();
    let began = Instant::now();
    for _ in 0..REQUESTS {
        ask(&shop.gateways[0], &address())
            .await
            .expect("it has asked nothing before");
    }
    assert!(
        began.elapsed() < AT_ONCE,
        "{REQUESTS} requests took {:?}",
        began.elapsed()
    );
    shop.until_each_counts_for_itself().await;
    assert_eq!(told_in_the_log(&shop.gateways[0]), (before.0 + 1, before.1));
    shop.redis.resume().unwrap();
    shop.until_counted_together().await;
    let log = shop.gateways[0].log();
    assert!(!log.contains(":shop@") && log.contains(BACK), "{log}");

    // It is gone, which a gateway that starts meanwhile does not mind either.
    shop.redis.kill().unwrap();
    shop.until_each_counts_for_itself().await;
    shop.gateways[1].restart().await;
    shop.until_each_counts_for_itself().await;
    shop.redis.start_again().unwrap();
    shop.until_counted_together().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_somebody_has_to_mend_is_refused_at_the_start() {
    let place = tempfile::tempdir().unwrap();
    let redis = Redis::start(Kind::Redis, &place.path().join("redis")).unwrap();
    let url = redis.url();
    let (_, host) = url.rsplit_once('@').unwrap();
    for (url, parts) in [
        (
            format!("redis://shop:swordfish@{host}"),
            ["TRADEWIND_REDIS", host, "check the user and the password"],
        ),
        (format!("{url}/999"), ["TRADEWIND_REDIS", host, "has no database 999"]),
        (
            format!("redis://shop:swordfish@{host}:x"),
            [
                "redis (from TRADEWIND_REDIS)",
                "redis://user:password@host:6379/0",
                "%40",
            ],
        ),
        (
            "http://swordfish".to_owned(),
            [
                "redis (from TRADEWIND_REDIS)",
                "must be the URL of a Redis",
                "rediss://",
            ],
        ),
    ] {
        let Output { status, stderr, .. } = serve(&url).await;
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(1), "{url}: {said}");
        assert!(
            said.starts_with("error: ") && said.lines().count() == 1,
            "{url}: {said}"
        );
        assert!(!said.contains("swordfish"), "{said}");
        for part in parts {
            assert!(said.contains(part), "{url}: it does not say {part:?}: {said}");
        }
    }
}

/// What becomes of a whole shop that counts there.
async fn serve(url: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::from(tradewind());
    command.arg("serve").current_dir(directory.path());
    command
        .env("TRADEWIND_LISTEN", "127.0.0.1:0")
        .env("TRADEWIND_REDIS", url);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(support::DEADLINE, command.output()).await;
    ended.expect("it ends").unwrap()
}
