//! Runs one consumer group: receives, handles in batches through the writer, acknowledges, holds lanes that cannot go on.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use crate::complaint::Complaint;
use crate::context::Context;
use crate::effect::backoff;
use crate::engine::Engine;
use crate::event::{LANES_DEFAULT, Lane, Position};
use crate::freshness;
use crate::reaction::batch::{Cause, Delivered, Park, Report, Stop};
use crate::reaction::hold::{HELD_PAUSE_MAX, Hold};
use crate::reaction::{BATCH_EVENTS_MAX, Checkpoint, Progress, Reaction, Start, checkpoint_id};
use crate::store::StoreError;
use crate::writer::{self, Priority};

/// What happened no longer before the first start of a consumer that begins with it counts as having happened since: clocks
/// differ, and are set back.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(24);
/// A consumer that is handed nothing for so long has seen everything there is.
const CAUGHT_UP_AFTER: Duration = Duration::from_secs(1);
/// Where no broker says what is still to come, an event that is older than this has others behind it: references are refused as
/// unknown when they are twice as old ([`freshness::YOUNG_MAX`]).
const OLD_AFTER: SignedDuration = SignedDuration::from_secs(freshness::YOUNG_MAX.as_secs() / 2);

/// Why the runner must begin again from its checkpoints.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Writer(#[from] writer::Error),
}

pub(crate) struct Runner {
    engine: Engine,
    bus: Arc<dyn Bus>,
    reaction: Arc<dyn Reaction>,
    group: Group,
    /// When its service was started.
    started: Timestamp,
    progress: Arc<Progress>,
    holds: BTreeMap<Lane, Hold>,
    reached: Vec<Position>,
    /// Until then more is expected, whatever a batch looks like; on the clock's monotonic time.
    more_until: Duration,
}

impl Runner {
    pub(crate) fn new(
        engine: Engine,
        bus: Arc<dyn Bus>,
        reaction: Arc<dyn Reaction>,
        group: Group,
        started: Timestamp,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            engine,
            bus,
            reaction,
            group,
            started,
            progress,
            holds: BTreeMap::new(),
            reached: Vec::new(),
            more_until: Duration::ZERO,
        }
    }

    /// Consumes until told to stop. An unavailable bus or store is waited for without limit.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.progress.note(0, true);
        self.run_until(stop).await;
        // Whoever goes on knows how far it has come.
        self.progress.note(0, false);
    }

    async fn run_until(&mut self, stop: CancellationToken) {
        let (mut failures, mut complaint) = (0, Complaint::default());
        loop {
            let handled_before = self.progress.handled();
            let consumed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                consumed = self.consume() => consumed,
            };
            let Err(error) = consumed;
            if matches!(error, Interrupted::Writer(writer::Error::ShuttingDown)) {
                return;
            }
            failures = if self.progress.handled() > handled_before {
                1
            } else {
                failures + 1
            };
            self.progress.catching_up.store(true, Ordering::Relaxed);
            if failures == 1 {
                complaint.is_over();
            }
            if complaint.is_due(&error) {
                tracing::warn!(group = %self.group, %error, failures, "a consumer was interrupted; it goes on by itself");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.engine.clock().sleep(backoff(failures).min(HELD_PAUSE_MAX)) => {}
            }
        }
    }

    async fn consume(&mut self) -> Result<std::convert::Infallible, Interrupted> {
        self.holds.clear();
        let mut subscription = self.subscribe().await?;
        self.progress.note(self.holds.len(), true);
        self.progress.begun.send_replace(true);
        let may_be_cut_off = self.bus.shares_lanes();
        if may_be_cut_off {
            self.expect_more();
        }
        loop {
            // A lane that another subscriber receives by now is held there, if at all.
            self.holds.retain(|&lane, _| subscription.receives(lane));
            self.progress.note_held(self.holds.len());
            let retry_in = self.holds.values().map(|hold| hold.retry_at).min();
            let retry_in = retry_in.map(|at| at.saturating_sub(self.engine.clock().monotonic()));
            let catching_up = self.progress.catching_up.load(Ordering::Relaxed);
            let messages = tokio::select! {
                biased;
                () = self.engine.clock().sleep(retry_in.unwrap_or_default()), if retry_in.is_some() => {
                    self.release(subscription.as_mut()).await?;
                    continue;
                }
                messages = subscription.receive(BATCH_EVENTS_MAX) => messages?,
                () = self.engine.clock().sleep(CAUGHT_UP_AFTER), if catching_up || may_be_cut_off => {
                    // Where there are others, they say so of the lanes that they have.
                    let has_its_lanes = self.engine.is_shared()
                        || (0..LANES_DEFAULT).all(|lane| subscription.receives(Lane(lane)));
                    let has_seen_all = subscription.is_live() && has_its_lanes;
                    self.progress.catching_up.store(!has_seen_all, Ordering::Relaxed);
                    continue;
                }
            };
            self.progress.received(&messages);
            // Not before it is committed has this consumer seen it, and a full batch has more behind it.
            let is_full = messages.len() == BATCH_EVENTS_MAX;
            if may_be_cut_off && self.are_old(&messages) {
                self.expect_more();
            }
            self.progress.catching_up.store(true, Ordering::Relaxed);
            let held = |lane| self.holds.get(&lane).is_some_and(Hold::is_closed);
            let open: Arc<[Message]> = messages
                .into_iter()
                .filter(|message| !held(message.event.lane))
                .collect();
            if !open.is_empty() {
                self.handle(subscription.as_mut(), open).await?;
            }
            let more = is_full || self.engine.clock().monotonic() < self.more_until;
            self.progress.note(self.holds.len(), more);
        }
    }

    fn are_old(&self, messages: &[Message]) -> bool {
        let now = self.engine.clock().now();
        let is_old = |message: &Message| now.duration_since(message.event.time) > OLD_AFTER;
        messages.iter().any(is_old)
    }

    fn expect_more(&mut self) {
        self.more_until = self.engine.clock().monotonic() + CAUGHT_UP_AFTER;
    }

    /// Subscribes from the checkpoints; on the very first start, makes them.
    async fn subscribe(&mut self) -> Result<Box<dyn Subscription>, Interrupted> {
        let ids: Vec<String> = (0..LANES_DEFAULT)
            .map(|lane| checkpoint_id(&self.group, Lane(lane)))
            .collect();
        let stored = self.engine.reader().get_many::<Checkpoint>(&ids).await?;
        let first_start = stored.iter().all(Option::is_none);
        self.reached = stored
            .iter()
            .map(|it| it.as_ref().map_or(Position::START, |it| it.position))
            .collect();
        let is_to_begin_now = first_start && self.reaction.start() == Start::Now;
        if is_to_begin_now && self.bus.shares_lanes() {
            // A broker does not know where the journal stands, and may be away while events happen that are to be seen.
            let first = Checkpoint {
                begins: self.started.checked_sub(CLOCKS_APART_MAX).ok(),
                ..Checkpoint::default()
            };
            self.begin_with(ids.clone(), vec![first; usize::from(LANES_DEFAULT)])
                .await?;
        }
        let mut subscription = self.bus.subscribe(&self.group, self.reached.clone()).await?;
        let Some(head) = subscription.head().await else {
            return Ok(subscription);
        };
        if is_to_begin_now {
            self.reached.clone_from(&head.lanes);
            let SourceHead { epoch, lanes } = head;
            let first = lanes.into_iter().map(|position| Checkpoint {
                epoch,
                position,
                ..Checkpoint::default()
            });
            self.begin_with(ids, first.collect()).await?;
            return Ok(self.bus.subscribe(&self.group, self.reached.clone()).await?);
        }
        for lane in (0..LANES_DEFAULT).map(Lane) {
            self.halt_beyond(lane, &head);
        }
        Ok(subscription)
    }

    /// Makes the checkpoints of all lanes, unless another replica has been quicker.
    async fn begin_with(&self, ids: Vec<String>, first: Vec<Checkpoint>) -> Result<(), Interrupted> {
        let begun = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("start"), move |unit| {
                unit.load::<Checkpoint>(&ids);
                for (id, checkpoint) in ids.iter().zip(&first) {
                    if unit.get::<Checkpoint>(id).is_none() {
                        unit.put(id, checkpoint.clone());
                    }
                }
                Ok::<(), writer::Error>(())
            });
        Ok(begun.await?)
    }

    async fn handle(
        &mut self,
        subscription: &mut dyn Subscription,
        messages: Arc<[Message]>,
    ) -> Result<(), Interrupted> {
        let report = match self.commit(Arc::clone(&messages), BTreeMap::new()).await {
            // Something in the batch cannot be committed: one by one, the culprit stands alone.
            Err(writer::Error::Content(_)) if messages.len() > 1 => {
                for message in messages.iter() {
                    Box::pin(self.handle(subscription, Arc::new([message.clone()]))).await?;
                }
                return Ok(());
            }
            Err(writer::Error::Content(reason)) => {
                let (lane, position) = (messages[0].event.lane, messages[0].event.position);
                let park = BTreeMap::from([((lane, position), Park::Always(reason))]);
                self.commit(Arc::clone(&messages), park).await?
            }
            report => report?,
        };
        self.progress.handled.fetch_add(report.handled, Ordering::Relaxed);
        for (lane, count) in &report.discarded {
            tracing::warn!(group = %self.group, lane = lane.0, count, "a restore of the source has discarded events");
        }
        let now = self.engine.clock().monotonic();
        for message in messages.iter() {
            let lane = message.event.lane;
            if let Some(hold) = self.holds.get_mut(&lane) {
                let reached = self.reached[lane.index()];
                hold.hear(report.reached.get(&lane).is_some_and(|now| *now > reached), now);
            }
        }
        for (&lane, &position) in &report.reached {
            self.reached[lane.index()] = position;
            if self.holds.get(&lane).is_some_and(|hold| hold.is_over(position)) {
                self.holds.remove(&lane);
                tracing::info!(group = %self.group, lane = lane.0, %position, "a lane that was held goes on");
            }
            subscription.acknowledge(lane, position).await?;
        }
        for (lane, stop) in report.stops {
            self.hold(lane, stop);
        }
        Ok(())
    }

    async fn commit(
        &self,
        messages: Arc<[Message]>,
        mut park: BTreeMap<(Lane, Position), Park>,
    ) -> Result<Report, writer::Error> {
        let now = self.engine.clock().monotonic();
        for (&lane, hold) in &self.holds {
            if let Some(position) = hold.poison(now) {
                park.entry((lane, position)).or_insert(Park::IfItFails);
            }
        }
        let (group, reaction) = (self.group.clone(), Arc::clone(&self.reaction));
        let delivered = Delivered {
            group,
            reaction,
            messages,
            park,
        };
        let context = Context::system("reaction");
        self.engine
            .writer()
            .execute(Priority::Background, context, move |unit| Ok(delivered.handle(unit)))
            .await
    }

    /// Halts a lane whose checkpoint is beyond its source: what comes there would look as if it had been handled.
    fn halt_beyond(&mut self, lane: Lane, head: &SourceHead) -> bool {
        let position = self.reached[lane.index()];
        let head = head.lanes[lane.index()];
        let beyond = position > head;
        if beyond {
            let cause = Cause::BeyondHead { head };
            self.hold(lane, Stop::at(position, cause));
        }
        beyond
    }

    fn hold(&mut self, lane: Lane, stop: Stop) {
        let now = self.engine.clock().monotonic();
        match self.holds.entry(lane) {
            Entry::Occupied(mut hold) if hold.get().is_still(&stop) => hold.get_mut().go_on(stop, now),
            hold => {
                let (position, cause) = (stop.position, &stop.cause);
                tracing::warn!(group = %self.group, lane = lane.0, %position, %cause, "a lane is held");
                match hold {
                    Entry::Occupied(mut hold) => hold.get_mut().begin_anew(stop, now),
                    Entry::Vacant(hold) => drop(hold.insert(Hold::new(stop, now))),
                }
            }
        }
    }

    /// Asks for the messages of held lanes again whose pause is over.
    async fn release(&mut self, subscription: &mut dyn Subscription) -> Result<(), BusError> {
        let now = self.engine.clock().monotonic();
        let due = self.holds.iter().filter(|(_, hold)| hold.retry_at <= now);
        for lane in due.map(|(&lane, _)| lane).collect::<Vec<_>>() {
            let (reached, hold) = (self.reached[lane.index()], self.holds.get_mut(&lane));
            let hold = hold.expect("it was just there");
            hold.ask(now);
            if matches!(hold.cause, Cause::BeyondHead { .. }) {
                let head = subscription
                    .head()
                    .await
                    .ok_or_else(|| BusError::new("it does not say where it stands"))?;
                if self.halt_beyond(lane, &head) {
                    continue;
                }
            }
            subscription.rewind(lane, reached).await?;
        }
        Ok(())
    }
}
