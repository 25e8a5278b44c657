//! A service's way to the broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::event::{Lane, Position};
use kernel::memory::bus::MemoryBus;

use crate::fault::Fault;
use crate::line::Line;
use crate::poison::Poison;

/// How long a lane stands still, or a lost message takes to come again.
const LATE_MAX: Duration = Duration::from_secs(8);

/// The broker, as everybody sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broker {
    pub(crate) bus: MemoryBus,
    down_until: Arc<Mutex<Duration>>,
}

impl Broker {
    /// It is not there until then.
    pub(crate) fn goes_down_until(&self, until: Duration) {
        *self.down_until() = until;
    }

    fn is_down(&self, now: Duration) -> bool {
        now < *self.down_until()
    }

    fn down_until(&self) -> MutexGuard<'_, Duration> {
        self.down_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker at the end of a bad line.
#[derive(Debug)]
pub(crate) struct RemoteBus {
    pub(crate) broker: Broker,
    pub(crate) poison: Poison,
    pub(crate) line: Line,
}

impl RemoteBus {
    fn reached(&self) -> Result<(), BusError> {
        reached(&self.broker, &self.line)
    }
}

fn reached(broker: &Broker, line: &Line) -> Result<(), BusError> {
    match broker.is_down(line.clock.monotonic()) {
        true => Err(BusError::new("the broker is down")),
        false => Ok(()),
    }
}

#[async_trait]
impl Bus for RemoteBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.line.life.connection.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let line = &self.line;
        line.step().await;
        line.may_die(Fault::CrashBeforePublish).await;
        self.reached()?;
        if line.strikes(Fault::PublishFails) {
            return Err(BusError::new("the line is down"));
        }
        line.note(|| format!("published {}", messages.len()));
        line.life.connection.publish(messages).await?;
        line.may_die(Fault::CrashAfterPublish).await;
        if line.strikes(Fault::PublishUnknown) {
            return Err(BusError::new("no answer came"));
        }
        Ok(())
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.line.step().await;
        self.reached()?;
        Ok(Box::new(RemoteSubscription {
            inner: self.line.life.connection.subscribe(group, from).await?,
            group: group.clone(),
            broker: self.broker.clone(),
            poison: self.poison.clone(),
            line: self.line.clone(),
            late: Vec::new(),
            standing: BTreeMap::new(),
        }))
    }
}

struct RemoteSubscription {
    inner: Box<dyn Subscription>,
    group: Group,
    broker: Broker,
    poison: Poison,
    line: Line,
    /// Messages that come when their time is there, in the order of their coming.
    late: Vec<(Duration, Message)>,
    /// Lanes that stand still until then.
    standing: BTreeMap<Lane, Duration>,
}

impl RemoteSubscription {
    /// What has come of these now; the rest comes later.
    fn sift(&mut self, received: Vec<Message>) -> Vec<Message> {
        let now = self.line.clock.monotonic();
        let mut come = Vec::new();
        for message in received {
            let lane = message.event.lane;
            if self.line.strikes(Fault::LaneLate) {
                self.standing.insert(lane, now + self.line.dice.up_to(LATE_MAX));
            }
            if self.line.strikes(Fault::MessageTwice) {
                self.late.push((now + self.line.dice.up_to(LATE_MAX), message.clone()));
            }
            if self.line.strikes(Fault::MessageLate) {
                self.late.push((now + self.line.dice.up_to(LATE_MAX), message));
                continue;
            }
            match self.standing.get(&lane) {
                Some(until) if *until > now => self.late.push((*until, message)),
                _ => come.push(message),
            }
        }
        come
    }

    /// As the group can read them now.
    fn read(&self, messages: Vec<Message>) -> Vec<Message> {
        let read = |message| self.poison.read(&self.line, &self.group, message);
        messages.into_iter().map(read).collect()
    }

    fn take_due(&mut self) -> Vec<Message> {
        let now = self.line.clock.monotonic();
        let (due, late): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.late = late;
        due.into_iter().map(|(_, message)| message).collect()
    }
}

#[async_trait]
impl Subscription for RemoteSubscription {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            self.line.step().await;
            reached(&self.broker, &self.line)?;
            let due = self.take_due();
            if !due.is_empty() {
                return Ok(self.read(due));
            }
            let now = self.line.clock.monotonic();
            let next = self.late.iter().map(|(at, _)| at.saturating_sub(now)).min();
            let received = tokio::select! {
                biased;
                received = self.inner.receive(max) => received?,
                () = self.line.clock.sleep(next.unwrap_or_default()), if next.is_some() => continue,
            };
            self.line.may_die(Fault::CrashOnReceipt).await;
            let come = self.sift(received);
            if !come.is_empty() {
                return Ok(self.read(come));
            }
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.line.alive().await;
        reached(&self.broker, &self.line)?;
        self.inner.acknowledge(lane, position).await
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        self.line.alive().await;
        reached(&self.broker, &self.line)?;
        self.inner.rewind(lane, position).await
    }

    fn receives(&self, lane: Lane) -> bool {
        self.inner.receives(lane)
    }

    fn is_live(&self) -> bool {
        reached(&self.broker, &self.line).is_ok() && self.inner.is_live()
    }

    async fn head(&mut self) -> Option<SourceHead> {
        self.inner.head().await
    }
}
