//! A broker in memory, for tests and the simulation: it keeps what was published, per source and lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contracts::Service;
use tokio::sync::watch;
use uuid::Uuid;

use crate::bus::shares::{self, Member};
use crate::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use crate::event::{LANES_DEFAULT, Lane, Position};
use crate::wire;

/// One process's connection to the broker; its clones are the same connection.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    broker: Arc<Broker>,
    lanes: u16,
    is_cut: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Broker {
    queues: Mutex<Queues>,
    /// Changes with whatever a receiver may wait for.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Queues {
    is_down: bool,
    /// Counts what the broker has forgotten: subscriptions of another life begin anew.
    life: u64,
    members: u128,
    /// Of each source, as it was first declared or published.
    lanes: BTreeMap<Service, u16>,
    published: BTreeMap<(Service, Lane), Vec<Message>>,
    groups: BTreeMap<Group, Consumption>,
}

#[derive(Debug, Default)]
struct Consumption {
    /// With whether their connection was cut.
    members: BTreeMap<Member, Arc<AtomicBool>>,
    holders: Vec<Option<Member>>,
    /// How many messages of each lane were acknowledged.
    acknowledged: BTreeMap<Lane, usize>,
}

impl Consumption {
    /// The members; lanes of those that have gone are free.
    fn present(&mut self) -> BTreeSet<Member> {
        self.members.retain(|_, is_cut| !is_cut.load(Ordering::Relaxed));
        for holder in &mut self.holders {
            *holder = holder.filter(|holder| self.members.contains_key(holder));
        }
        self.members.keys().copied().collect()
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self {
            broker: Arc::default(),
            lanes: LANES_DEFAULT,
            is_cut: Arc::default(),
        }
    }
}

impl MemoryBus {
    /// Another process's connection to the same broker, which is configured with so many lanes.
    #[must_use]
    pub fn joined(&self, lanes: u16) -> Self {
        Self {
            broker: Arc::clone(&self.broker),
            lanes,
            is_cut: Arc::default(),
        }
    }

    /// Cuts this connection off for ever, as if its process had been killed: the broker notices at once.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.broker.changes.send_replace(());
    }

    /// Loses everything, as a broker whose disk was wiped.
    pub fn wipe(&self) {
        let mut queues = self.queues();
        *queues = Queues {
            is_down: queues.is_down,
            life: queues.life + 1,
            members: queues.members,
            ..Queues::default()
        };
        drop(queues);
        self.broker.changes.send_replace(());
    }

    /// Stops answering, or starts again. What was published is kept.
    pub fn stand_still(&self, is_down: bool) {
        self.queues().is_down = is_down;
        self.broker.changes.send_replace(());
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.broker.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker, if it can be reached.
    fn reach(&self) -> Result<MutexGuard<'_, Queues>, BusError> {
        let queues = self.queues();
        match queues.is_down || self.is_cut.load(Ordering::Relaxed) {
            true => Err(BusError::new("the broker does not answer")),
            false => Ok(queues),
        }
    }

    fn check_lanes(&self, queues: &mut Queues, source: Service) -> Result<(), BusError> {
        match *queues.lanes.entry(source).or_insert(self.lanes) {
            lanes if lanes == self.lanes => Ok(()),
            lanes => Err(BusError::lanes(source, lanes, self.lanes)),
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        let mut queues = self.reach()?;
        groups
            .iter()
            .try_for_each(|group| self.check_lanes(&mut queues, group.source))
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        for message in &messages {
            wire::to_send(message, self.lanes)?;
        }
        let mut queues = self.reach()?;
        for message in &messages {
            self.check_lanes(&mut queues, message.source)?;
        }
        for message in messages {
            let lane = (message.source, message.event.lane);
            queues.published.entry(lane).or_default().push(message);
        }
        drop(queues);
        self.broker.changes.send_replace(());
        Ok(())
    }

    async fn subscribe(&self, group: &Group, _: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let mut queues = self.reach()?;
        self.check_lanes(&mut queues, group.source)?;
        queues.members += 1;
        let member = Member(Uuid::from_u128(queues.members));
        let mut receiver = Receiver {
            bus: self.clone(),
            group: group.clone(),
            member,
            life: queues.life,
            delivered: BTreeMap::new(),
            changes: self.broker.changes.subscribe(),
        };
        receiver.share(&mut queues);
        drop(queues);
        self.broker.changes.send_replace(());
        Ok(Box::new(receiver))
    }
}

struct Receiver {
    bus: MemoryBus,
    group: Group,
    member: Member,
    life: u64,
    /// The lanes that it receives, and how many messages of each it was handed.
    delivered: BTreeMap<Lane, usize>,
    changes: watch::Receiver<()>,
}

impl Receiver {
    /// Lets go of lanes that others should have, and takes those that are free and should be its own. True if others
    /// may have been waiting for that.
    fn share(&mut self, queues: &mut Queues) -> bool {
        if self.life != queues.life {
            self.life = queues.life;
            self.delivered.clear();
        }
        let consumption = queues.groups.entry(self.group.clone()).or_default();
        consumption.members.insert(self.member, Arc::clone(&self.bus.is_cut));
        consumption.holders.resize(usize::from(self.bus.lanes), None);
        let present = consumption.present();
        let wanted = shares::divide(&present, &consumption.holders);
        let mut let_go = false;
        for (lane, (holder, wanted)) in (0..).map(Lane).zip(consumption.holders.iter_mut().zip(wanted)) {
            let is_ours = wanted == Some(self.member);
            if is_ours && holder.is_none() {
                *holder = wanted;
                let acknowledged = consumption.acknowledged.get(&lane).copied();
                self.delivered.insert(lane, acknowledged.unwrap_or_default());
            } else if !is_ours && *holder == Some(self.member) {
                *holder = None;
                self.delivered.remove(&lane);
                let_go = true;
            }
        }
        let_go
    }

    fn take(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        let bus = self.bus.clone();
        let mut queues = bus.reach()?;
        let let_go = self.share(&mut queues);
        let mut taken = Vec::new();
        for (&lane, delivered) in &mut self.delivered {
            let Some(published) = queues.published.get(&(self.group.source, lane)) else {
                continue;
            };
            let next = published.iter().skip(*delivered).take(max - taken.len());
            let before = taken.len();
            taken.extend(next.cloned());
            *delivered += taken.len() - before;
        }
        drop(queues);
        if let_go {
            bus.broker.changes.send_replace(());
        }
        Ok(taken)
    }

    /// How many messages of a lane that it receives were acknowledged.
    fn acknowledged<'a>(&self, queues: &'a mut Queues, lane: Lane) -> Option<(&'a [Message], &'a mut usize)> {
        if self.life != queues.life || !self.delivered.contains_key(&lane) {
            return None;
        }
        let published = queues.published.get(&(self.group.source, lane));
        let consumption = queues.groups.get_mut(&self.group)?;
        let acknowledged = consumption.acknowledged.entry(lane).or_default();
        Some((published.map_or(&[], Vec::as_slice), acknowledged))
    }
}

#[async_trait]
impl Subscription for Receiver {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            self.changes.borrow_and_update();
            let taken = self.take(max)?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            self.changes.changed().await.map_err(BusError::new)?;
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        let mut queues = self.bus.reach()?;
        let delivered = self.delivered.get(&lane).copied().unwrap_or_default();
        if let Some((published, acknowledged)) = self.acknowledged(&mut queues, lane) {
            let done = published[*acknowledged..delivered].iter();
            *acknowledged += done.take_while(|message| message.event.position <= position).count();
        }
        Ok(())
    }

    async fn rewind(&mut self, lane: Lane, _: Position) -> Result<(), BusError> {
        let bus = self.bus.clone();
        let mut queues = bus.reach()?;
        if let Some((_, acknowledged)) = self.acknowledged(&mut queues, lane) {
            self.delivered.insert(lane, *acknowledged);
            self.changes.mark_changed();
        }
        Ok(())
    }

    fn receives(&self, lane: Lane) -> bool {
        self.delivered.contains_key(&lane)
    }

    fn is_live(&self) -> bool {
        self.bus.reach().is_ok()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        None
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(consumption) = self.bus.queues().groups.get_mut(&self.group) {
            consumption.members.remove(&self.member);
        }
        self.bus.broker.changes.send_replace(());
    }
}
