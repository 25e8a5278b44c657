//! A lane that cannot go on: what it waits for, and when it is asked for again.

use std::time::Duration;

use crate::effect::backoff;
use crate::event::Position;
use crate::reaction::Failed;
use crate::reaction::batch::{Cause, Stop};

/// How long a poison event holds its lane before it is parked.
const POISON_HELD_MAX: Duration = Duration::from_secs(2);
/// The longest pause before a lane that waits is tried again.
pub(super) const HELD_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest that a lane is looked through, of which more and more comes, before it is asked for again.
const LOOKED_THROUGH_MAX: Duration = Duration::from_secs(60 * 60);

/// A lane that cannot go on.
pub(super) struct Hold {
    /// The message at which it stopped.
    pub(super) position: Position,
    pub(super) cause: Cause,
    /// When it is asked for again.
    pub(super) retry_at: Duration,
    /// The last message that was left aside.
    last: Position,
    since: Duration,
    attempts: u32,
    /// When it was last asked for, or has come further.
    looks_since: Duration,
    /// Set when the retry is under way: messages of the lane are let through again. Should none come, it is repeated.
    released: bool,
}

impl Hold {
    pub(super) fn new(Stop { position, last, cause }: Stop, now: Duration) -> Self {
        let mut hold = Self {
            position,
            cause,
            retry_at: now,
            last,
            since: now,
            attempts: 1,
            looks_since: now,
            released: false,
        };
        hold.pause(now);
        hold
    }

    /// Whether messages of the lane are left aside. Where what it waits for may be among them, they are not.
    pub(super) fn is_closed(&self) -> bool {
        !self.released && !self.cause.may_end_behind()
    }

    /// Whether a lane that has come so far goes on by itself. A gap may close before the lane is asked for again, and
    /// what was left aside behind it does not come unasked.
    pub(super) fn is_over(&self, reached: Position) -> bool {
        self.position.max(self.last) <= reached
    }

    /// The message that is parked, should it fail again.
    pub(super) fn poison(&self, now: Duration) -> Option<Position> {
        let is_poison = matches!(self.cause, Cause::Failed(Failed::Poison(_)));
        let is_due = is_poison && now.saturating_sub(self.since) >= POISON_HELD_MAX;
        is_due.then_some(self.position)
    }

    /// Whether a lane that stops here waits for what it has been waiting for. What shows that something is missing may be
    /// another message each time.
    pub(super) fn is_still(&self, stop: &Stop) -> bool {
        match (&self.cause, &stop.cause) {
            (Cause::Gap { expected, .. }, Cause::Gap { expected: now, .. }) => expected == now,
            (Cause::Gap { .. } | Cause::OtherEpoch, Cause::OtherEpoch) => true,
            (Cause::Failed(_), Cause::Failed(_)) | (Cause::BeyondHead { .. }, Cause::BeyondHead { .. }) => {
                self.position == stop.position
            }
            _ => false,
        }
    }

    /// It waits for something else. What was left aside still has to come.
    pub(super) fn begin_anew(&mut self, stop: Stop, now: Duration) {
        let last = self.last.max(stop.last);
        *self = Self::new(Stop { last, ..stop }, now);
    }

    /// It does.
    pub(super) fn go_on(&mut self, stop: Stop, now: Duration) {
        self.last = self.last.max(stop.last);
        if !self.cause.may_end_behind() {
            self.cause = stop.cause;
        }
        self.released = false;
        self.pause(now);
    }

    /// Messages of the lane have come, and it may have come further by them. More may follow, with what it waits for among them.
    pub(super) fn hear(&mut self, is_further: bool, now: Duration) {
        if is_further {
            self.looks_since = now;
        }
        self.pause(now);
    }

    /// It is asked for again.
    pub(super) fn ask(&mut self, now: Duration) {
        self.released = true;
        self.attempts += 1;
        self.looks_since = now;
        self.pause(now);
    }

    /// Where what it waits for may come behind the rest, it is not asked for from the beginning while the rest still comes: for
    /// as long as it has been held before, so that the end is come to in some attempt, however far that is.
    fn pause(&mut self, now: Duration) {
        let pause = match self.cause {
            _ if self.released => HELD_PAUSE_MAX,
            Cause::Failed(Failed::Poison(_)) => {
                let until_parked = (self.since + POISON_HELD_MAX).saturating_sub(now);
                backoff(self.attempts).min(until_parked)
            }
            _ => backoff(self.attempts).min(HELD_PAUSE_MAX),
        };
        let looks = self.looks_since.saturating_sub(self.since);
        let looks_until = self.looks_since + looks.clamp(HELD_PAUSE_MAX, LOOKED_THROUGH_MAX);
        self.retry_at = (now + pause).min(looks_until.max(now));
    }
}
