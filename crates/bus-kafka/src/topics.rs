//! What is on the brokers: a topic for each source, with a partition for each lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::Service;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeConfigsRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kernel::bus::{BusError, Group};
use kernel::clock::Clock;
use kernel::event::Lane;
use kernel::wire::MESSAGE_BYTES_MAX;
use uuid::Uuid;

use crate::client::Client;
use crate::dialer::{ANSWER_MAX, Dialer, address};
use crate::failure::{Failure, done};
use crate::options::KafkaOptions;

/// The largest batch of messages of one lane: as many as fit, and any single one.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Around a message, and around a batch.
const OVERHEAD_BYTES: usize = 1024;
const _: () = assert!(MESSAGE_BYTES_MAX + OVERHEAD_BYTES <= BATCH_BYTES_MAX);

/// How often it is looked whether a topic that was made is there, and has leaders.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 100;
/// What is described is a topic, not a broker.
const OF_TOPIC: i8 = 2;

/// A topic as it is now.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    /// Another one of this name has another.
    pub(crate) id: Uuid,
    leaders: Vec<Option<String>>,
}

impl Topic {
    /// Where a lane is written and read.
    pub(crate) fn leader(&self, lane: Lane) -> Result<&str, Failure> {
        let leader = self.leaders.get(lane.index()).and_then(Option::as_deref);
        leader.ok_or_else(|| Failure::Lost(format!("lane {} of {} has no leader now", lane.0, self.name.as_str())))
    }
}

/// Names and settings of everything, and what of it was found to be there.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) dialer: Arc<Dialer>,
    prefix: String,
    pub(crate) lanes: u16,
    max_age: Duration,
    replicas: u16,
    clock: Arc<dyn Clock>,
    client: Arc<tokio::sync::Mutex<Client>>,
    /// As they were last seen, and as they must be.
    seen: Arc<Mutex<BTreeMap<Service, Arc<Topic>>>>,
}

impl Topics {
    pub(crate) fn new(dialer: Arc<Dialer>, options: &KafkaOptions) -> Self {
        Self {
            client: Arc::new(tokio::sync::Mutex::new(Client::new(Arc::clone(&dialer)))),
            dialer,
            prefix: options.prefix.clone(),
            lanes: options.lanes,
            max_age: options.max_age,
            replicas: options.replicas,
            clock: Arc::clone(&options.clock),
            seen: Arc::default(),
        }
    }

    /// Of a source.
    pub(crate) fn name(&self, source: Service) -> String {
        format!("{}.{source}", self.prefix)
    }

    /// Of a group.
    pub(crate) fn group(&self, group: &Group) -> String {
        let Group {
            service,
            consumer,
            source,
        } = group;
        format!("{}.{service}.{consumer}.{source}", self.prefix)
    }

    /// The source's topic as it was last seen, or as it is.
    pub(crate) async fn ensure(&self, source: Service) -> Result<Arc<Topic>, BusError> {
        let seen = self.seen().get(&source).cloned();
        match seen {
            Some(topic) => Ok(topic),
            None => self.find(source).await,
        }
    }

    /// It was not so when it was used.
    pub(crate) fn forget(&self, source: Service) {
        self.seen().remove(&source);
    }

    /// The source's topic as it is now, made if it is not there, and refused if it has other settings.
    pub(crate) async fn find(&self, source: Service) -> Result<Arc<Topic>, BusError> {
        let name = TopicName(self.name(source).into());
        let mut client = self.client.lock().await;
        let (mut is_made, mut looks) = (false, 0);
        let (metadata, found) = loop {
            let mut metadata = self.look(&mut client, &name).await?;
            let found = metadata.topics.pop();
            let found = found.ok_or_else(|| BusError::new("the brokers do not say whether there is a topic"))?;
            match ResponseError::try_from_code(found.error_code) {
                Some(ResponseError::UnknownTopicOrPartition) if !is_made => {
                    self.make(&mut client, &name, &metadata).await?;
                    is_made = true;
                }
                // It takes a moment until all brokers know.
                Some(ResponseError::UnknownTopicOrPartition | ResponseError::LeaderNotAvailable)
                    if looks < LOOKS_MAX => {}
                Some(code) => return Err(Failure::refused(name.0.to_string(), code).into()),
                None if is_made && looks < LOOKS_MAX && found.partitions.iter().any(|it| it.leader_id.0 < 0) => {}
                None => break (metadata, found),
            }
            looks += 1;
            self.clock.sleep(LOOK).await;
        };
        let known = self
            .seen()
            .remove(&source)
            .is_some_and(|seen| seen.id == found.topic_id);
        if !known {
            self.check(&mut client, source, &found).await?;
        }
        let topic = Arc::new(placed(name, &metadata, &found));
        self.seen().insert(source, Arc::clone(&topic));
        Ok(topic)
    }

    async fn look(&self, client: &mut Client, name: &TopicName) -> Result<MetadataResponse, Failure> {
        // A broker would make it with other settings.
        let request = MetadataRequest::default()
            .with_topics(Some(vec![
                MetadataRequestTopic::default().with_name(Some(name.clone())),
            ]))
            .with_allow_auto_topic_creation(false);
        let metadata = client.call_any(&request).await?;
        self.dialer.note(&metadata.brokers);
        Ok(metadata)
    }

    async fn make(&self, client: &mut Client, name: &TopicName, metadata: &MetadataResponse) -> Result<(), Failure> {
        let setting = |(name, value): (&'static str, String)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(value.into()))
        };
        let topic = CreatableTopic::default()
            .with_name(name.clone())
            .with_num_partitions(self.lanes.into())
            .with_replication_factor(i16::try_from(self.replicas).unwrap_or(i16::MAX))
            .with_configs(self.settings().into_iter().map(setting).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(millis(ANSWER_MAX));
        let controller = metadata.brokers.iter().find(|it| it.node_id == metadata.controller_id);
        let answer = match controller {
            Some(controller) => {
                let controller = address(&controller.host, controller.port);
                client.call(&controller, &request, 2 * ANSWER_MAX).await?
            }
            None => client.call_any(&request).await?,
        };
        for made in answer.topics {
            match ResponseError::try_from_code(made.error_code) {
                // Somebody else was faster.
                None | Some(ResponseError::TopicAlreadyExists) => {}
                Some(code) => {
                    let why = made.error_message.unwrap_or_default();
                    return Err(Failure::refused(format!("making {}: {why}", name.0), code));
                }
            }
        }
        Ok(())
    }

    /// What a topic is made with. Events are kept for a time whatever they amount to; that time begins when a broker takes them,
    /// also those that are published again, and whatever the publisher's clock says.
    fn settings(&self) -> [(&'static str, String); 8] {
        [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", self.max_age.as_millis().to_string()),
            ("retention.bytes", "-1".to_owned()),
            ("max.message.bytes", BATCH_BYTES_MAX.to_string()),
            ("min.insync.replicas", self.replicas_in_sync().to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("compression.type", "uncompressed".to_owned()),
        ]
    }

    /// One broker may be away.
    fn replicas_in_sync(&self) -> u16 {
        self.replicas.saturating_sub(1).max(1)
    }

    /// Refuses settings under which events would be lost or not be read.
    async fn check(&self, client: &mut Client, source: Service, found: &MetadataResponseTopic) -> Result<(), BusError> {
        if found.partitions.len() != usize::from(self.lanes) {
            return Err(BusError::lanes(source, found.partitions.len(), self.lanes));
        }
        let copies = found
            .partitions
            .iter()
            .map(|it| it.replica_nodes.len())
            .min()
            .unwrap_or(0);
        if copies < usize::from(self.replicas) {
            return Err(self.differs(source, "replicas", copies.to_string(), self.replicas.to_string()));
        }
        let keys = self.settings().map(|(name, _)| StrBytes::from_static_str(name));
        let resource = DescribeConfigsResource::default()
            .with_resource_type(OF_TOPIC)
            .with_resource_name(self.name(source).into())
            .with_configuration_keys(Some(keys.to_vec()));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = client.call_any(&request).await?;
        let result = answer.results.first();
        let result = result.ok_or_else(|| BusError::new("the brokers do not say how a topic is set up"))?;
        done(
            &format!("asking for the settings of {}", self.name(source)),
            result.error_code,
        )?;
        for (name, wanted) in self.settings() {
            let described = result.configs.iter().find(|config| config.name.as_str() == name);
            let Some(is) = described.and_then(|config| config.value.clone()) else {
                continue;
            };
            if let Some(wanted) = wanted_instead(name, &is, wanted) {
                return Err(self.differs(source, name, is.to_string(), wanted));
            }
        }
        Ok(())
    }

    fn differs(&self, source: Service, setting: &'static str, found: String, wanted: String) -> BusError {
        BusError::Differs {
            subject: format!("the topic {}", self.name(source)),
            setting,
            found,
            wanted,
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Service, Arc<Topic>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a setting would have to be, if it will not do as it is.
fn wanted_instead(name: &str, is: &str, wanted: String) -> Option<String> {
    let is_enough = |wanted: &str| match (is.parse::<u64>(), wanted.parse::<u64>()) {
        (Ok(is), Ok(wanted)) => is >= wanted,
        _ => false,
    };
    match name {
        "max.message.bytes" | "min.insync.replicas" => (!is_enough(&wanted)).then(|| format!("{wanted} or more")),
        // Ours are not compressed.
        "compression.type" if is == "producer" => None,
        _ => (is != wanted).then_some(wanted),
    }
}

fn placed(name: TopicName, metadata: &MetadataResponse, found: &MetadataResponseTopic) -> Topic {
    let mut leaders = vec![None; found.partitions.len()];
    for partition in &found.partitions {
        let leader = metadata.brokers.iter().find(|it| it.node_id == partition.leader_id);
        let place = usize::try_from(partition.partition_index).ok();
        if let Some(place) = place.and_then(|place| leaders.get_mut(place)) {
            *place = leader.map(|leader| address(&leader.host, leader.port));
        }
    }
    Topic {
        name,
        id: found.topic_id,
        leaders,
    }
}

/// As the protocol has durations.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_may_be_more_than_what_is_wanted_where_more_is_as_good() {
        let instead = |name, is, wanted: &str| wanted_instead(name, is, wanted.to_owned());
        assert_eq!(instead("retention.ms", "1", "2").as_deref(), Some("2"));
        assert_eq!(instead("retention.ms", "2", "2"), None);
        assert_eq!(instead("min.insync.replicas", "3", "2"), None);
        assert_eq!(instead("min.insync.replicas", "1", "2").as_deref(), Some("2 or more"));
        assert_eq!(instead("max.message.bytes", "x", "2").as_deref(), Some("2 or more"));
        assert_eq!(instead("compression.type", "producer", "uncompressed"), None);
        assert_eq!(
            instead("compression.type", "zstd", "uncompressed").as_deref(),
            Some("uncompressed")
        );
    }
}
