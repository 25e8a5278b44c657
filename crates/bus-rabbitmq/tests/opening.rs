//! Which brokers and streams are used, what is made on them, and what is refused with its remedy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus_rabbitmq::{MAX_AGE_DEFAULT, OpenError, RabbitmqBus, RabbitmqOptions};
use contracts::Service;
use kernel::bus::{Bus as _, BusError, Group};
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;
use kernel::wire::MESSAGE_BYTES_MAX;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ConnectionProperties, ExchangeKind};
use servers::{Kind, Other, RABBITMQ_BARE_USER};
use tempfile::TempDir;
use testkit::bus_suite::fixture::{Journal, group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SECRET: &str = "s3cr%40t";

fn options(url: &str, prefix: &str) -> Result<RabbitmqOptions, OpenError> {
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
    RabbitmqOptions::new(url, prefix, 8, clock, ids)
}

async fn open(url: &str) -> Result<RabbitmqBus, OpenError> {
    RabbitmqBus::open(options(url, &servers::unique_name())?).await
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

/// The host and the port of a URL with a login and a virtual host.
fn address(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').expect("the server's URL has a login");
    rest.split_once('/').expect("and a virtual host").0
}

#[tokio::test]
async fn what_is_no_url_is_refused_without_being_repeated() {
    for url in [
        &format!("amqp://ann:{SECRET}@h:port"),
        "http://h",
        &format!("ann:{SECRET}@h"),
    ] {
        let (error, words) = refusal(url).await;
        assert!(matches!(error, OpenError::Url), "{error:?}");
        assert!(words.contains("amqp://user:password@host:5672/vhost"), "{words}");
    }
    let (error, words) = refusal(&format!("amqp://ann:{SECRET}@h?verify={SECRET}")).await;
    assert!(
        matches!(error, OpenError::Option(_)) && words.contains("verify"),
        "{words}"
    );
    let error = options("amqp://h", "two words").expect_err("it is no name");
    assert!(matches!(error, OpenError::Prefix(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_soon_given_up() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let free = free.local_addr().expect("it is bound");
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    for address in [free, silent.local_addr().expect("it is bound")] {
        let url = format!("amqp://ann:{SECRET}@{address}");
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

/// Of several nodes, one that runs is enough.
#[tokio::test]
async fn a_node_that_is_not_there_is_passed_by() {
    let url = Kind::Rabbitmq.shared();
    let url = url.replacen('@', "@127.0.0.1:1,", 1);
    let bus = open(&url).await.expect("the other one is there");
    bus.publish(Journal::new().next(1)).await.expect("it takes it");
}

/// Answers each connection with these bytes, once the client has said something.
async fn pretending(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut header = [0; 8];
            let _ = client.read_exact(&mut header).await;
            let _ = client.write_all(&answer).await;
        }
    });
    format!("amqp://ann:{SECRET}@{address}")
}

/// The frame with which a server of this version begins.
fn greeting(version: &str) -> Vec<u8> {
    let size = |count: usize| u32::try_from(count).expect("it is small").to_be_bytes();
    let mut properties = b"\x07versionS".to_vec();
    properties.extend(size(version.len()));
    properties.extend(version.bytes());
    // connection.start, of AMQP 0-9
    let mut method = vec![0, 10, 0, 10, 0, 9];
    method.extend(size(properties.len()));
    method.extend(properties);
    for text in ["PLAIN", "en_US"] {
        method.extend(size(text.len()));
        method.extend(text.bytes());
    }
    let mut frame = vec![1, 0, 0];
    frame.extend(size(method.len()));
    frame.extend(method);
    frame.push(0xCE);
    frame
}

#[tokio::test]
async fn a_server_without_streams_is_refused() {
    let url = pretending(greeting("3.8.34")).await;
    let (error, words) = refusal(&url).await;
    assert!(matches!(error, OpenError::TooOld { .. }), "{error:?}");
    assert!(words.contains("3.8.34") && words.contains("3.9"), "{words}");
}

#[tokio::test]
async fn what_speaks_something_else_is_refused() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"AMQP\x00\x01\x00\x00", b""] {
        let url = pretending(answer.to_vec()).await;
        let (error, words) = refusal(&url).await;
        assert!(
            matches!(error, OpenError::Server { .. } | OpenError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(words.contains("127.0.0.1"), "{words}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let url = Kind::Rabbitmq.shared();
    let address = address(&url);
    let (error, words) = refusal(&format!("amqp://shop:{SECRET}@{address}")).await;
    assert!(matches!(error, OpenError::Login(_)), "{error:?}");
    assert!(
        words.contains(address) && words.contains("check the user and the password"),
        "{words}"
    );
}

#[tokio::test]
async fn a_virtual_host_that_there_is_not_is_refused() {
    let url = Kind::Rabbitmq.shared();
    let (login, _) = url.rsplit_once('/').expect("the server's URL has a virtual host");
    let (error, words) = refusal(&format!("{login}/nowhere")).await;
    assert!(matches!(error, OpenError::Vhost { .. }), "{error:?}");
    assert!(words.contains("\"nowhere\"") && words.contains("add_vhost"), "{words}");
}

#[tokio::test]
async fn a_user_who_may_make_nothing_is_refused() {
    let url = Kind::Rabbitmq.shared();
    let (user, address) = (RABBITMQ_BARE_USER, address(&url));
    let (error, words) = refusal(&format!("amqp://{user}:{user}@{address}")).await;
    assert!(matches!(error, OpenError::Permission { .. }), "{error:?}");
    assert!(words.contains(address) && words.contains("set_permissions"), "{words}");
}

#[tokio::test]
async fn a_server_that_takes_no_large_messages_is_refused() {
    let directory = TempDir::new().expect("a directory for the test");
    let small = Other::start(Kind::Rabbitmq, directory.path(), "max_message_size = 65536\n").expect("a server starts");
    let (error, words) = refusal(&format!("amqp://shop:shop@{}", small.address())).await;
    assert!(matches!(error, OpenError::MessageSize { .. }), "{error:?}");
    assert!(
        words.contains("max_message_size") && words.contains(&MESSAGE_BYTES_MAX.to_string()),
        "{words}"
    );
}

#[tokio::test]
async fn a_server_without_disk_for_more_is_refused() {
    let directory = TempDir::new().expect("a directory for the test");
    let full = Other::start(
        Kind::Rabbitmq,
        directory.path(),
        "disk_free_limit.absolute = 900000GB\n",
    )
    .expect("a server starts");
    let (error, words) = refusal(&format!("amqp://shop:shop@{}", full.address())).await;
    assert!(matches!(error, OpenError::Server { .. }), "{error:?}");
    assert!(
        words.contains(&full.address()) && words.contains("memory or disk"),
        "{words}"
    );
}

#[tokio::test]
async fn a_server_is_reached_over_tls_if_its_authority_is_known() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = Other::start_encrypted(Kind::Rabbitmq, directory.path()).expect("a server starts");
    let authority = server.authority().expect("it has one");
    for name in ["127.0.0.1", "localhost"] {
        let url = format!("amqps://shop:shop@{}", server.address().replace("127.0.0.1", name));
        let mut known = options(&url, &servers::unique_name()).expect("it is a URL");
        known.authorities = Some(authority.clone());
        let bus = RabbitmqBus::open(known).await.expect("the bus opens");
        bus.publish(Journal::new().next(1)).await.expect("the server takes it");
        let (error, words) = refusal(&url).await;
        assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
        assert!(words.contains(name) && words.contains("authority"), "{words}");
    }
    // What is encrypted is not spoken to in plain words.
    let (error, _) = refusal(&format!("amqp://shop:{SECRET}@{}", server.address())).await;
    assert!(
        matches!(error, OpenError::Server { .. } | OpenError::Unreachable { .. }),
        "{error:?}"
    );
    let mut wrong = options("amqps://h", "shop").expect("it is a URL");
    wrong.authorities = Some(PathBuf::from("/nowhere.pem"));
    let error = RabbitmqBus::open(wrong).await.expect_err("there is no such file");
    assert!(
        matches!(error, OpenError::Authorities { .. }) && error.to_string().contains("/nowhere.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let url = Kind::Rabbitmq.shared();
    let (error, words) = refusal(&format!("amqps://shop:{SECRET}@{}", address(&url))).await;
    assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
    assert!(
        words.contains(address(&url)) && words.contains("check that it offers TLS"),
        "{words}"
    );
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_bus_tells_the_password() {
    let url = Kind::Rabbitmq.shared();
    let options = options(&url, &servers::unique_name()).expect("the server has a URL");
    let password = url
        .split([':', '@'])
        .nth(2)
        .expect("the server's URL has a login")
        .to_owned();
    let needle = format!("{password:?}");
    assert!(!format!("{options:?}").contains(&needle), "{options:?}");
    let bus = RabbitmqBus::open(options).await.expect("the bus opens");
    assert!(!format!("{bus:?}").contains(&needle), "{bus:?}");
}

/// The shared server as its operators see it.
async fn operator() -> Channel {
    let connection = lapin::Connection::connect(&Kind::Rabbitmq.shared(), ConnectionProperties::default()).await;
    let connection = connection.expect("the server is there");
    connection.create_channel().await.expect("the server is there")
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// What the stream of a lane is made with.
fn stream() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("stream"));
    arguments.insert("x-max-age".into(), text("7D"));
    arguments.insert("x-stream-max-segment-size-bytes".into(), (64 * 1024 * 1024_i64).into());
    arguments
}

async fn make(arguments: FieldTable, prefix: &str) {
    let name = ShortString::from(format!("{prefix}.orders.3"));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let made = operator().await.queue_declare(name, durable, arguments).await;
    made.expect("the server makes it");
}

async fn declared(prefix: &str) -> Result<(), BusError> {
    let options = options(&Kind::Rabbitmq.shared(), prefix).expect("the server has a URL");
    let bus = RabbitmqBus::open(options).await.expect("the bus opens");
    bus.declare(&[group("a")]).await
}

#[tokio::test]
async fn streams_keep_events_for_a_named_time_one_for_each_lane() {
    assert_eq!(MAX_AGE_DEFAULT, Duration::from_secs(7 * 86_400));
    let prefix = servers::unique_name();
    declared(&prefix).await.expect("nothing is there yet");
    let operator = operator().await;
    for lane in 0..8 {
        let name = ShortString::from(format!("{prefix}.orders.{lane}"));
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let same = operator.queue_declare(name, durable, stream()).await;
        same.expect("it was made like that");
    }
}

#[tokio::test]
async fn a_stream_with_other_settings_is_refused_with_the_difference() {
    let with = |of: &FieldTable, setting: &str, value: AMQPValue| {
        let mut arguments = of.clone();
        arguments.insert(setting.into(), value);
        arguments
    };
    let (stream, none) = (stream(), FieldTable::default());
    for (setting, of, value, found, wanted) in [
        ("x-queue-type", &none, text("classic"), "classic", "stream"),
        ("x-max-age", &stream, text("1D"), "1D", "7D"),
        ("x-max-length-bytes", &stream, 65_536_i64.into(), "65536", "none"),
        (
            "x-stream-max-segment-size-bytes",
            &stream,
            1_000_000_i64.into(),
            "1000000",
            "67108864",
        ),
    ] {
        let prefix = servers::unique_name();
        make(with(of, setting, value), &prefix).await;
        let error = declared(&prefix).await.expect_err("it differs");
        let words = error.to_string();
        assert!(
            matches!(&error, BusError::Differs { setting: named, .. } if *named == setting),
            "{words}"
        );
        let name = format!("{prefix}.orders.3");
        assert!(
            [&name, setting, found, wanted].iter().all(|it| words.contains(*it)),
            "{words}"
        );
    }
    let prefix = servers::unique_name();
    make(stream, &prefix).await;
    declared(&prefix).await.expect("it is as it should be");
}

#[tokio::test]
async fn an_exchange_that_somebody_else_has_made_is_refused_with_the_difference() {
    for (kind, setting) in [
        (ExchangeKind::Fanout, "type"),
        (ExchangeKind::Direct, "alternate-exchange"),
    ] {
        let prefix = servers::unique_name();
        let name = ShortString::from(format!("{prefix}.orders"));
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let made = operator()
            .await
            .exchange_declare(name, kind, durable, FieldTable::default())
            .await;
        made.expect("the server makes it");
        let error = declared(&prefix).await.expect_err("it differs");
        let words = error.to_string();
        assert!(
            matches!(&error, BusError::Differs { setting: named, .. } if *named == setting),
            "{words}"
        );
        assert!(words.contains(&format!("{prefix}.orders")), "{words}");
    }
}

/// Something that is none of ours, in a lane.
#[tokio::test]
async fn what_is_no_event_of_ours_is_passed_by() {
    let prefix = servers::unique_name();
    let options = options(&Kind::Rabbitmq.shared(), &prefix).expect("the server has a URL");
    let bus = RabbitmqBus::open(options).await.expect("the bus opens");
    bus.declare(&[group("a")]).await.expect("nothing is there yet");
    let mut journal = Journal::new();
    let operator = operator().await;
    let mut expected = Vec::new();
    for bytes in ["", "{}", "something else"] {
        let messages = journal.next_in_each_lane();
        expected.extend(messages.iter().map(|message| message.event.position));
        bus.publish(messages).await.expect("the server takes it");
        let sent = operator
            .basic_publish(
                format!("{prefix}.orders").into(),
                "2".into(),
                BasicPublishOptions::default(),
                bytes.as_bytes(),
                BasicProperties::default(),
            )
            .await;
        sent.expect("the server takes it");
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
