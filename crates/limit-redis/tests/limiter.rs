//! The limiter on Redis against the port's contract, and what it owes besides.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gateway::RateLimiter;
use gateway::config::{Rate, RateLimits};
use gateway::limit::{Policy, Verdict};
use kernel::clock::SystemClock;
use limit_redis::{RedisLimiter, RedisLimiterOptions};
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, cmd};
use servers::{Kind, Server};
use tempfile::TempDir;
use testkit::limiter_suite::{CounterFactory, LimiterFactory};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long a request waits for the server where it is counted to the last one, on a machine that is busy with other tests.
const PATIENT: Duration = Duration::from_secs(20);
/// How long an outage may be noticed after its end.
const NOTICED_MAX: Duration = Duration::from_secs(30);
/// A lot more than a request waits for the server, and less than the connection does.
const NOT_LONG: Duration = Duration::from_millis(1500);
const GLANCE: Duration = Duration::from_millis(20);

fn options(url: &str, limits: RateLimits) -> RedisLimiterOptions {
    RedisLimiterOptions::new(url, limits, Arc::new(SystemClock::new())).expect("the server has a URL")
}

async fn open(options: RedisLimiterOptions) -> RedisLimiter {
    RedisLimiter::open(options).await.expect("the limiter opens")
}

/// A prefix of its own on the server that tests share.
struct Shared {
    url: String,
    prefix: String,
}

impl Shared {
    fn new() -> Self {
        let prefix = servers::unique_name();
        let url = format!("{}?prefix={prefix}", Kind::Redis.shared());
        Self { url, prefix }
    }

    /// What is kept there now.
    async fn keys(&self) -> BTreeSet<String> {
        let pattern = format!("{}:limit:*", self.prefix);
        tell(&mut operator(&Kind::Redis.shared()).await, &format!("KEYS {pattern}")).await
    }
}

#[async_trait]
impl LimiterFactory for Shared {
    async fn limiter(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        let mut options = options(&self.url, limits);
        options.answer_max = PATIENT;
        Arc::new(open(options).await)
    }
}

/// A server that nobody else uses.
struct Own {
    server: Arc<Mutex<Server>>,
    url: String,
    _directory: TempDir,
}

impl Own {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory for the test");
        let server = Server::start(Kind::Redis, &directory.path().join("redis")).expect("a server starts");
        Self {
            url: server.url(),
            server: Arc::new(Mutex::new(server)),
            _directory: directory,
        }
    }

    /// Starting and stopping block.
    async fn with(&self, act: impl FnOnce(MutexGuard<'_, Server>) + Send + 'static) {
        let server = Arc::clone(&self.server);
        let done = tokio::task::spawn_blocking(move || act(server.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.expect("it ends well");
    }
}

#[async_trait]
impl LimiterFactory for Own {
    async fn limiter(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        Arc::new(open(options(&self.url, limits)).await)
    }
}

#[async_trait]
impl CounterFactory for Own {
    async fn kill(&self) {
        self.with(|mut server| server.kill().expect("the server runs")).await;
    }

    async fn start(&self) {
        self.with(|mut server| server.start_again().expect("the server starts again"))
            .await;
    }

    async fn pause(&self) {
        self.with(|server| server.pause().expect("the server runs")).await;
    }

    async fn resume(&self) {
        self.with(|server| server.resume().expect("the server stands still"))
            .await;
    }
}

mod redis_limiter {
    use super::*;

    testkit::limiter_suite!(Shared::new());
    testkit::limiter_outage_suite!(Own::new());
}

/// A server as its operators see it.
async fn operator(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("the server has a URL");
    let connection = client.get_multiplexed_async_connection().await;
    connection.expect("the server is there")
}

async fn tell<T: FromRedisValue>(operator: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut told = cmd(words.next().expect("a command has a name"));
    words.for_each(|word| {
        told.arg(word);
    });
    told.query_async(operator).await.expect("the server does it")
}

fn users(rate: &str) -> RateLimits {
    let user: Rate = rate.parse().expect("a rate");
    RateLimits {
        user,
        ..RateLimits::OFF
    }
}

/// What is left after one more request of this user; nothing if that is refused.
async fn taken(limiter: &dyn RateLimiter, subject: u128) -> Option<u32> {
    match limiter.take(Policy::User, subject).await {
        Verdict::Admitted { remaining } => Some(remaining),
        Verdict::Refused { .. } => None,
    }
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < NOTICED_MAX, "{what}: not within {NOTICED_MAX:?}");
        sleep(GLANCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_count_together_and_admit_no_more_than_the_quota() {
    let shared = Shared::new();
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let gateway = shared.limiter(users("100/31d")).await;
        for _ in 0..100 {
            let gateway = Arc::clone(&gateway);
            asking.spawn(async move { taken(&*gateway, 1).await });
        }
    }
    let mut admitted: Vec<u32> = asking.join_all().await.into_iter().flatten().collect();
    admitted.sort_unstable();
    assert_eq!(admitted, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn shops_on_one_server_do_not_know_of_each_other() {
    let (one, other) = (Shared::new(), Shared::new());
    for shop in [&one, &other] {
        assert_eq!(taken(&*shop.limiter(users("2/1d")).await, 1).await, Some(1));
    }
}

#[tokio::test]
async fn what_is_whole_again_is_forgotten() {
    let shared = Shared::new();
    let limiter = shared.limiter(users("3/900s")).await;
    for _ in 0..5 {
        taken(&*limiter, 7).await;
    }
    let key = format!("{}:limit:user:{:032x}", shared.prefix, 7);
    let mut operator = operator(&Kind::Redis.shared()).await;
    let left: u64 = tell(&mut operator, &format!("PTTL {key}")).await;
    // Three of three were used, which takes the whole window to come back.
    assert!((800_000..=900_000).contains(&left), "{left} ms");

    let limiter = shared.limiter(users("1000/10s")).await;
    for subject in 100..200 {
        taken(&*limiter, subject).await;
    }
    until("nothing is kept of those", async || {
        shared.keys().await == BTreeSet::from([key.clone()])
    })
    .await;
}

#[tokio::test]
async fn a_quota_that_was_made_smaller_holds_nobody_up_for_the_larger_one() {
    let shared = Shared::new();
    let larger = shared.limiter(users("100/31d")).await;
    for _ in 0..100 {
        taken(&*larger, 1).await;
    }
    let smaller = shared.limiter(users("2/10s")).await;
    let Verdict::Refused { retry_after } = smaller.take(Policy::User, 1).await else {
        panic!("it is used up");
    };
    assert!(retry_after <= Duration::from_secs(5), "{retry_after:?}");
}

#[tokio::test]
async fn a_server_that_forgets_its_scripts_is_told_them_again() {
    let own = Own::new();
    let mut options = options(&own.url, users("3/1d"));
    options.answer_max = PATIENT;
    let limiter = open(options).await;
    assert_eq!(taken(&limiter, 1).await, Some(2));
    tell::<()>(&mut operator(&own.url).await, "SCRIPT FLUSH").await;
    assert_eq!(taken(&limiter, 1).await, Some(1));
}

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_once_and_not_for_long() {
    let own = Own::new();
    let limiter = own.limiter(users("1000/1d")).await;
    assert_eq!(taken(&*limiter, 1).await, Some(999));
    own.pause().await;
    let began = Instant::now();
    // Of its own count nothing is used yet.
    assert_eq!(taken(&*limiter, 1).await, Some(999));
    assert!(began.elapsed() < NOT_LONG, "{:?}", began.elapsed());
    own.resume().await;
}

#[tokio::test]
async fn a_connection_that_was_closed_is_made_again_at_once() {
    let own = Own::new();
    let limiter = own.limiter(users("1000/1d")).await;
    // One that was just made would be left alone for a while.
    sleep(Duration::from_millis(1100)).await;
    tell::<u64>(&mut operator(&own.url).await, "CLIENT KILL SKIPME yes").await;
    let killed = Instant::now();
    until("it is counted there again", async || {
        let before = taken(&*limiter, 1).await;
        let operator = &mut operator(&own.url).await;
        tell::<bool>(operator, &format!("EXISTS TRADEWIND:limit:user:{:032x}", 1)).await && before.is_some()
    })
    .await;
    assert!(killed.elapsed() < Duration::from_millis(900), "{:?}", killed.elapsed());
}

#[tokio::test]
async fn while_the_server_is_full_or_away_each_gateway_counts_for_itself() {
    let own = Own::new();
    let gateways = [own.limiter(users("3/1d")).await, own.limiter(users("3/1d")).await];
    let mut operator = operator(&own.url).await;
    tell::<()>(&mut operator, "CONFIG SET maxmemory 1").await;
    for gateway in &gateways {
        let mut admitted = 0;
        for _ in 0..10 {
            admitted += u32::from(taken(&**gateway, 1).await.is_some());
        }
        assert_eq!(admitted, 3, "of each gateway's own");
    }
    tell::<()>(&mut operator, "CONFIG SET maxmemory 0").await;
    let [one, other] = &gateways;
    let mut subjects = 2..;
    until("they count together again", async || {
        let subject = subjects.next().expect("there is no end of them");
        (taken(&**one, subject).await, taken(&**other, subject).await) == (Some(2), Some(1))
    })
    .await;
    own.kill().await;
    let admitted = async |gateway: &Arc<dyn RateLimiter>| {
        let mut admitted = 0;
        for _ in 0..10 {
            admitted += u32::from(taken(&**gateway, 1).await.is_some());
        }
        admitted
    };
    // What each had counted for itself is used up.
    assert_eq!((admitted(one).await, admitted(other).await), (0, 0));
}
