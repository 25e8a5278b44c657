//! What happens to a batch of messages inside one commit.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use contracts::Service;

use crate::bus::{Group, Message};
use crate::context::Context;
use crate::event::{Lane, Position};
use crate::overlay::Fault;
use crate::reaction::dead_letter::{self, ParkedStream};
use crate::reaction::lives::{self, Belongs};
use crate::reaction::{Checkpoint, Failed, Reaction, checkpoint_id};
use crate::unit::Unit;
use crate::writer::panic_message;

/// Why a lane cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The reaction failed.
    Failed(Failed),
    /// The message before this one has not come.
    Gap {
        source: Service,
        expected: Position,
        prev: Position,
    },
    /// The message is of another life of the journal than the checkpoint, and of none that this is known to continue.
    OtherEpoch,
    /// The journal ends before the checkpoint.
    BeyondHead { head: Position },
}

impl Cause {
    /// Whether what the lane waits for may come behind the message at which it stopped.
    pub(crate) fn may_end_behind(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::OtherEpoch)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(failed) => failed.fmt(f),
            Self::Gap { source, expected, prev } => write!(
                f,
                "a message is missing: the last one handled is {expected}, this one follows {prev}; it is waited for, and \
                 `tradewind republish --service {source} --from {expected}` sends it again"
            ),
            Self::BeyondHead { head } => write!(
                f,
                "it was handled beyond the source's last position {head}: the source was restored from an older backup; \
                 restore this service from the same backup"
            ),
            Self::OtherEpoch => f.write_str(
                "there is an event of another life of the source's journal, in which positions mean something else; if \
                 the source was restored from a backup, restore this service from the same one",
            ),
        }
    }
}

/// A message at which a lane stopped.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) position: Position,
    /// The last of the lane's messages that was left aside.
    pub(crate) last: Position,
    pub(crate) cause: Cause,
}

impl Stop {
    pub(crate) fn at(position: Position, cause: Cause) -> Self {
        Self {
            position,
            last: position,
            cause,
        }
    }

    /// The lane stops at another message, too, behind this one. A failure ends it; of what it waits for, a gap comes first,
    /// which somebody can do something about.
    fn and_at(&mut self, next: Self) {
        let last = self.last.max(next.position);
        if self.cause == Cause::OtherEpoch && next.cause != Cause::OtherEpoch || !next.cause.may_end_behind() {
            *self = next;
        }
        self.last = last;
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How far each lane came.
    pub(crate) reached: BTreeMap<Lane, Position>,
    pub(crate) stops: BTreeMap<Lane, Stop>,
    pub(crate) handled: u64,
    /// Messages of each lane that a restore has discarded.
    pub(crate) discarded: BTreeMap<Lane, u64>,
}

/// What to do with a message that has failed for long enough.
#[derive(Clone, Debug)]
pub(crate) enum Park {
    /// Try once more.
    IfItFails,
    /// Its commit is refused: do not try.
    Always(Arc<str>),
}

/// A batch of one group's messages.
pub(crate) struct Delivered {
    pub(crate) group: Group,
    pub(crate) reaction: Arc<dyn Reaction>,
    pub(crate) messages: Arc<[Message]>,
    pub(crate) park: BTreeMap<(Lane, Position), Park>,
}

impl Delivered {
    /// Handles every message that is next in its lane; a lane stops at its first failure, the others go on. Behind a gap
    /// the lane is still looked through, since what is missing may come later, and behind messages of a life that is not
    /// known, since the consumer's own may go on there. Effects, dead letters and checkpoints are in the unit's one commit.
    pub(crate) fn handle(&self, unit: &mut Unit<'_>) -> Report {
        let mut report = Report::default();
        let mut checkpoints: BTreeMap<Lane, Checkpoint> = BTreeMap::new();
        let lanes: BTreeSet<Lane> = self.messages.iter().map(|message| message.event.lane).collect();
        unit.load::<Checkpoint>(lanes.iter().map(|&lane| checkpoint_id(&self.group, lane)));
        for message in self.messages.iter() {
            let (lane, position) = (message.event.lane, message.event.position);
            if report.stops.get(&lane).is_some_and(|stop| !stop.cause.may_end_behind()) {
                continue;
            }
            let checkpoint = checkpoints.entry(lane).or_insert_with(|| {
                let stored = unit.get::<Checkpoint>(checkpoint_id(&self.group, lane));
                let mut checkpoint = stored.map(|it| Checkpoint::clone(&it)).unwrap_or_default();
                if checkpoint.position == Position::START {
                    // Nothing was handled in any other life of the journal.
                    checkpoint.epoch = lives::begins(unit, message);
                }
                checkpoint
            });
            match self.advance(unit, checkpoint, message) {
                Ok(Handled::Before) => {}
                Ok(Handled::Now) => report.handled += 1,
                Ok(Handled::Discarded) => *report.discarded.entry(lane).or_default() += 1,
                Err(cause) => {
                    let stop = Stop::at(position, cause);
                    match report.stops.entry(lane) {
                        Entry::Vacant(entry) => drop(entry.insert(stop)),
                        Entry::Occupied(mut entry) => entry.get_mut().and_at(stop),
                    }
                    continue;
                }
            }
            let reached = checkpoint.position;
            // The gap is closed; yet what was left aside behind it is not handled before it comes again.
            if report
                .stops
                .get(&lane)
                .is_some_and(|stop| matches!(stop.cause, Cause::Gap { .. }) && stop.last <= reached)
            {
                report.stops.remove(&lane);
            }
            report.reached.insert(lane, reached);
        }
        for (lane, checkpoint) in checkpoints {
            let id = checkpoint_id(&self.group, lane);
            if unit
                .get::<Checkpoint>(&id)
                .is_none_or(|stored| stored.position != checkpoint.position)
            {
                unit.put(&id, checkpoint);
            }
        }
        report
    }

    fn advance(&self, unit: &mut Unit<'_>, checkpoint: &mut Checkpoint, message: &Message) -> Result<Handled, Cause> {
        let event = &message.event;
        match lives::belongs(unit, checkpoint.epoch, message) {
            Belongs::Here => {}
            Belongs::Discarded => return Ok(Handled::Discarded),
            Belongs::Elsewhere => return Err(Cause::OtherEpoch),
        }
        if event.position <= checkpoint.position {
            return Ok(Handled::Before);
        }
        if checkpoint.begins.is_some_and(|begins| event.time < begins) {
            checkpoint.position = event.position;
            return Ok(Handled::Before);
        }
        if event.prev != checkpoint.position {
            return Err(Cause::Gap {
                source: self.group.source,
                expected: checkpoint.position,
                prev: event.prev,
            });
        }
        let behind = checkpoint.parked > 0
            && unit
                .get::<ParkedStream>(dead_letter::stream_key(&self.group, &event.stream))
                .is_some();
        let park = self.park.get(&(event.lane, event.position));
        let failure = match (behind, park) {
            (true, _) => Some("it waits behind an earlier event of its stream".to_owned()),
            (false, Some(Park::Always(reason))) => Some(reason.to_string()),
            (false, park) => match self.attempt(unit, message) {
                Ok(()) => None,
                Err(Failed::Poison(reason)) if park.is_some() => Some(reason),
                Err(failed) => return Err(Cause::Failed(failed)),
            },
        };
        match failure {
            None => checkpoint.applied += 1,
            Some(reason) => {
                dead_letter::park(unit, &self.group, message, reason);
                checkpoint.parked += 1;
            }
        }
        checkpoint.position = event.position;
        checkpoint.begins = None;
        Ok(Handled::Now)
    }

    fn attempt(&self, unit: &mut Unit<'_>, message: &Message) -> Result<(), Failed> {
        attempt(self.reaction.as_ref(), &self.group, unit, message)
    }
}

enum Handled {
    Before,
    Now,
    /// By the restore that began the checkpoint's life: it never happened.
    Discarded,
}

/// Lets the reaction handle one message; a failure or a panic leaves no trace in the unit.
pub(crate) fn attempt(
    reaction: &dyn Reaction,
    group: &Group,
    unit: &mut Unit<'_>,
    message: &Message,
) -> Result<(), Failed> {
    let event = &message.event;
    if reaction
        .types()
        .is_some_and(|types| !types.contains(&&*event.event_type))
    {
        return Ok(());
    }
    let origin = Context {
        actor: format!("service:{}", group.service).into(),
        correlation: Arc::clone(&event.meta.correlation),
        causation: Some(event.id),
        trace: event.meta.trace.clone(),
        claim: None,
        room: None,
    };
    let (savepoint, missing) = (unit.savepoint(), unit.missing());
    let reacted = catch_unwind(AssertUnwindSafe(|| reaction.react(message, &mut unit.within(&origin))));
    let result = match (reacted, unit.take_fault()) {
        // It failed for want of what is not loaded yet, and so did nothing. The messages behind it may ask for theirs.
        _ if unit.missing() > missing => Ok(()),
        (Err(panic), _) => Err(Failed::Poison(format!("panicked: {}", panic_message(panic.as_ref())))),
        (_, Some(Fault::EventTooLarge { bytes })) => Err(Failed::Poison(format!("made an event of {bytes} bytes"))),
        (_, Some(Fault::Corrupt(what))) => Err(Failed::Poison(format!("stored data is not as expected: {what}"))),
        (Ok(result), None) => result,
    };
    if result.is_err() {
        unit.roll_back(savepoint);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_with_a_gap_says_what_closes_it() {
        let gap = Cause::Gap {
            source: Service::Orders,
            expected: Position(41),
            prev: Position(43),
        };
        assert!(
            gap.to_string()
                .contains("`tradewind republish --service orders --from 41`"),
            "{gap}"
        );
    }
}
