//! Reads one lane.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, TopicName};
use kafka_protocol::records::{NO_PARTITION_LEADER_EPOCH, RecordBatchDecoder};
use kernel::bus::BusError;
use kernel::bus::log::{Entries, Entry};
use kernel::event::Lane;
use uuid::Uuid;

use super::place::Place;
use crate::connection::Connection;
use crate::dialer::ANSWER_MAX;
use crate::failure::{Failure, done};
use crate::topics::{BATCH_BYTES_MAX, Topic, millis};

/// How long a broker waits for something new before it says that there is nothing.
const FETCH: Duration = Duration::from_secs(5);
/// What it sends of a lane at once, but always a whole batch.
const FETCH_BYTES: usize = BATCH_BYTES_MAX;
/// Not a replica.
const CONSUMER: BrokerId = BrokerId(-1);
/// Each fetch stands for itself.
const NO_SESSION_EPOCH: i32 = -1;
/// Asks for the first that is there.
const EARLIEST: i64 = -2;
/// Where a batch has its length, the difference to its last offset, and its attributes; and how far it is counted from.
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_AT: usize = 23;
const HEADER_BYTES: usize = 61;
const COMPRESSION: i16 = 0b111;

/// One lane, as it is read.
pub(super) struct KafkaEntries {
    connection: Connection,
    name: TopicName,
    topic: Uuid,
    lane: Lane,
    /// Behind what waits.
    at: Place,
    waiting: VecDeque<Entry>,
}

impl KafkaEntries {
    /// From a place on, over a connection to the broker that leads the lane.
    pub(super) fn new(connection: Connection, topic: &Topic, lane: Lane, at: Place) -> Self {
        Self {
            connection,
            name: topic.name.clone(),
            topic: topic.id,
            lane,
            at,
            waiting: VecDeque::new(),
        }
    }
}

#[async_trait]
impl Entries for KafkaEntries {
    async fn next(&mut self) -> Result<Entry, BusError> {
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Ok(entry);
            }
            self.fetch().await?;
        }
    }

    fn at_hand(&mut self) -> Option<Entry> {
        self.waiting.pop_front()
    }
}

impl KafkaEntries {
    async fn fetch(&mut self) -> Result<(), Failure> {
        let bytes_max = i32::try_from(FETCH_BYTES).unwrap_or(i32::MAX);
        let partition = FetchPartition::default()
            .with_partition(self.lane.0.into())
            .with_current_leader_epoch(NO_PARTITION_LEADER_EPOCH)
            .with_fetch_offset(self.at.offset)
            .with_last_fetched_epoch(self.at.epoch)
            .with_partition_max_bytes(bytes_max);
        let topic = FetchTopic::default()
            .with_topic_id(self.topic)
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(CONSUMER)
            .with_max_wait_ms(millis(FETCH))
            .with_min_bytes(1)
            .with_max_bytes(bytes_max)
            .with_session_epoch(NO_SESSION_EPOCH)
            .with_topics(vec![topic]);
        let answer = self.connection.call(&request, FETCH + ANSWER_MAX).await?;
        done("reading a lane", answer.error_code)?;
        let mut partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
        let Some(found) = partitions.next() else {
            return Ok(());
        };
        if found.error_code == ResponseError::OffsetOutOfRange.code() {
            return self.begin_with_the_first().await;
        }
        done("reading a lane", found.error_code)?;
        if found.diverging_epoch.end_offset >= 0 {
            let (lane, from) = (self.lane.0, found.diverging_epoch.end_offset);
            tracing::warn!(
                topic = self.name.as_str(),
                lane,
                from,
                "records that were read are lost; others are read"
            );
            self.at = Place {
                offset: from,
                epoch: found.diverging_epoch.epoch,
            };
            return Ok(());
        }
        self.understand(found.records.unwrap_or_default())
    }

    /// What was to come is deleted by its age, or the broker has lost more than it can tell.
    async fn begin_with_the_first(&mut self) -> Result<(), Failure> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(self.lane.0.into())
            .with_current_leader_epoch(NO_PARTITION_LEADER_EPOCH)
            .with_timestamp(EARLIEST);
        let topic = ListOffsetsTopic::default()
            .with_name(self.name.clone())
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(CONSUMER)
            .with_topics(vec![topic]);
        let answer = self.connection.call(&request, ANSWER_MAX).await?;
        let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        let first = partitions
            .next()
            .ok_or_else(|| Failure::Lost("the broker does not say where a lane begins".to_owned()))?;
        done("asking where a lane begins", first.error_code)?;
        let (lane, sought) = (self.lane.0, self.at.offset);
        tracing::warn!(
            topic = self.name.as_str(),
            lane,
            sought,
            from = first.offset,
            "a lane is read from its beginning"
        );
        self.at = Place {
            offset: first.offset,
            epoch: NO_PARTITION_LEADER_EPOCH,
        };
        Ok(())
    }

    /// The last batch may be there in part: it comes again.
    fn understand(&mut self, mut records: Bytes) -> Result<(), Failure> {
        while records.len() >= HEADER_BYTES {
            let length = (&records[LENGTH_AT..LENGTH_END]).get_i32();
            let length = LENGTH_END + usize::try_from(length).unwrap_or(usize::MAX - LENGTH_END);
            if length < HEADER_BYTES || records.len() < length {
                break;
            }
            let batch = records.split_to(length);
            let last = (&batch[..LENGTH_AT]).get_i64() + i64::from((&batch[LAST_OFFSET_AT..]).get_i32());
            let epoch = (&batch[LENGTH_END..]).get_i32();
            match (&batch[ATTRIBUTES_AT..]).get_i16() & COMPRESSION {
                0 => self.take(batch, epoch)?,
                _ => {
                    let (topic, lane) = (self.name.as_str(), self.lane.0);
                    tracing::error!(
                        topic,
                        lane,
                        last,
                        "there is something that is compressed, and so is not ours"
                    );
                }
            }
            self.at = Place {
                offset: self.at.offset.max(last + 1),
                epoch,
            };
        }
        Ok(())
    }

    fn take(&mut self, mut batch: Bytes, epoch: i32) -> Result<(), Failure> {
        let found = RecordBatchDecoder::decode(&mut batch)
            .map_err(|error| Failure::Lost(format!("records came damaged: {error}")))?;
        // A batch comes as a whole, from its first record on.
        let new = found
            .records
            .into_iter()
            .filter(|record| record.offset >= self.at.offset && !record.control);
        let entries = new.map(|record| {
            let place = Place {
                offset: record.offset + 1,
                epoch,
            };
            Entry {
                place: place.number(),
                bytes: record.value.unwrap_or_default(),
            }
        });
        self.waiting.extend(entries);
        Ok(())
    }
}
