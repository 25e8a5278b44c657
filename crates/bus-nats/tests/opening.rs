//! Which servers and streams are used, what is made on them, and what is refused with its remedy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bus_nats::{MAX_AGE_DEFAULT, NatsBus, NatsOptions, OpenError};
use contracts::Service;
use kernel::bus::{Bus as _, BusError, Group};
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;
use kernel::wire::MESSAGE_BYTES_MAX;
use servers::{BareNats, Kind, NATS_BARE_USER};
use tempfile::TempDir;
use testkit::bus_suite::fixture::{Journal, group};
use tokio::net::TcpListener;

const SECRET: &str = "s3cr%40t";

fn options(url: &str, prefix: &str) -> Result<NatsOptions, OpenError> {
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
    NatsOptions::new(url, prefix, 8, clock, ids)
}

async fn open(url: &str) -> Result<NatsBus, OpenError> {
    NatsBus::open(options(url, &servers::unique_name())?).await
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
        &format!("nats://ann:{SECRET}@h:port"),
        "http://h",
        &format!("ann:{SECRET}@h"),
    ] {
        let (error, words) = refusal(url).await;
        assert!(matches!(error, OpenError::Url), "{error:?}");
        assert!(words.contains("nats://user:password@host:4222"), "{words}");
    }
    let error = options("nats://h", "two words").expect_err("it is no name");
    assert!(matches!(error, OpenError::Prefix(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_soon_given_up() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let free = free.local_addr().expect("it is bound");
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    for address in [free, silent.local_addr().expect("it is bound")] {
        let url = format!("nats://ann:{SECRET}@{address}");
        let asked = Box::pin(refusal(&url));
        let (error, words) = tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .expect("it ends soon");
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
        assert!(
            words.contains(&address.to_string()) && words.contains("check that it runs"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let url = Kind::Nats.shared();
    let (error, words) = refusal(&format!("nats://shop:{SECRET}@{}", address(&url))).await;
    assert!(matches!(error, OpenError::Login(_)), "{error:?}");
    assert!(
        words.contains(address(&url)) && words.contains("check the user and the password"),
        "{words}"
    );
}

#[tokio::test]
async fn a_server_or_an_account_without_jetstream_is_refused() {
    let directory = TempDir::new().expect("a directory for the test");
    let bare = BareNats::start(directory.path(), "").expect("a server starts");
    let url = Kind::Nats.shared();
    for url in [
        format!("nats://{}", bare.address()),
        format!("nats://{NATS_BARE_USER}:{NATS_BARE_USER}@{}", address(&url)),
    ] {
        let (error, words) = refusal(&url).await;
        assert!(matches!(error, OpenError::NoJetStream(_)), "{error:?}");
        assert!(words.contains("start nats-server with -js"), "{words}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_large_messages_is_refused() {
    let directory = TempDir::new().expect("a directory for the test");
    let small = BareNats::start(directory.path(), "max_payload: 65536\n").expect("a server starts");
    let (error, words) = refusal(&format!("nats://{}", small.address())).await;
    assert!(
        matches!(error, OpenError::Payload { bytes_max: 65536, .. }),
        "{error:?}"
    );
    assert!(
        words.contains("max_payload") && words.contains(&MESSAGE_BYTES_MAX.to_string()),
        "{words}"
    );
}

/// A server that is reached over TLS. Its certificate is for localhost and 127.0.0.1, and of an authority that was made for this
/// test, and whose key was thrown away.
fn over_tls(directory: &TempDir) -> BareNats {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
    let (certificate, key) = (format!("{files}/server.pem"), format!("{files}/server-key.pem"));
    let store = directory.path().join("data");
    let settings = format!(
        "jetstream {{ store_dir: {store:?} }}\n\
         authorization {{ user: ann, password: \"s3cr@t\" }}\n\
         tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n"
    );
    BareNats::start(directory.path(), &settings).expect("a server starts")
}

fn authorities() -> Option<PathBuf> {
    Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/authority.pem").into())
}

#[tokio::test]
async fn a_server_is_reached_over_tls_if_its_authority_is_known() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = over_tls(&directory);
    for scheme in ["tls", "nats"] {
        let url = format!("{scheme}://ann:{SECRET}@{}", server.address());
        let mut known = options(&url, "shop").expect("it is a URL");
        known.authorities = authorities();
        let bus = NatsBus::open(known).await.expect("the bus opens");
        bus.publish(Journal::new().next(1)).await.expect("the server takes it");
        let (error, words) = refusal(&url).await;
        assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
        assert!(
            words.contains(&server.address()) && words.contains("authority"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let url = Kind::Nats.shared();
    let mut known = options(&format!("tls://shop:{SECRET}@{}", address(&url)), "shop").expect("it is a URL");
    known.authorities = authorities();
    let error = NatsBus::open(known).await.expect_err("it is refused");
    assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
    let words = error.to_string();
    assert!(
        words.contains(address(&url)) && words.contains("check that it offers TLS"),
        "{words}"
    );
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_bus_tells_the_password() {
    let url = Kind::Nats.shared();
    let options = options(&url, &servers::unique_name()).expect("the server has a URL");
    let password = url
        .split([':', '@'])
        .nth(2)
        .expect("the server's URL has a login")
        .to_owned();
    let needle = format!("{password:?}");
    assert!(!format!("{options:?}").contains(&needle), "{options:?}");
    let bus = NatsBus::open(options).await.expect("the bus opens");
    assert!(!format!("{bus:?}").contains(&needle), "{bus:?}");
}

/// The shared server as its operators see it.
async fn operator() -> Context {
    let url = Kind::Nats.shared();
    let user = url
        .split([':', '/', '@'])
        .nth(3)
        .expect("the server's URL has a login")
        .to_owned();
    let options = async_nats::ConnectOptions::with_user_and_password(user.clone(), user);
    let client = options.connect(address(&url)).await;
    jetstream::new(client.expect("the server is there"))
}

/// What a stream of orders is made like.
fn stream(prefix: &str) -> Config {
    Config {
        name: format!("{prefix}_orders"),
        subjects: (0..8).map(|lane| format!("{prefix}.orders.{lane}")).collect(),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        max_age: MAX_AGE_DEFAULT,
        num_replicas: 1,
        ..Config::default()
    }
}

async fn declared(prefix: &str) -> Result<(), BusError> {
    let options = options(&Kind::Nats.shared(), prefix).expect("the server has a URL");
    let bus = NatsBus::open(options).await.expect("the bus opens");
    bus.declare(&[group("a")]).await
}

#[tokio::test]
async fn streams_keep_events_on_disk_for_a_named_time_with_a_subject_for_each_lane() {
    let prefix = servers::unique_name();
    declared(&prefix).await.expect("nothing is there yet");
    let operator = operator().await;
    let mut found = operator
        .get_stream(format!("{prefix}_orders"))
        .await
        .expect("it was made");
    let config = &found.info().await.expect("it is there").config;
    let wanted = stream(&prefix);
    assert_eq!(config.subjects, wanted.subjects);
    assert_eq!((config.storage, config.retention), (wanted.storage, wanted.retention));
    assert_eq!(config.max_age, MAX_AGE_DEFAULT);
    assert_eq!(
        (config.max_messages, config.max_bytes, config.max_messages_per_subject),
        (-1, -1, -1)
    );
    operator
        .get_key_value(format!("{prefix}_consumers"))
        .await
        .expect("it was made");
}

/// A setting, how an operator may have changed it, and what is said of that: what is there, and what is wanted.
type Change = (&'static str, fn(&mut Config), &'static str, &'static str);

const CHANGES: [Change; 8] = [
    ("storage", |it| it.storage = StorageType::Memory, "memory", "file"),
    (
        "retention",
        |it| it.retention = RetentionPolicy::Interest,
        "interest",
        "limits",
    ),
    ("max_age", |it| it.max_age = DAY, "86400 s", "604800 s"),
    ("max_msgs", |it| it.max_messages = 1000, "1000", "no limit"),
    ("max_bytes", |it| it.max_bytes = 65536, "65536", "no limit"),
    (
        "max_msgs_per_subject",
        |it| it.max_messages_per_subject = 10,
        "10",
        "no limit",
    ),
    ("max_msg_size", |it| it.max_message_size = 1024, "1024", "or more"),
    ("no_ack", |it| it.no_ack = true, "true", "false"),
];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_stream_with_other_settings_is_refused_with_the_difference() {
    let operator = operator().await;
    for (setting, change, found, wanted) in CHANGES {
        let prefix = servers::unique_name();
        let mut config = stream(&prefix);
        change(&mut config);
        operator.create_stream(config).await.expect("the server makes it");
        let error = declared(&prefix).await.expect_err("it differs");
        assert!(
            matches!(&error, BusError::Differs { setting: named, .. } if *named == setting),
            "{error}"
        );
        let words = error.to_string();
        let stream = format!("{prefix}_orders");
        assert!(
            [&stream, setting, found, wanted].iter().all(|it| words.contains(*it)),
            "{words}"
        );
    }
    // Nobody loses by what an operator may wish for besides.
    let prefix = servers::unique_name();
    let mut config = stream(&prefix);
    config.description = Some("ours".to_owned());
    config.duplicate_window = DAY / 24;
    config.allow_direct = true;
    operator.create_stream(config).await.expect("the server makes it");
    declared(&prefix).await.expect("it will do");

    let prefix = servers::unique_name();
    let mut config = stream(&prefix);
    config.subjects = vec![format!("{prefix}.>")];
    operator.create_stream(config).await.expect("the server makes it");
    let error = declared(&prefix).await.expect_err("it differs");
    assert!(error.to_string().contains("the subjects"), "{error}");
}

/// A day's window would swallow what is published again within it, if messages had the header that it goes by.
#[tokio::test]
async fn a_window_of_duplicates_swallows_nothing() {
    let prefix = servers::unique_name();
    let mut config = stream(&prefix);
    config.duplicate_window = DAY;
    operator()
        .await
        .create_stream(config)
        .await
        .expect("the server makes it");
    let options = options(&Kind::Nats.shared(), &prefix).expect("the server has a URL");
    let bus = NatsBus::open(options).await.expect("the bus opens");
    let messages = Journal::new().next(5);
    for _ in 0..3 {
        bus.publish(messages.clone()).await.expect("the server takes it");
    }
    let mut found = operator()
        .await
        .get_stream(format!("{prefix}_orders"))
        .await
        .expect("it was made");
    assert_eq!(found.info().await.expect("it is there").state.messages, 15);
}

/// Something that is none of ours, in a lane.
#[tokio::test]
async fn what_is_no_event_of_ours_is_passed_by() {
    let prefix = servers::unique_name();
    let options = options(&Kind::Nats.shared(), &prefix).expect("the server has a URL");
    let bus = NatsBus::open(options).await.expect("the bus opens");
    bus.declare(&[group("a")]).await.expect("nothing is there yet");
    let mut journal = Journal::new();
    let operator = operator().await;
    let mut expected = Vec::new();
    for bytes in ["", "{}", "something else"] {
        let messages = journal.next_in_each_lane();
        expected.extend(messages.iter().map(|message| message.event.position));
        bus.publish(messages).await.expect("the server takes it");
        let sent = operator.publish(format!("{prefix}.orders.2"), bytes.into()).await;
        sent.expect("it is sent").await.expect("the server takes it");
    }
    let group: Group = Group {
        service: Service::Payments,
        ..group("b")
    };
    let mut subscription = bus
        .subscribe(&group, vec![Position::START; 8])
        .await
        .expect("it is there");
    let mut received = Vec::new();
    while received.len() < expected.len() {
        let messages = subscription.receive(100).await.expect("the bus is there");
        received.extend(messages.iter().map(|message| message.event.position));
    }
    received.sort_unstable();
    assert_eq!(received, expected);
}
