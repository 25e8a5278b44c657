//! The lanes of a group that this process receives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use contracts::Service;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::cursors::Cursors;
use super::reader::{Delivery, Reader, WAITING_BYTES_MAX};
use super::shared::SharedReadings;
use super::subscriptions::Leave;
use super::{Cursor, Log};
use crate::bus::keeper::Tenancy;
use crate::bus::{BusError, Message, SourceHead, Subscription};
use crate::clock::Clock;
use crate::event::{Lane, Position};

/// Messages that were read and wait to be received, of all lanes.
const WAITING_MAX: usize = 256;
/// Messages of a lane whose place is kept until they are acknowledged. What is handed out beyond them is read again once
/// these are acknowledged.
const PLACES_MAX: usize = 16 * 1024;

pub(super) struct LogSubscription {
    source: Service,
    log: Arc<dyn Log>,
    readings: Arc<SharedReadings>,
    cursors: Arc<Cursors>,
    tenancy: Arc<Tenancy>,
    clock: Arc<dyn Clock>,
    changes: watch::Receiver<()>,
    lanes: BTreeMap<Lane, Reading>,
    generations: u64,
    deliveries: mpsc::Receiver<Delivery>,
    deliver: mpsc::Sender<Delivery>,
    room: Arc<Semaphore>,
    /// Read, and not handed out yet.
    ready: VecDeque<Delivery>,
    _keeping_up: AbortOnDropHandle<()>,
    _leave: Leave,
}

/// A lane that is read.
struct Reading {
    generation: u64,
    /// What was handed out and not acknowledged, in order.
    places: VecDeque<(Position, Cursor)>,
    /// Whether more was handed out than there are places.
    is_beyond: bool,
    _task: AbortOnDropHandle<()>,
}

impl LogSubscription {
    pub(super) fn new(
        source: Service,
        log: Arc<dyn Log>,
        readings: Arc<SharedReadings>,
        cursors: Arc<Cursors>,
        tenancy: Arc<Tenancy>,
        clock: Arc<dyn Clock>,
        leave: Leave,
    ) -> Self {
        let (deliver, deliveries) = mpsc::channel(WAITING_MAX);
        let keeping_up = tokio::spawn(Arc::clone(&cursors).keep_up(Arc::clone(&clock)));
        Self {
            changes: tenancy.changes(),
            source,
            log,
            readings,
            cursors,
            tenancy,
            clock,
            lanes: BTreeMap::new(),
            generations: 0,
            deliveries,
            deliver,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            ready: VecDeque::new(),
            _keeping_up: AbortOnDropHandle::new(keeping_up),
            _leave: leave,
        }
    }

    /// Reads the lanes that are granted, and no others.
    fn enter(&mut self) {
        self.changes.borrow_and_update();
        let granted: BTreeSet<Lane> = self.tenancy.enter();
        self.lanes.retain(|lane, _| granted.contains(lane));
        for lane in granted {
            if !self.lanes.contains_key(&lane) {
                self.read(lane, None);
            }
        }
    }

    /// Reads a lane, after a cursor or after what the broker has kept.
    fn read(&mut self, lane: Lane, after: Option<Cursor>) {
        self.generations += 1;
        let reader = Reader {
            log: Arc::clone(&self.log),
            readings: Arc::clone(&self.readings),
            cursors: Arc::clone(&self.cursors),
            source: self.source,
            lane,
            generation: self.generations,
            deliveries: self.deliver.clone(),
            room: Arc::clone(&self.room),
            clock: Arc::clone(&self.clock),
        };
        let reading = Reading {
            generation: self.generations,
            places: VecDeque::new(),
            is_beyond: false,
            _task: AbortOnDropHandle::new(tokio::spawn(reader.run(after))),
        };
        self.lanes.insert(lane, reading);
    }

    /// Takes what was read, as far as it is of a reading that goes on.
    fn gather(&mut self, max: usize) {
        let lanes = &self.lanes;
        let is_current = |it: &Delivery| lanes.get(&it.lane).is_some_and(|lane| lane.generation == it.generation);
        self.ready.retain(is_current);
        while self.ready.len() < max
            && let Ok(delivery) = self.deliveries.try_recv()
        {
            if is_current(&delivery) {
                self.ready.push_back(delivery);
            }
        }
    }

    /// Hands out, and keeps the places.
    fn hand_out(&mut self, max: usize) -> Vec<Message> {
        let count = self.ready.len().min(max);
        let mut messages = Vec::with_capacity(count);
        for delivery in self.ready.drain(..count) {
            if let Some(reading) = self.lanes.get_mut(&delivery.lane) {
                match reading.places.len() < PLACES_MAX && !reading.is_beyond {
                    true => reading
                        .places
                        .push_back((delivery.message.event.position, delivery.cursor)),
                    false => reading.is_beyond = true,
                }
            }
            messages.push(delivery.message);
        }
        messages
    }
}

#[async_trait]
impl Subscription for LogSubscription {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            self.enter();
            self.gather(max);
            let may_hand_out = self.tenancy.holds(self.clock.monotonic());
            if may_hand_out && !self.ready.is_empty() {
                return Ok(self.hand_out(max));
            }
            tokio::select! {
                biased;
                changed = self.changes.changed() => changed.map_err(BusError::new)?,
                delivery = self.deliveries.recv(), if self.ready.is_empty() => self.ready.extend(delivery),
            }
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        let Some(reading) = self.lanes.get_mut(&lane) else {
            return Ok(());
        };
        let mut done = None;
        while let Some((_, cursor)) = reading.places.pop_front_if(|(place, _)| *place <= position) {
            done = Some(cursor);
        }
        if let Some(cursor) = done {
            self.cursors.acknowledge(lane, cursor);
        }
        if reading.is_beyond && reading.places.is_empty() {
            let acknowledged = self.cursors.acknowledged(lane);
            self.read(lane, acknowledged);
        }
        Ok(())
    }

    async fn rewind(&mut self, lane: Lane, _: Position) -> Result<(), BusError> {
        if self.lanes.contains_key(&lane) {
            let acknowledged = self.cursors.acknowledged(lane);
            self.read(lane, acknowledged);
        }
        Ok(())
    }

    fn receives(&self, lane: Lane) -> bool {
        self.lanes.contains_key(&lane) && self.tenancy.has(lane)
    }

    fn is_live(&self) -> bool {
        self.log.is_reached()
    }

    /// A broker knows what was published, not what the journal holds.
    async fn head(&mut self) -> Option<SourceHead> {
        None
    }
}
