//! Which servers are used, and what is refused with its remedy.

use std::sync::Arc;
use std::time::Duration;

use gateway::RateLimiter as _;
use gateway::config::RateLimits;
use gateway::limit::{Policy, Verdict};
use kernel::clock::SystemClock;
use limit_redis::{OpenError, RedisLimiter, RedisLimiterOptions};
use redis::{Client, cmd};
use redis_access::AccessError;
use servers::{Kind, Other};
use tempfile::TempDir;
use tokio::net::TcpListener;

const SECRET: &str = "s3cr%40t";

fn options(url: &str) -> Result<RedisLimiterOptions, OpenError> {
    RedisLimiterOptions::new(url, RateLimits::default(), Arc::new(SystemClock::new()))
}

async fn open(url: &str) -> Result<RedisLimiter, OpenError> {
    let mut options = options(url)?;
    // What is refused is not refused for being slow on a machine that is busy with other tests.
    options.answer_max = Duration::from_secs(20);
    RedisLimiter::open(options).await
}

/// Why it is not opened, in one line that tells no secret.
async fn refusal(url: &str) -> (OpenError, String) {
    let error = open(url).await.expect_err("it is refused");
    let words = error.to_string();
    for shown in [words.clone(), format!("{error:?}")] {
        assert!(!shown.contains("s3cr"), "a password is shown: {shown}");
    }
    assert!(!words.contains('\n'), "{words}");
    (error, words)
}

fn address(url: &str) -> &str {
    url.rsplit_once('@').expect("the server's URL has a login").1
}

/// Panics unless it counts there.
async fn counts(url: &str) {
    let limiter = open(url).await.expect("it will do");
    let verdict = limiter.take(Policy::Anonymous, 1).await;
    assert_eq!(verdict, Verdict::Admitted { remaining: 99 });
    let again = open(url).await.expect("it will do").take(Policy::Anonymous, 1).await;
    assert_eq!(again, Verdict::Admitted { remaining: 98 });
}

#[tokio::test]
async fn what_is_no_url_is_refused_without_being_repeated() {
    for url in [&format!("redis://ann:{SECRET}@h:port"), "http://h", ""] {
        let (error, words) = refusal(url).await;
        assert!(matches!(error, OpenError::Access(AccessError::Url)), "{error:?}");
        assert!(words.contains("redis://user:password@host:6379/0"), "{words}");
    }
    let (error, _) = refusal(&format!("redis://ann:{SECRET}@h?protocol=resp3")).await;
    assert!(
        matches!(error, OpenError::Access(AccessError::UrlOption(_))),
        "{error:?}"
    );
    let (error, _) = refusal("redis://h?prefix=two+words").await;
    assert!(matches!(error, OpenError::Access(AccessError::Prefix(_))), "{error:?}");
}

#[tokio::test]
async fn a_wrong_password_or_none_is_refused() {
    let url = Kind::Redis.shared();
    for login in [&format!("shop:{SECRET}@"), &format!(":{SECRET}@"), ""] {
        let (error, words) = refusal(&format!("redis://{login}{}", address(&url))).await;
        assert!(matches!(error, OpenError::Access(AccessError::Login(_))), "{error:?}");
        assert!(words.contains("check the user and the password"), "{words}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_no_error() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let gone = free.local_addr().expect("it is bound");
    drop(free);
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    for address in [gone, silent.local_addr().expect("it is bound")] {
        let url = format!("redis://ann:{SECRET}@{address}");
        let limiter = tokio::time::timeout(Duration::from_secs(10), open(&url)).await;
        let limiter = limiter.expect("it opens soon").expect("it opens");
        let verdict = limiter.take(Policy::Anonymous, 1).await;
        assert_eq!(verdict, Verdict::Admitted { remaining: 99 });
    }
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_limiter_tells_the_password() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start(Kind::Redis, directory.path(), "requirepass s3cr@t\n").expect("a server starts");
    let url = format!("redis://:{SECRET}@{}", server.address());
    let limiter = open(&url).await.expect("it will do");
    for shown in [format!("{:?}", options(&url)), format!("{limiter:?}")] {
        assert!(!shown.contains("s3cr") && shown.contains("127.0.0.1"), "{shown}");
    }
}

/// A setting, what is said of it, and a part of the remedy.
type Refused = (&'static str, fn(&OpenError) -> bool, &'static str);

#[tokio::test]
async fn a_server_need_not_keep_anything_but_has_to_be_one_that_counts() {
    for settings in ["", "maxmemory 100mb\nmaxmemory-policy allkeys-lru"] {
        let directory = TempDir::new().expect("a directory for the test");
        let server = Other::start(Kind::Redis, directory.path(), &format!("{settings}\n")).expect("a server starts");
        counts(&format!("redis://{}", server.address())).await;
    }
    let refused: [Refused; 2] = [
        (
            "cluster-enabled yes",
            |it| matches!(it, OpenError::Cluster(_)),
            "cluster-enabled no",
        ),
        (
            "replicaof 127.0.0.1 1",
            |it| matches!(it, OpenError::Replica(_)),
            "use the address of the master",
        ),
    ];
    for (settings, is_expected, remedy) in refused {
        let directory = TempDir::new().expect("a directory for the test");
        let server = Other::start(Kind::Redis, directory.path(), &format!("{settings}\n")).expect("a server starts");
        let (error, words) = refusal(&format!("redis://{}", server.address())).await;
        assert!(is_expected(&error), "{settings}: {error:?}");
        assert!(words.contains(&server.address()) && words.contains(remedy), "{words}");
    }
}

#[tokio::test]
async fn a_server_that_is_full_is_no_error() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start(Kind::Redis, directory.path(), "maxmemory 1\n").expect("a server starts");
    let url = format!("redis://{}", server.address());
    for _ in 0..2 {
        let limiter = open(&url).await.expect("it may have memory again");
        let verdict = limiter.take(Policy::Anonymous, 1).await;
        assert_eq!(verdict, Verdict::Admitted { remaining: 99 }, "each counts for itself");
    }
}

#[tokio::test]
async fn a_server_is_reached_over_tls_if_its_authority_is_known() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start_encrypted(Kind::Redis, directory.path()).expect("a server starts");
    let authority = server.authority().expect("it has one");
    let url = format!("rediss://shop:shop@{}", server.address());
    counts(&format!("{url}?prefix=SHOP&cacert={}", authority.display())).await;

    let (error, words) = refusal(&url).await;
    assert!(matches!(error, OpenError::Access(AccessError::Tls { .. })), "{error:?}");
    assert!(words.contains(&server.address()) && words.contains("cacert"), "{words}");
}

#[tokio::test]
async fn a_user_needs_few_rights_and_is_told_which() {
    let shared = Kind::Redis.shared();
    let client = Client::open(&*shared).expect("the server has a URL");
    let operator = client.get_multiplexed_async_connection().await;
    let mut operator = operator.expect("the server is there");
    let mut user = async |rules: &str| {
        let name = servers::unique_name();
        let mut set = cmd("ACL");
        set.arg("SETUSER").arg(&name).arg("on").arg(">s3cr3t");
        for rule in rules.replace("PREFIX", &name).split(' ') {
            set.arg(rule);
        }
        set.query_async::<()>(&mut operator).await.expect("the server makes it");
        format!("redis://{name}:s3cr3t@{}?prefix={name}", address(&shared))
    };
    let enough = "~PREFIX:limit:* +evalsha +script|load +time +get +set";
    counts(&user(enough).await).await;
    for right in ["+evalsha ", "+script|load ", "+time ", "+get ", " +set"] {
        let (error, words) = refusal(&user(&enough.replace(right, "")).await).await;
        assert!(matches!(error, OpenError::NotAllowed { .. }), "{right}: {error:?}");
        assert!(words.contains("+evalsha +script|load +time +get +set"), "{words}");
    }
}
