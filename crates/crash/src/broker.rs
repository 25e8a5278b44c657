//! Stands in for a broker that keeps what it is given: of each journal it delivers what was published, and nothing else.
//! A relay that leaves something out panics, and with it the process is never ready.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::event::{Lane, Position};
use tokio::sync::watch;

/// A bus that reads journals, and holds back what was not published. How far each was, outlives the process, as a broker
/// does, in a file for each journal.
#[derive(Debug)]
pub(crate) struct Published {
    journals: Arc<dyn Bus>,
    directory: PathBuf,
    positions: BTreeMap<Service, watch::Sender<u64>>,
}

impl Published {
    pub(crate) fn open(journals: Arc<dyn Bus>, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("the broker has a directory");
        let positions = Service::ALL.iter().map(|&source| {
            let written = std::fs::read_to_string(directory.join(source.as_str()));
            let position = written.map_or(0, |text| text.parse().expect("the broker wrote a position"));
            (source, watch::Sender::new(position))
        });
        Self {
            journals,
            directory: directory.to_owned(),
            positions: positions.collect(),
        }
    }

    fn position(&self, source: Service) -> Result<&watch::Sender<u64>, BusError> {
        let position = self.positions.get(&source);
        position.ok_or_else(|| BusError::new(format!("no journal of {source}")))
    }
}

#[async_trait]
impl Bus for Published {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.journals.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
            return Ok(());
        };
        let (source, first, last) = (first.source, first.event.position.0, last.event.position.0);
        let position = self.position(source)?;
        let published = *position.borrow();
        assert!(
            first <= published + 1 && last - first + 1 == messages.len() as u64,
            "{source} was published up to {published}, and goes on from {first} to {last} with {} events",
            messages.len()
        );
        if last <= published {
            return Ok(());
        }
        let (file, next) = (
            self.directory.join(source.as_str()),
            self.directory.join(format!("{source}.next")),
        );
        std::fs::write(&next, last.to_string()).map_err(BusError::new)?;
        std::fs::rename(&next, &file).map_err(BusError::new)?;
        position.send_replace(last);
        Ok(())
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(HeldBack {
            journal: self.journals.subscribe(group, from).await?,
            published: self.position(group.source)?.subscribe(),
            held: VecDeque::new(),
        }))
    }
}

struct HeldBack {
    journal: Box<dyn Subscription>,
    published: watch::Receiver<u64>,
    held: VecDeque<Message>,
}

#[async_trait]
impl Subscription for HeldBack {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        if self.held.is_empty() {
            self.held = self.journal.receive(max).await?.into();
        }
        let first = self.held.front().map_or(0, |message| message.event.position.0);
        let published = self.published.wait_for(|published| *published >= first).await;
        let published = *published.map_err(BusError::new)?;
        let held = self.held.iter();
        let count = held.take_while(|message| message.event.position.0 <= published);
        let count = count.count().min(max);
        Ok(self.held.drain(..count).collect())
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.journal.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.journal.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.journal.receives(lane)
    }

    fn is_live(&self) -> bool {
        self.journal.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.journal.head().await
    }
}
