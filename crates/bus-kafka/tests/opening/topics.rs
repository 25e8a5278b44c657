//! What is made on a broker, what will do of what is there, and what becomes of what operators do to it.

use std::sync::Arc;
use std::time::Duration;

use bus_kafka::{KafkaBus, MAX_AGE_DEFAULT};
use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use kernel::bus::{Bus, BusError};
use kernel::event::Position;
use servers::{BareKafka, Listener};
use tempfile::TempDir;
use testkit::bus_suite::fixture::{
    Journal, LANES, Received, acknowledge, group, publish, publish_patiently, receive_all, subscribe,
};

use tokio::time::sleep;

use crate::operator::{Operator, word};
use crate::options;

/// How long a broker may go on taking messages for a topic after it has said that this is deleted: they are lost with it.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// A setting, as an operator may have made a topic with it, and what is said of that.
const DIFFERENCES: [(&str, &str, &str); 8] = [
    ("cleanup.policy", "compact", "delete"),
    ("retention.ms", "86400000", "604800000"),
    ("retention.bytes", "1048576", "-1"),
    ("max.message.bytes", "65536", "1048576 or more"),
    ("unclean.leader.election.enable", "true", "false"),
    ("message.timestamp.type", "CreateTime", "LogAppendTime"),
    ("compression.type", "gzip", "uncompressed"),
    ("partitions", "16", "8"),
];

/// As the bus makes them.
const SETTINGS: [(&str, &str); 8] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "604800000"),
    ("retention.bytes", "-1"),
    ("max.message.bytes", "1048576"),
    ("min.insync.replicas", "1"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "uncompressed"),
];

/// A broker that lets everybody in, so that operators need no login.
struct Open {
    broker: BareKafka,
    operator: Operator,
    _directory: TempDir,
}

impl Open {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory for the test");
        // Topics that it made by itself would have other settings.
        let settings = "auto.create.topics.enable=true\nnum.partitions=3\n";
        let broker = BareKafka::start(directory.path(), Listener::Plaintext, settings).expect("a broker starts");
        Self {
            operator: Operator::at(&broker.address()).await,
            broker,
            _directory: directory,
        }
    }

    async fn bus(&self, prefix: &str) -> Arc<dyn Bus> {
        let options = options(&format!("kafka://{}", self.broker.address()), prefix).expect("it is a URL");
        Arc::new(KafkaBus::open(options).await.expect("the bus opens"))
    }

    async fn create(&mut self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let setting = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(word(name))
                .with_value(Some(word(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(word(topic)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(settings.iter().map(setting).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5000);
        let made = self.operator.ask(request, 7).await;
        assert_eq!(made.topics[0].error_code, 0, "{made:?}");
    }

    async fn delete(&mut self, topic: &str) {
        let topic = DeleteTopicState::default().with_name(Some(TopicName(word(topic))));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5000);
        let deleted = self.operator.ask(request, 6).await;
        assert_eq!(deleted.responses[0].error_code, 0, "{deleted:?}");
        sleep(FORGOTTEN).await;
    }

    async fn write(&mut self, topic: &str, lane: i32, value: Option<&'static str>) {
        let record = Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence: -1,
            timestamp: 0,
            key: None,
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
            headers: IndexMap::new(),
        };
        let mut records = BytesMut::new();
        let form = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        RecordBatchEncoder::encode(&mut records, [&record], &form).expect("it is written");
        let data = PartitionProduceData::default()
            .with_index(lane)
            .with_records(Some(records.freeze()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(word(topic)))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(5000)
            .with_topic_data(vec![topic]);
        let taken = self.operator.ask(request, 9).await;
        assert_eq!(taken.responses[0].partition_responses[0].error_code, 0, "{taken:?}");
    }

    async fn setting(&mut self, topic: &str, name: &str) -> String {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(word(topic))
            .with_configuration_keys(Some(vec![word(name)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let described = self.operator.ask(request, 4).await;
        let value = described.results[0].configs[0].value.clone();
        value.expect("it has a value").to_string()
    }
}

#[tokio::test]
async fn topics_keep_events_for_a_named_time_and_others_are_refused_with_the_difference() {
    assert_eq!(MAX_AGE_DEFAULT, Duration::from_millis(604_800_000));
    let mut open = Open::start().await;
    open.bus("made")
        .await
        .declare(&[group("a")])
        .await
        .expect("nothing is there yet");
    for (name, value) in SETTINGS {
        assert_eq!(open.setting("made.orders", name).await, value, "{name}");
    }
    for (place, (name, found, wanted)) in DIFFERENCES.into_iter().enumerate() {
        let prefix = format!("other{place}");
        let topic = format!("{prefix}.orders");
        let settings: Vec<(&str, &str)> = SETTINGS
            .into_iter()
            .map(|(key, value)| if key == name { (key, found) } else { (key, value) })
            .collect();
        let partitions = if name == "partitions" { 16 } else { 8 };
        open.create(&topic, partitions, &settings).await;
        let error = open.bus(&prefix).await.declare(&[group("a")]).await;
        let error = error.expect_err("it differs");
        assert!(matches!(error, BusError::Differs { .. }), "{error}");
        let words = error.to_string();
        let named = if name == "partitions" { "lanes" } else { name };
        for part in [named, found, wanted] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
    // Nobody loses by what an operator may wish for besides.
    let mut settings = SETTINGS.to_vec();
    settings.retain(|(name, _)| !["max.message.bytes", "compression.type"].contains(name));
    settings.extend([
        ("max.message.bytes", "4194304"),
        ("compression.type", "producer"),
        ("segment.bytes", "16777216"),
    ]);
    open.create("fine.orders", 8, &settings).await;
    open.bus("fine").await.declare(&[group("a")]).await.expect("it will do");
}

/// Something that is none of ours, in a lane.
#[tokio::test]
async fn what_is_no_event_of_ours_is_passed_by() {
    let mut open = Open::start().await;
    let bus = open.bus("shop").await;
    bus.declare(&[group("a")]).await.expect("nothing is there yet");
    let (mut journal, mut expected) = (Journal::new(), Vec::new());
    for value in [Some(""), Some("{}"), Some("something else"), None] {
        let messages = journal.next_in_each_lane();
        expected.extend(messages.iter().map(|message| message.event.position));
        publish(&bus, messages).await;
        open.write("shop.orders", 2, value).await;
    }
    let from = vec![Position::START; usize::from(LANES)];
    let mut subscription = bus.subscribe(&group("b"), from).await.expect("it is there");
    let mut received = Vec::new();
    while received.len() < expected.len() {
        let messages = subscription.receive(100).await.expect("the bus is there");
        received.extend(messages.iter().map(|message| message.event.position));
    }
    received.sort_unstable();
    assert_eq!(received, expected);
}

/// In another topic of that name a place means nothing, even one that lies within it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let mut open = Open::start().await;
    let bus = open.bus("shop").await;
    let mut journal = Journal::new();
    publish(&bus, journal.next(50)).await;
    let mut gone = subscribe(&bus, &group("gone")).await;
    let mut live = subscribe(&bus, &group("live")).await;
    for subscription in [&mut gone, &mut live] {
        let mut received = Received::default();
        receive_all(subscription, &mut received, &journal).await;
        acknowledge(subscription, received.reached()).await;
    }
    drop(gone);
    bus.close().await;

    open.delete("shop.orders").await;
    let mut anew = Journal::new();
    for _ in 0..10 {
        publish_patiently(&bus, anew.next(10)).await;
    }
    let mut gone = subscribe(&bus, &group("gone")).await;
    for subscription in [&mut gone, &mut live] {
        receive_all(subscription, &mut Received::default(), &anew).await;
    }
}
