//! What is made on the server, what it keeps and for how long, and what it has to have written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus_redis::{RedisBus, RedisOptions};
use contracts::Service;
use kernel::bus::{Bus, BusError, Group};
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, Value, cmd};
use servers::{Kind, Other};
use tempfile::TempDir;
use testkit::bus_suite::fixture::{
    Journal, LANES, Received, acknowledge, group, publish, publish_patiently, receive_all, subscribe,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

fn options(url: &str, prefix: &str) -> RedisOptions {
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
    RedisOptions::new(url, prefix, LANES, clock, ids).expect("the server has a URL")
}

async fn open(options: RedisOptions) -> Arc<dyn Bus> {
    Arc::new(RedisBus::open(options).await.expect("the bus opens"))
}

async fn shared(prefix: &str) -> Arc<dyn Bus> {
    open(options(&Kind::Redis.shared(), prefix)).await
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

async fn entries(operator: &mut MultiplexedConnection, prefix: &str) -> u64 {
    let mut count = 0;
    for lane in 0..LANES {
        count += tell::<u64>(operator, &format!("XLEN {prefix}:orders:{lane}")).await;
    }
    count
}

#[tokio::test]
async fn a_log_has_a_stream_for_each_lane_and_a_group_a_hash() {
    let prefix = servers::unique_name();
    let bus = shared(&prefix).await;
    let mut journal = Journal::new();
    publish(&bus, journal.next_in_each_lane()).await;
    let mut subscription = subscribe(&bus, &group("a")).await;
    let mut received = Received::default();
    receive_all(&mut subscription, &mut received, &journal).await;
    acknowledge(&mut subscription, received.reached()).await;
    drop(subscription);
    bus.close().await;

    let mut operator = operator(&Kind::Redis.shared()).await;
    assert_eq!(entries(&mut operator, &prefix).await, u64::from(LANES));
    let mut keys: Vec<String> = tell(&mut operator, &format!("KEYS {prefix}*")).await;
    keys.sort();
    let mut expected: Vec<_> = (0..LANES).map(|lane| format!("{prefix}:orders:{lane}")).collect();
    expected.extend([format!("{prefix}:orders"), format!("{prefix}:orders:events.a")]);
    expected.sort();
    assert_eq!(keys, expected);
    let log: Vec<String> = tell(&mut operator, &format!("HGETALL {prefix}:orders")).await;
    let ["life", life, "lanes", "8"] = log.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        panic!("{log:?}");
    };
    let cursor: String = tell(&mut operator, &format!("HGET {prefix}:orders:events.a lane.3")).await;
    assert!(cursor.starts_with(&format!("{life} ")), "{cursor}");
}

#[tokio::test]
async fn a_key_that_is_something_else_is_refused_with_its_name() {
    let mut operator = operator(&Kind::Redis.shared()).await;
    for (key, command, found, wanted) in [
        ("orders", "SET", "string", "hash"),
        ("orders:5", "RPUSH", "list", "stream"),
        ("orders:events.a", "SADD", "set", "hash"),
    ] {
        let prefix = servers::unique_name();
        let key = format!("{prefix}:{key}");
        tell::<Value>(&mut operator, &format!("{command} {key} something")).await;
        let bus = shared(&prefix).await;
        let refused = bus
            .subscribe(&group("a"), vec![Position::START; usize::from(LANES)])
            .await;
        let error = refused.map(drop).expect_err("it is in the way");
        assert!(matches!(error, BusError::Differs { setting: "type", .. }), "{error}");
        let words = error.to_string();
        assert!([&key, found, wanted].iter().all(|it| words.contains(*it)), "{words}");
    }
}

#[tokio::test]
async fn what_is_no_event_of_ours_is_passed_by() {
    let prefix = servers::unique_name();
    let bus = shared(&prefix).await;
    let mut operator = operator(&Kind::Redis.shared()).await;
    let mut journal = Journal::new();
    for entry in ["event {}", "event something", "another field"] {
        publish(&bus, journal.next_in_each_lane()).await;
        tell::<Value>(&mut operator, &format!("XADD {prefix}:orders:2 * {entry}")).await;
    }
    let group = Group {
        service: Service::Payments,
        ..group("b")
    };
    let mut subscription = subscribe(&bus, &group).await;
    receive_all(&mut subscription, &mut Received::default(), &journal).await;
}

#[tokio::test]
async fn what_is_too_old_is_removed_and_nothing_else() {
    const EVENTS: u64 = 4000;
    let prefix = servers::unique_name();
    let mut operator = operator(&Kind::Redis.shared()).await;
    let mut journal = Journal::new();
    let bus = shared(&prefix).await;
    publish(&bus, journal.next(EVENTS)).await;
    sleep(Duration::from_secs(3)).await;
    publish(&shared(&prefix).await, journal.next_in_each_lane()).await;
    assert_eq!(entries(&mut operator, &prefix).await, EVENTS + u64::from(LANES));

    let mut short = options(&Kind::Redis.shared(), &prefix);
    short.max_age = Duration::from_secs(2);
    publish(&open(short).await, journal.next_in_each_lane()).await;
    // Whole nodes go, of up to a hundred entries or four kilobytes, but the last one.
    let left = entries(&mut operator, &prefix).await;
    assert!((16..200).contains(&left), "{left} are left");
    let mut subscription = subscribe(&bus, &group("late")).await;
    let mut newest = Position::START;
    while newest.0 < EVENTS + 2 * u64::from(LANES) {
        let messages = subscription.receive(100).await.expect("the bus is there");
        newest = messages.iter().map(|it| it.event.position).fold(newest, Position::max);
    }
}

#[tokio::test]
async fn while_memory_is_full_publishing_waits_and_consumers_go_on() {
    let directory = TempDir::new().expect("a directory for the test");
    let server =
        Other::start(Kind::Redis, directory.path(), "appendonly yes\nmaxmemory 3mb\n").expect("a server starts");
    let url = format!("redis://{}", server.address());
    let mut operator = operator(&url).await;
    let bus = open(options(&url, "TRADEWIND")).await;
    let mut journal = Journal::new();
    let mut published = Received::default();
    let refused = loop {
        let messages = journal.next(200);
        match bus.publish(messages.clone()).await {
            Ok(()) => messages.iter().for_each(|message| published.note(message)),
            Err(error) => break (messages, error),
        }
        assert!(
            published.reached().values().all(|position| position.0 < 100_000),
            "memory does not become full"
        );
    };
    let (messages, error) = refused;
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("memory of Redis is full"), "{error}");

    let mut subscription = subscribe(&bus, &group("a")).await;
    let mut received = Received::default();
    while published
        .reached()
        .iter()
        .any(|(&lane, &position)| received.reached_in(lane) < position)
    {
        let messages = subscription.receive(100).await.expect("the bus is there");
        messages.iter().for_each(|message| received.note(message));
    }
    acknowledge(&mut subscription, received.reached()).await;
    drop(subscription);
    bus.close().await;

    tell::<Value>(&mut operator, "CONFIG SET maxmemory 100mb").await;
    publish(&bus, messages).await;
    let mut subscription = subscribe(&bus, &group("a")).await;
    let before = received.clone();
    receive_all(&mut subscription, &mut received, &journal).await;
    // Of what was refused some may have been taken, and comes twice. What was acknowledged does not.
    assert!(
        received.repeated <= 200,
        "{} came again, of {before:?}",
        received.repeated
    );
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_told_again() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start(Kind::Redis, directory.path(), "appendonly yes\n").expect("a server starts");
    let url = format!("redis://{}", server.address());
    let mut operator = operator(&url).await;
    let bus = open(options(&url, "TRADEWIND")).await;
    let mut journal = Journal::new();
    let mut subscription = subscribe(&bus, &group("a")).await;
    let mut received = Received::default();
    for _ in 0..3 {
        publish_patiently(&bus, journal.next(50)).await;
        receive_all(&mut subscription, &mut received, &journal).await;
        tell::<Value>(&mut operator, "SCRIPT FLUSH").await;
    }
}

/// Passes everything on, but that nothing is to be written any more: while it is told so, something always is.
async fn with_a_busy_disk(server: String, is_busy: Arc<AtomicBool>) -> String {
    const WRITTEN: &[u8] = b"aof_buffer_length:0";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("the server is there");
            let (mut asks, mut hears) = client.into_split();
            let (mut answers, mut is_asked) = server.into_split();
            let is_busy = Arc::clone(&is_busy);
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut is_asked).await });
            tokio::spawn(async move {
                let mut piece = vec![0; 1024 * 1024];
                while let Ok(count @ 1..) = answers.read(&mut piece).await {
                    let said = piece[..count].windows(WRITTEN.len()).position(|words| words == WRITTEN);
                    if let Some(at) = said.filter(|_| is_busy.load(Ordering::Acquire)) {
                        piece[at + WRITTEN.len() - 1] = b'9';
                    }
                    if hears.write_all(&piece[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn what_is_published_was_written() {
    let is_busy = Arc::new(AtomicBool::new(false));
    // What others write there would be written, and this before it.
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start(Kind::Redis, directory.path(), "appendonly yes\n").expect("a server starts");
    let url = with_a_busy_disk(server.address(), Arc::clone(&is_busy)).await;
    let bus = open(options(&url, "TRADEWIND")).await;
    let mut journal = Journal::new();
    publish(&bus, journal.next(10)).await;
    is_busy.store(true, Ordering::Release);
    let messages = journal.next(10);
    let publishing = tokio::spawn(async move { publish(&bus, messages).await });
    sleep(Duration::from_millis(500)).await;
    assert!(!publishing.is_finished(), "it is not on the disk yet");
    is_busy.store(false, Ordering::Release);
    let outcome = timeout(Duration::from_secs(5), publishing).await;
    outcome.expect("it is written").expect("the server takes it");
}
