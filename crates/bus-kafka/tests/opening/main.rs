//! Which brokers and topics are used, what is made on them, and what is refused with its remedy.

mod operator;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bus_kafka::{KafkaBus, KafkaOptions, OpenError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, MetadataResponse};
use kernel::bus::Bus as _;
use kernel::clock::{Ids, SystemClock};
use servers::{BareKafka, Kind, Listener};
use tempfile::TempDir;
use testkit::bus_suite::fixture::Journal;
use tokio::net::TcpListener;

use crate::operator::{fake, word};

const SECRET: &str = "s3cr%40t";

fn options(url: &str, prefix: &str) -> Result<KafkaOptions, OpenError> {
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(Ids::from_entropy()));
    KafkaOptions::new(url, prefix, 8, clock, ids)
}

async fn open(url: &str) -> Result<KafkaBus, OpenError> {
    KafkaBus::open(options(url, &servers::unique_name())?).await
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
    url.rsplit_once('@').expect("the broker's URL has a login").1
}

async fn closed_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    free.local_addr().expect("it is bound").to_string()
}

#[tokio::test]
async fn what_is_no_url_is_refused_without_being_repeated() {
    for url in [
        &format!("kafka://ann:{SECRET}@h:port"),
        "http://h",
        &format!("ann:{SECRET}@h"),
    ] {
        let (error, words) = refusal(url).await;
        assert!(matches!(error, OpenError::Url), "{error:?}");
        assert!(words.contains("kafka://user:password@host:9092"), "{words}");
    }
    let (error, words) = refusal(&format!("kafka://ann:{SECRET}@h?acks=0")).await;
    assert!(matches!(error, OpenError::Option(_)), "{error:?}");
    assert!(words.contains("\"acks\""), "{words}");
    let error = options("kafka://h", "two words").expect_err("it is no name");
    assert!(matches!(error, OpenError::Prefix(_)), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_or_says_nothing_is_soon_given_up() {
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let silent = silent
        .local_addr()
        .map(|address| (silent, address))
        .expect("it is bound");
    for address in [closed_address().await, silent.1.to_string()] {
        let url = format!("kafka://ann:{SECRET}@{address}");
        let asked = Box::pin(refusal(&url));
        let (error, words) = tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .expect("it ends soon");
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
        assert!(
            words.contains(&address) && words.contains("check that it runs"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn brokers_are_asked_one_after_the_other_until_one_answers() {
    let url = Kind::Kafka.shared();
    let (login, address) = url.rsplit_once('@').expect("the broker's URL has a login");
    let bus = open(&format!("{login}@{},{address}", closed_address().await)).await;
    bus.expect("the second one is there");
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let url = Kind::Kafka.shared();
    for login in ["shop", "nobody"] {
        let (error, words) = refusal(&format!("kafka://{login}:{SECRET}@{}", address(&url))).await;
        assert!(matches!(error, OpenError::Login(_)), "{error:?}");
        assert!(
            words.contains(address(&url)) && words.contains("check the user and the password"),
            "{words}"
        );
    }
    let (error, words) = refusal(&format!("kafka://{}", address(&url))).await;
    assert!(matches!(error, OpenError::Mechanism { .. }), "{error:?}");
    assert!(words.contains("put them into the URL"), "{words}");
}

#[tokio::test]
async fn passwords_are_sent_as_they_are_where_a_broker_knows_nothing_better() {
    let directory = TempDir::new().expect("a directory for the test");
    let plain = BareKafka::start(directory.path(), Listener::Plain, "").expect("a broker starts");
    let bus = open(&format!("kafka://shop:shop@{}", plain.address())).await;
    let bus = bus.expect("it lets the user in");
    bus.publish(Journal::new().next(1)).await.expect("it takes it");
    let (error, words) = refusal(&format!("kafka://shop:{SECRET}@{}", plain.address())).await;
    assert!(matches!(error, OpenError::Login(_)), "{words}");
}

/// By an authority that was made for it.
#[tokio::test]
async fn a_broker_is_reached_over_tls_if_its_authority_is_known() {
    let directory = TempDir::new().expect("a directory for the test");
    let server = BareKafka::start(directory.path(), Listener::Tls, "").expect("a broker starts");
    let authority = server.authority().expect("it has one");
    let url = format!("kafka+ssl://shop:shop@{}", server.address());
    let mut known = options(&url, "shop").expect("it is a URL");
    known.authorities = Some(authority);
    let bus = KafkaBus::open(known).await.expect("the bus opens");
    bus.publish(Journal::new().next(1)).await.expect("the broker takes it");

    let (error, words) = refusal(&url).await;
    assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
    assert!(
        words.contains(&server.address()) && words.contains("authority"),
        "{words}"
    );

    let (error, words) = refusal(&format!("kafka://shop:{SECRET}@{}", server.address())).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(words.contains("kafka+ssl://"), "{words}");

    for (file, reason) in [
        (directory.path().join("nothing.pem"), "No such file"),
        (directory.path().join("server.properties"), "there are none"),
    ] {
        let mut wrong = options(&url, "shop").expect("it is a URL");
        wrong.authorities = Some(file);
        let error = KafkaBus::open(wrong).await.expect_err("it is no authority");
        assert!(matches!(error, OpenError::Authorities(_)), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_broker_without_tls_is_refused_where_tls_is_asked_for() {
    let url = Kind::Kafka.shared();
    let (error, words) = refusal(&format!("kafka+ssl://shop:{SECRET}@{}", address(&url))).await;
    assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
    assert!(
        words.contains(address(&url)) && words.contains("check that it offers TLS"),
        "{words}"
    );
}

/// What Kafka 4 says that it knows, but for one request.
fn versions(change: impl Fn(&mut ApiVersion)) -> ApiVersionsResponse {
    let all = (0..70).map(|key| {
        let mut known = ApiVersion::default().with_api_key(key).with_max_version(20);
        if key == ApiKey::Fetch as i16 {
            change(&mut known);
        }
        known
    });
    ApiVersionsResponse::default().with_api_keys(all.collect())
}

#[tokio::test]
async fn a_broker_that_is_too_old_is_refused() {
    let older = versions(|fetch| fetch.max_version = 12);
    let ancient = ApiVersionsResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
    for (versions, unknown) in [(older, "Fetch 13"), (ancient, "ApiVersions 3")] {
        let address = fake(versions, MetadataResponse::default()).await;
        let (error, words) = refusal(&format!("kafka://{address}")).await;
        assert!(matches!(error, OpenError::TooOld { .. }), "{error:?}");
        assert!(words.contains(unknown) && words.contains("3.1 or newer"), "{words}");
    }
}

/// The commonest mistake with Kafka: the first answer names an address that only the broker's own machine knows.
#[tokio::test]
async fn brokers_that_cannot_be_reached_where_they_say_are_refused() {
    let elsewhere = closed_address().await;
    let (host, port) = elsewhere.rsplit_once(':').expect("it has a port");
    let broker = MetadataResponseBroker::default()
        .with_host(word(host))
        .with_port(port.parse().expect("it is a number"));
    let address = fake(versions(|_| {}), MetadataResponse::default().with_brokers(vec![broker])).await;
    let (error, words) = refusal(&format!("kafka://{address}")).await;
    assert!(matches!(error, OpenError::Advertised { .. }), "{error:?}");
    for part in [&address, &elsewhere, "advertised.listeners"] {
        assert!(words.contains(part), "{words}");
    }
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_bus_tells_the_password() {
    let url = Kind::Kafka.shared();
    let options = options(&url, &servers::unique_name()).expect("the broker has a URL");
    let needle = format!("{:?}", "shop");
    assert!(!format!("{options:?}").contains(&needle), "{options:?}");
    let bus = KafkaBus::open(options).await.expect("the bus opens");
    assert!(!format!("{bus:?}").contains(&needle), "{bus:?}");
}
