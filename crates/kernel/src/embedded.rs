//! The embedded bus: consumers tail the journals of the same process. No copy, no second log, nothing to publish.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use contracts::Service;

use crate::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use crate::event::{Lane, Position};
use crate::feed::{Feed, Follower};

pub use crate::feed::Journal;

/// Hands the journals of this process to its consumers.
#[derive(Debug)]
pub struct EmbeddedBus {
    feeds: BTreeMap<Service, Arc<Feed<Message>>>,
}

impl EmbeddedBus {
    /// Over the journals of the services that run in this process.
    #[must_use]
    pub fn new(journals: impl IntoIterator<Item = (Service, Journal)>) -> Self {
        let feeds = journals.into_iter().map(|(source, journal)| {
            let message = move |epoch, event| Message {
                source,
                epoch,
                event: Arc::new(event),
            };
            (source, Arc::new(Feed::new(journal, message)))
        });
        Self { feeds: feeds.collect() }
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        let strange = groups.iter().find(|group| !self.feeds.contains_key(&group.source));
        strange.map_or(Ok(()), |group| {
            Err(BusError::new(format!(
                "{group} consumes {}, which runs in no service of this process; the embedded bus joins one process only",
                group.source
            )))
        })
    }

    fn shares_lanes(&self) -> bool {
        false
    }

    async fn publish(&self, _: Vec<Message>) -> Result<(), BusError> {
        Err(BusError::new(
            "the embedded bus reads the journals; nothing is published to it",
        ))
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let feed = self
            .feeds
            .get(&group.source)
            .ok_or_else(|| BusError::new(format!("no journal of {}", group.source)))?;
        let next = from.into_iter().min().unwrap_or(Position::START);
        Ok(Box::new(Tailer(feed.follow(next))))
    }
}

/// One group's place in a journal: all lanes in one scan.
struct Tailer(Follower<Message>);

#[async_trait]
impl Subscription for Tailer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        let events = self.0.next(max, |_| true).await.map_err(BusError::new)?;
        Ok(events.into_iter().map(|(_, message)| message).collect())
    }

    async fn acknowledge(&mut self, _: Lane, _: Position) -> Result<(), BusError> {
        Ok(())
    }

    async fn rewind(&mut self, _: Lane, position: Position) -> Result<(), BusError> {
        // The other lanes see these positions again and drop them.
        self.0.rewind(position);
        Ok(())
    }

    fn receives(&self, _: Lane) -> bool {
        true
    }

    async fn head(&mut self) -> Option<SourceHead> {
        let head = self.0.journal().store.tail(Position::START, 0).await.ok()?.head;
        Some(SourceHead {
            epoch: head.epoch,
            lanes: head.lanes,
        })
    }
}
