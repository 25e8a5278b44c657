//! Which servers are used, and what is refused with its remedy.

use std::sync::Arc;
use std::time::Duration;

use bus_redis::{OpenError, RedisBus, RedisOptions};
use kernel::bus::{Bus as _, Subscription};
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use redis_access::AccessError;
use servers::{Kind, Other};
use tempfile::TempDir;
use testkit::bus_suite::fixture::{Journal, Received, group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SECRET: &str = "s3cr%40t";

fn options(url: &str, prefix: &str) -> Result<RedisOptions, OpenError> {
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
    RedisOptions::new(url, prefix, 8, clock, ids)
}

async fn open(url: &str) -> Result<RedisBus, OpenError> {
    RedisBus::open(options(url, &servers::unique_name())?).await
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

#[tokio::test]
async fn what_is_no_url_is_refused_without_being_repeated() {
    for url in [
        &format!("redis://ann:{SECRET}@h:port"),
        "http://h",
        &format!("ann:{SECRET}@h"),
    ] {
        let (error, words) = refusal(url).await;
        assert!(matches!(error, OpenError::Access(AccessError::Url)), "{error:?}");
        assert!(words.contains("redis://user:password@host:6379/0"), "{words}");
    }
    let (error, words) = refusal(&format!("redis://ann:{SECRET}@h?protocol=resp3")).await;
    assert!(
        matches!(error, OpenError::Access(AccessError::UrlOption(_))),
        "{error:?}"
    );
    assert!(words.contains("protocol"), "{words}");
    let error = options("redis://h", "two words").expect_err("it is no name");
    assert!(matches!(error, OpenError::Access(AccessError::Prefix(_))), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_soon_given_up() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let gone = free.local_addr().expect("it is bound");
    drop(free);
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    for address in [gone, silent.local_addr().expect("it is bound")] {
        let url = format!("redis://ann:{SECRET}@{address}");
        let asked = Box::pin(refusal(&url));
        let (error, words) = tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .expect("it ends soon");
        assert!(
            matches!(error, OpenError::Access(AccessError::Unreachable { .. })),
            "{error:?}"
        );
        assert!(
            words.contains(&address.to_string()) && words.contains("check that it runs"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_or_none_is_refused() {
    let url = Kind::Redis.shared();
    for url in [
        format!("redis://shop:{SECRET}@{}", address(&url)),
        format!("redis://:{SECRET}@{}", address(&url)),
        format!("redis://{}", address(&url)),
    ] {
        let (error, words) = refusal(&url).await;
        assert!(matches!(error, OpenError::Access(AccessError::Login(_))), "{error:?}");
        assert!(
            words.contains(address(&url.replacen("//", "//@", 1))) && words.contains("check the user and the password"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_refused() {
    let (error, words) = refusal(&format!("{}/999", Kind::Redis.shared())).await;
    assert!(
        matches!(error, OpenError::Access(AccessError::Database { database: 999, .. })),
        "{error:?}"
    );
    assert!(words.contains("no database 999"), "{words}");
}

/// Settings, what is said of them, and a part of the remedy.
type Refused = (&'static str, fn(&OpenError) -> bool, &'static str);

#[tokio::test]
async fn a_server_that_would_lose_events_is_refused() {
    let refused: [Refused; 6] = [
        ("", |it| matches!(it, OpenError::NotKept(_)), "appendonly yes"),
        (
            "appendonly yes\nappendfsync no",
            |it| matches!(it, OpenError::NotFlushed(_)),
            "appendfsync everysec or always",
        ),
        (
            "appendonly yes\nmaxmemory 100mb\nmaxmemory-policy allkeys-lru",
            |it| matches!(it, OpenError::Forgets { policy, .. } if policy == "allkeys-lru"),
            "maxmemory-policy noeviction",
        ),
        (
            "appendonly yes\nmaxmemory-policy volatile-ttl",
            |it| matches!(it, OpenError::Forgets { policy, .. } if policy == "volatile-ttl"),
            "maxmemory-policy noeviction",
        ),
        (
            "appendonly yes\ncluster-enabled yes",
            |it| matches!(it, OpenError::Cluster(_)),
            "cluster-enabled no",
        ),
        (
            "appendonly yes\nreplicaof 127.0.0.1 1",
            |it| matches!(it, OpenError::Role { .. }),
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
    for settings in [
        "appendonly yes\n",
        "appendonly yes\nappendfsync always\nrequirepass s3cr@t\n",
    ] {
        let directory = TempDir::new().expect("a directory for the test");
        let server = Other::start(Kind::Redis, directory.path(), settings).expect("a server starts");
        let login = if settings.contains("requirepass") {
            ":s3cr%40t@"
        } else {
            ""
        };
        let bus = open(&format!("redis://{login}{}/3", server.address()))
            .await
            .expect("it will do");
        bus.publish(Journal::new().next(10)).await.expect("the server takes it");
    }
}

/// Says this to whoever asks what it is, after the client has told its name, of which it knows nothing.
async fn is_said_to_be(version: &str, mode: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let said = format!("*6\r\n+version\r\n+{version}\r\n+mode\r\n+{mode}\r\n+role\r\n+master\r\n");
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("it listens");
        let mut heard = [0; 4096];
        for answer in ["-ERR unknown\r\n-ERR unknown\r\n", &said] {
            let _ = client.read(&mut heard).await.expect("the client asks");
            client.write_all(answer.as_bytes()).await.expect("the client listens");
        }
        let _ = client.read(&mut heard).await;
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn what_is_too_old_or_no_server_of_data_is_refused() {
    let (error, words) = refusal(&is_said_to_be("6.2.14", "standalone").await).await;
    assert!(
        matches!(&error, OpenError::TooOld { version, .. } if version == "6.2.14"),
        "{error:?}"
    );
    assert!(words.contains("6.2.14, older than 7.0"), "{words}");
    let (error, words) = refusal(&is_said_to_be("7.0.15", "sentinel").await).await;
    assert!(matches!(error, OpenError::Role { .. }), "{error:?}");
    assert!(words.contains("is a sentinel"), "{words}");
}

#[tokio::test]
async fn a_server_is_reached_over_tls_if_its_authority_is_known() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start_encrypted(Kind::Redis, directory.path()).expect("a server starts");
    let authority = server.authority().expect("it has one");
    let url = format!("rediss://shop:shop@{}", server.address());
    let bus = open(&format!("{url}?cacert={}", authority.display()))
        .await
        .expect("the bus opens");
    bus.publish(Journal::new().next(1)).await.expect("the server takes it");

    let (error, words) = refusal(&url).await;
    assert!(matches!(error, OpenError::Access(AccessError::Tls { .. })), "{error:?}");
    assert!(words.contains(&server.address()) && words.contains("cacert"), "{words}");

    let (error, words) = refusal(&format!("redis://shop:shop@{}", server.address())).await;
    assert!(
        matches!(error, OpenError::Access(AccessError::Unreachable { .. })),
        "{error:?}"
    );
    assert!(words.contains("wants TLS if the URL does"), "{words}");

    let (error, words) = refusal(&format!("redis://h?cacert={}", authority.display())).await;
    assert!(matches!(error, OpenError::Access(AccessError::NoTls)), "{error:?}");
    assert!(words.contains("rediss://"), "{words}");
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_refused() {
    let directory = TempDir::new().expect("a directory for the test");
    let path = directory.path().join("ca.pem");
    for text in [
        None,
        Some("no certificate\n"),
        Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).expect("the file is written");
        }
        let (error, words) = refusal(&format!("rediss://127.0.0.1:1?cacert={}", path.display())).await;
        assert!(
            matches!(error, OpenError::Access(AccessError::Authorities { .. })),
            "{error:?}"
        );
        assert!(words.contains("ca.pem"), "{words}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let url = Kind::Redis.shared();
    // It waits for the end of what it takes for a line.
    let (error, words) = refusal(&format!("rediss://shop:{SECRET}@{}", address(&url))).await;
    assert!(
        matches!(error, OpenError::Access(AccessError::Unreachable { .. })),
        "{error:?}"
    );
    assert!(
        words.contains(address(&url)) && words.contains("wants TLS if the URL does"),
        "{words}"
    );
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_bus_tells_the_password() {
    let url = Kind::Redis.shared();
    let user = url.split([':', '/', '@']).nth(3).expect("the server's URL has a login");
    let needle = format!("{user:?}");
    let options = options(&url, &servers::unique_name()).expect("the server has a URL");
    assert!(!format!("{options:?}").contains(&needle), "{options:?}");
    let bus = RedisBus::open(options).await.expect("the bus opens");
    assert!(!format!("{bus:?}").contains(&needle), "{bus:?}");
}

/// The shared server as its operators see it.
async fn operator() -> MultiplexedConnection {
    let client = Client::open(Kind::Redis.shared()).expect("the server has a URL");
    let connection = client.get_multiplexed_async_connection().await;
    connection.expect("the server is there")
}

/// The URL of a user whose name is a prefix too, and who may do no more than these rules say.
async fn user(rules: &str) -> (String, String) {
    let name = servers::unique_name();
    let mut set = cmd("ACL");
    set.arg("SETUSER").arg(&name).arg("on").arg(">s3cr3t");
    for rule in rules.replace("PREFIX", &name).split(' ') {
        set.arg(rule);
    }
    set.query_async::<()>(&mut operator().await)
        .await
        .expect("the server makes it");
    let url = format!("redis://{name}:s3cr3t@{}", address(&Kind::Redis.shared()));
    (url, name)
}

/// As [`OpenError::NotAllowed`] says.
const ENOUGH: &str = "~PREFIX:* &PREFIX +@all -@dangerous +info";

#[tokio::test]
async fn a_user_needs_few_rights_and_is_told_which() {
    // Where servers are hosted, CONFIG is not for users, and INFO may be not either.
    for rules in [ENOUGH, "~PREFIX:* &PREFIX +@all -@dangerous +config|get"] {
        let (url, name) = user(rules).await;
        let bus = RedisBus::open(options(&url, &name).expect("it is a URL"))
            .await
            .expect("that is enough");
        bus.declare(&[group("a")]).await.expect("nothing is there yet");
        let mut journal = Journal::new();
        bus.publish(journal.next(100)).await.expect("the server takes it");
        let mut subscription = bus
            .subscribe(&group("a"), vec![Position::START; 8])
            .await
            .expect("it is there");
        let mut received = Received::default();
        receive(&mut subscription, &mut received, &journal).await;
        for (&lane, &position) in received.reached() {
            subscription.acknowledge(lane, position).await.expect("it is received");
        }
        drop(subscription);
        bus.close().await;
    }
    let (url, name) = user("~PREFIX:* &PREFIX +@all -@dangerous").await;
    let error = RedisBus::open(options(&url, &name).expect("it is a URL")).await;
    let error = error.expect_err("it is not known whether it keeps anything");
    assert!(matches!(error, OpenError::Silent { .. }), "{error:?}");
    assert!(
        error.to_string().contains("allow this user INFO or CONFIG GET"),
        "{error}"
    );

    for rules in ["~PREFIX:* resetchannels +@all", "~PREFIX:* &PREFIX +@all -@scripting"] {
        let (url, name) = user(rules).await;
        let error = RedisBus::open(options(&url, &name).expect("it is a URL")).await;
        let error = error.expect_err("that is not enough");
        assert!(matches!(error, OpenError::NotAllowed { .. }), "{error:?}");
        let remedy = format!("ACL SETUSER … {}", ENOUGH.replace("PREFIX", &name));
        assert!(error.to_string().contains(&remedy), "{error}");
    }
}

async fn receive(subscription: &mut Box<dyn Subscription>, received: &mut Received, journal: &Journal) {
    while !received.has_all_of(journal) {
        let messages = subscription.receive(100).await.expect("the bus is there");
        messages.iter().for_each(|message| received.note(message));
    }
}
