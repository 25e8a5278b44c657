//! Hands messages of one source over, in order, and so that a broker takes none of them twice for want of an answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contracts::Service;
use kafka_protocol::ResponseError;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use kernel::bus::BusError;
use kernel::clock::Clock;
use kernel::event::Lane;
use kernel::wire::CONTENT_TYPE;
use uuid::Uuid;

use crate::client::Client;
use crate::dialer::ANSWER_MAX;
use crate::failure::{Failure, done};
use crate::topics::{BATCH_BYTES_MAX, Topic, Topics, millis};

/// All brokers that are in sync must have it.
const ACKS_ALL: i16 = -1;
/// How long a broker waits for the others before it says that they did not take it.
const REPLICATED_MAX: Duration = Duration::from_secs(4);
/// How often in a row it is tried without any success.
const ATTEMPTS_MAX: u32 = 8;
/// The pause after the first of them, and so much longer after each: another broker may be about to lead.
const PAUSE: Duration = Duration::from_millis(100);
/// What a record takes besides its key and its value, at most.
const RECORD_BYTES: usize = 128;
/// What a batch takes besides its records.
const BATCH_BYTES: usize = 128;

/// A message, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) lane: Lane,
    /// The stream.
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

impl Packed {
    fn len(&self) -> usize {
        self.key.len() + self.value.len() + RECORD_BYTES
    }
}

/// Of one source.
#[derive(Debug)]
pub(crate) struct Publisher {
    source: Service,
    topics: Topics,
    clock: Arc<dyn Clock>,
    client: Client,
    /// Not there while anything is under way of which the outcome is not known: whoever comes next begins another one.
    session: Option<Session>,
}

/// Batches of a lane that a producer numbers are taken once and in order, however often they are sent.
#[derive(Debug)]
struct Session {
    /// The topic in which they are numbered.
    topic: Uuid,
    producer: ProducerId,
    epoch: i16,
    next: BTreeMap<Lane, i32>,
}

type Batches = BTreeMap<Lane, VecDeque<Vec<Packed>>>;

impl Publisher {
    pub(crate) fn new(source: Service, topics: Topics, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            client: Client::new(Arc::clone(&topics.dialer)),
            topics,
            clock,
            session: None,
        }
    }

    /// Returns when all brokers that are in sync have everything.
    pub(crate) async fn publish(&mut self, messages: Vec<Packed>) -> Result<(), BusError> {
        let mut batches = batched(messages);
        let mut failures = 0;
        while !batches.is_empty() {
            let topic = self.topics.ensure(self.source).await?;
            let before = count(&batches);
            let Err(failure) = self.send(&topic, &mut batches).await else {
                continue;
            };
            self.topics.forget(self.source);
            failures = if count(&batches) < before { 1 } else { failures + 1 };
            if !may_pass(&failure) || failures == ATTEMPTS_MAX {
                self.session = None;
                return Err(failure.into());
            }
            self.clock.sleep(PAUSE * failures).await;
        }
        Ok(())
    }

    async fn session_in(&mut self, topic: &Topic) -> Result<Session, Failure> {
        if let Some(session) = self.session.take().filter(|session| session.topic == topic.id) {
            return Ok(session);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(millis(ANSWER_MAX));
        let answer = self.client.call_any(&request).await?;
        done("asking to publish", answer.error_code)?;
        Ok(Session {
            topic: topic.id,
            producer: answer.producer_id,
            epoch: answer.producer_epoch,
            next: BTreeMap::new(),
        })
    }

    /// Sends the first batch of each lane, and takes those away that were taken.
    async fn send(&mut self, topic: &Topic, batches: &mut Batches) -> Result<(), Failure> {
        let mut session = self.session_in(topic).await?;
        let outcome = self.send_in(&mut session, topic, batches).await;
        self.session = Some(session);
        outcome
    }

    async fn send_in(&mut self, session: &mut Session, topic: &Topic, batches: &mut Batches) -> Result<(), Failure> {
        let mut by_leader: BTreeMap<String, Vec<PartitionProduceData>> = BTreeMap::new();
        for (&lane, waiting) in &*batches {
            if let Some(batch) = waiting.front() {
                let records = session.encoded(lane, batch)?;
                let data = PartitionProduceData::default()
                    .with_index(lane.0.into())
                    .with_records(Some(records));
                by_leader.entry(topic.leader(lane)?.to_owned()).or_default().push(data);
            }
        }
        let request = |(leader, data)| {
            let of_topic = TopicProduceData::default()
                .with_name(topic.name.clone())
                .with_partition_data(data);
            let request = ProduceRequest::default()
                .with_transactional_id(None)
                .with_acks(ACKS_ALL)
                .with_timeout_ms(millis(REPLICATED_MAX))
                .with_topic_data(vec![of_topic]);
            (leader, request)
        };
        let requests = by_leader.into_iter().map(request).collect();
        let answers = self.client.call_each(requests, REPLICATED_MAX + ANSWER_MAX).await;
        let mut outcome = Ok(());
        for (_, answer) in answers {
            let responses = match answer {
                Ok(answer) => answer.responses,
                Err(failure) => {
                    outcome = worse(outcome, failure);
                    continue;
                }
            };
            for response in responses.into_iter().flat_map(|it| it.partition_responses) {
                let lane = Lane(u16::try_from(response.index).unwrap_or(u16::MAX));
                match ResponseError::try_from_code(response.error_code) {
                    // It was taken before, and the answer was lost.
                    None | Some(ResponseError::DuplicateSequenceNumber) => session.taken(lane, batches),
                    Some(code) => {
                        let why = response.error_message.unwrap_or_default();
                        outcome = worse(outcome, Failure::refused(format!("lane {}: {why}", lane.0), code));
                    }
                }
            }
        }
        outcome
    }
}

impl Session {
    fn encoded(&self, lane: Lane, batch: &[Packed]) -> Result<Bytes, Failure> {
        let first = self.next.get(&lane).copied().unwrap_or(0);
        let content_type = (
            StrBytes::from_static_str("content-type"),
            Some(Bytes::from_static(CONTENT_TYPE.as_bytes())),
        );
        let headers = IndexMap::from([content_type]);
        let record = |(offset, packed): (i32, &Packed)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: self.producer.0,
            producer_epoch: self.epoch,
            timestamp_type: TimestampType::Creation,
            offset: offset.into(),
            sequence: first.wrapping_add(offset),
            // The broker's is taken.
            timestamp: 0,
            key: Some(packed.key.clone()),
            value: Some(packed.value.clone()),
            headers: headers.clone(),
        };
        let records: Vec<Record> = (0..).zip(batch).map(record).collect();
        let mut bytes = BytesMut::with_capacity(BATCH_BYTES + batch.iter().map(Packed::len).sum::<usize>());
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        RecordBatchEncoder::encode(&mut bytes, &records, &options)
            .map_err(|error| Failure::Lost(format!("a batch cannot be written: {error}")))?;
        Ok(bytes.freeze())
    }

    fn taken(&mut self, lane: Lane, batches: &mut Batches) {
        let Some(waiting) = batches.get_mut(&lane) else {
            return;
        };
        let count = waiting.pop_front().map_or(0, |batch| batch.len());
        if waiting.is_empty() {
            batches.remove(&lane);
        }
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let next = self.next.entry(lane).or_default();
        // The sequence begins again behind its last number.
        *next = next.wrapping_add(count) & i32::MAX;
    }
}

/// In lanes, in order, and each batch no larger than a topic takes.
fn batched(messages: Vec<Packed>) -> Batches {
    let mut batches = Batches::new();
    let mut sizes: BTreeMap<Lane, usize> = BTreeMap::new();
    for packed in messages {
        let (size, of_lane) = (
            sizes.entry(packed.lane).or_insert(usize::MAX),
            batches.entry(packed.lane).or_default(),
        );
        let with_it = size.saturating_add(packed.len());
        match of_lane.back_mut() {
            Some(batch) if with_it <= BATCH_BYTES_MAX => {
                *size = with_it;
                batch.push(packed);
            }
            _ => {
                *size = BATCH_BYTES + packed.len();
                of_lane.push_back(vec![packed]);
            }
        }
    }
    batches
}

fn count(batches: &Batches) -> usize {
    batches.values().map(VecDeque::len).sum()
}

/// Whether the same batch may be taken in a moment, perhaps by another broker.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Lost(_) => true,
        Failure::Refused { code, .. } => code.is_retriable(),
        _ => false,
    }
}

/// Of two, the one after which nothing is tried again.
fn worse(outcome: Result<(), Failure>, failure: Failure) -> Result<(), Failure> {
    match outcome {
        Err(earlier) if !may_pass(&earlier) => Err(earlier),
        _ => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(lane: u16, bytes: usize) -> Packed {
        Packed {
            lane: Lane(lane),
            key: Bytes::new(),
            value: vec![0; bytes].into(),
        }
    }

    #[test]
    fn batches_keep_the_order_of_a_lane_and_have_a_limit() {
        let large = BATCH_BYTES_MAX / 2 - RECORD_BYTES;
        let batches = batched(vec![
            packed(1, 1),
            packed(0, 2),
            packed(1, large),
            packed(1, large),
            packed(1, 3),
        ]);
        let sizes: Vec<Vec<usize>> = batches[&Lane(1)]
            .iter()
            .map(|batch| batch.iter().map(|packed| packed.value.len()).collect())
            .collect();
        assert_eq!(sizes, [vec![1, large], vec![large, 3]]);
        assert_eq!(batches[&Lane(0)].len(), 1);
    }

    #[test]
    fn what_a_broker_says_no_to_for_good_is_not_said_again() {
        let refused = |code| Failure::refused("it", code);
        assert!(may_pass(&refused(ResponseError::NotLeaderOrFollower)));
        assert!(!may_pass(&refused(ResponseError::MessageTooLarge)));
        let outcome = worse(
            Err(refused(ResponseError::MessageTooLarge)),
            Failure::Lost(String::new()),
        );
        assert!(!may_pass(&outcome.expect_err("it failed")));
    }
}
