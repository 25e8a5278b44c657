//! What a group finds on the brokers: the lanes of its source, and how far it has come in them.

mod entries;
mod place;

use std::collections::BTreeMap;
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contracts::Service;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest, TopicName};
use kernel::bus::BusError;
use kernel::bus::log::{Cursor, Entries, Life, Log};
use kernel::event::Lane;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use self::entries::KafkaEntries;
use self::place::Place;
use crate::coordinator::{Coordinator, WITHIN};
use crate::failure::Failure;
use crate::membership::Standing;
use crate::topics::Topics;

/// Of one group.
#[derive(Debug)]
pub(crate) struct KafkaLog {
    topics: Topics,
    source: Service,
    name: TopicName,
    coordinator: Mutex<Coordinator>,
    standing: watch::Receiver<Standing>,
    /// The lanes of which it is known how far the group is, since the generation that they are held from. Before that somebody
    /// else may have come further.
    known: StdMutex<BTreeMap<Lane, i32>>,
    /// Each reading of a lane has a connection of its own, and ends with it.
    connections: watch::Sender<u64>,
}

impl KafkaLog {
    pub(crate) fn new(
        topics: Topics,
        source: Service,
        coordinator: Coordinator,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self {
            name: TopicName(topics.name(source).into()),
            topics,
            source,
            coordinator: Mutex::new(coordinator),
            standing,
            known: StdMutex::default(),
            connections: watch::Sender::new(0),
        }
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn life(&self) -> Result<Life, BusError> {
        let topic = self.topics.find(self.source).await?;
        Ok(Life(topic.id.as_u128()))
    }

    async fn read(&self, lane: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError> {
        let topic = self.topics.ensure(self.source).await?;
        let connection = self.topics.dialer.dial(topic.leader(lane)?).await?;
        if topic.id.as_u128() != after.life.0 {
            return Err(BusError::new("the topic was made anew"));
        }
        let at = Place::from_number(after.place);
        Ok(Box::new(KafkaEntries::new(connection, &topic, lane, at)))
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    fn is_reached(&self) -> bool {
        self.topics.dialer.is_reached()
    }

    async fn kept(&self, lane: Lane) -> Result<Option<Cursor>, BusError> {
        let since = self.standing.borrow().held.get(&lane).copied();
        let kept = self.offset(&mut *self.coordinator.lock().await, lane).await?;
        if let Some(since) = since {
            self.known().insert(lane, since);
        }
        Ok(kept)
    }

    async fn keep(&self, cursors: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError> {
        let mut coordinator = self.coordinator.lock().await;
        let standing = self.standing.borrow().clone();
        let mut kept = Vec::new();
        for &(lane, mut cursor) in cursors {
            // Of others somebody else says how far the group is.
            let Some(&since) = standing.held.get(&lane) else {
                continue;
            };
            if self.known().get(&lane) != Some(&since) {
                let there = self.offset(&mut coordinator, lane).await?;
                let there = there.filter(|there| there.life == cursor.life && there.place > cursor.place);
                cursor = there.unwrap_or(cursor);
                self.known().insert(lane, since);
            }
            kept.push((lane, cursor));
        }
        if !kept.is_empty() {
            self.commit(&mut coordinator, standing, &kept).await?;
        }
        Ok(kept)
    }
}

impl KafkaLog {
    /// How far the group is.
    async fn offset(&self, coordinator: &mut Coordinator, lane: Lane) -> Result<Option<Cursor>, Failure> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(self.name.clone())
            .with_partition_indexes(vec![lane.0.into()]);
        let request = OffsetFetchRequest::default()
            .with_group_id(coordinator.group())
            .with_topics(Some(vec![topic]));
        let answer = coordinator.call(&request, WITHIN).await?;
        coordinator.done("asking how far the group is", answer.error_code)?;
        let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        let Some(found) = partitions.next() else {
            return Ok(None);
        };
        coordinator.done("asking how far the group is", found.error_code)?;
        // Without one, or with something else's, it is about another topic.
        let topic = found.metadata.as_deref().and_then(|topic| Uuid::try_parse(topic).ok());
        let place = Place {
            offset: found.committed_offset,
            epoch: found.committed_leader_epoch,
        };
        let cursor = topic.filter(|_| place.offset >= 0).map(|topic| Cursor {
            life: Life(topic.as_u128()),
            place: place.number(),
        });
        Ok(cursor)
    }

    /// Says how far the group is.
    async fn commit(
        &self,
        coordinator: &mut Coordinator,
        standing: Standing,
        cursors: &[(Lane, Cursor)],
    ) -> Result<(), Failure> {
        let partition = |(lane, cursor): &(Lane, Cursor)| {
            let place = Place::from_number(cursor.place);
            OffsetCommitRequestPartition::default()
                .with_partition_index(lane.0.into())
                .with_committed_offset(place.offset)
                .with_committed_leader_epoch(place.epoch)
                .with_committed_metadata(Some(Uuid::from_u128(cursor.life.0).to_string().into()))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(self.name.clone())
            .with_partitions(cursors.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(coordinator.group())
            .with_generation_id_or_member_epoch(standing.generation)
            .with_member_id(standing.member)
            .with_topics(vec![topic]);
        let answer = coordinator.call(&request, WITHIN).await?;
        for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
            coordinator.done("keeping how far the group is", partition.error_code)?;
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Lane, i32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
