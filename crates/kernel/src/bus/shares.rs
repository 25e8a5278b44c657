//! Who of a group's subscribers receives which lanes, on brokers that do not say so themselves.
//!
//! The broker keeps one [`Roster`] per group: the members with their latest renewals, and who holds each lane. It
//! is only ever written over the version that was read (compare and set), so it has one history, and in it a lane
//! has one holder at a time. A member that is not seen to renew for [`LEASE`] has lapsed. That is judged by each member's own
//! time since it saw the last renewal, and a member's own claim ends [`LEASE`] after it *began* the last renewal that
//! was written, which is never later: nobody's clocks are compared.
//!
//! All of this is pure. The [keeper](super::keeper) reads and writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Lane;

pub use crate::effect::{LEASE, LEASE_RENEWAL};

/// One subscription, under a name that no other ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Member(pub Uuid);

/// What the broker keeps of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The number of each one's latest renewal.
    pub members: BTreeMap<Member, u64>,
    /// The number of the latest renewal of all: none ever looks like an earlier one.
    pub renewals: u64,
    /// Who holds each lane. While the last holder is asked to let go, that is still it.
    pub holders: Vec<Option<Member>>,
}

/// Who should hold each lane: nobody where there are no members, else each member as many as every other, or one more.
///
/// As few lanes as possible move: those whose holder is gone, and those that a holder has too many of. Members that
/// hold more come first when lanes are left over, and members with smaller names after that.
#[must_use]
pub fn divide(members: &BTreeSet<Member>, holders: &[Option<Member>]) -> Vec<Option<Member>> {
    let mut held: BTreeMap<Member, usize> = members.iter().map(|&member| (member, 0)).collect();
    for holder in holders.iter().flatten() {
        if let Some(count) = held.get_mut(holder) {
            *count += 1;
        }
    }
    let mut by_need: Vec<(Member, usize)> = held.into_iter().collect();
    by_need.sort_by_key(|&(member, count)| (std::cmp::Reverse(count), member));
    let (each, more) = match members.len() {
        0 => return vec![None; holders.len()],
        count => (holders.len() / count, holders.len() % count),
    };
    let share = |(place, (member, _)): (usize, (Member, usize))| (member, each + usize::from(place < more));
    let mut left: BTreeMap<Member, usize> = by_need.into_iter().enumerate().map(share).collect();
    let mut take = |member: &Member| match left.get_mut(member) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    let kept: Vec<Option<Member>> = holders.iter().map(|holder| holder.filter(&mut take)).collect();
    let mut free = left
        .into_iter()
        .flat_map(|(member, count)| std::iter::repeat_n(member, count));
    kept.into_iter().map(|holder| holder.or_else(|| free.next())).collect()
}

/// What one member knows and claims.
#[derive(Debug)]
pub struct Shares {
    me: Member,
    lanes: u16,
    /// The latest renewal of each of the others, and when it was first seen.
    seen: BTreeMap<Member, (u64, Duration)>,
    /// When the last renewal that was written had begun.
    renewed: Option<Duration>,
}

/// What follows from a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    me: Member,
    /// The lanes that this member should have and holds, or holds once `next` is written.
    pub keep: BTreeSet<Lane>,
    /// The lanes that it holds and should let go of.
    pub surplus: BTreeSet<Lane>,
    next: Roster,
    /// Whether it must be written even if nothing else changes.
    is_due: bool,
}

impl Plan {
    /// Gives up lanes, of those that are too many.
    pub fn let_go(&mut self, lanes: &BTreeSet<Lane>) {
        for lane in lanes.intersection(&self.surplus) {
            self.next.holders[lane.index()] = None;
        }
    }

    /// What to write over the roster, if anything. Whatever is written is a renewal.
    #[must_use]
    pub fn signed(&self, roster: &Roster) -> Option<Roster> {
        let mut next = self.next.clone();
        if !self.is_due && next == *roster {
            return None;
        }
        next.renewals += 1;
        next.members.insert(self.me, next.renewals);
        Some(next)
    }
}

impl Shares {
    /// Of a member that has not joined yet, in a group with so many lanes.
    #[must_use]
    pub fn new(me: Member, lanes: u16) -> Self {
        Self {
            me,
            lanes,
            seen: BTreeMap::new(),
            renewed: None,
        }
    }

    /// What to do about a roster that was read at or after `now`; `None` if it is about another number of lanes.
    pub fn plan(&mut self, now: Duration, roster: &Roster) -> Option<Plan> {
        let lanes = usize::from(self.lanes);
        let mut next = roster.clone();
        if roster.holders.is_empty() {
            next.holders = vec![None; lanes];
        }
        if next.holders.len() != lanes {
            return None;
        }
        next.members
            .retain(|member, renewals| self.is_live(now, *member, *renewals));
        self.seen.retain(|member, _| next.members.contains_key(member));
        next.members.entry(self.me).or_default();
        let is_due = self
            .renewed
            .is_none_or(|begun| now.saturating_sub(begun) >= LEASE_RENEWAL);
        for holder in &mut next.holders {
            *holder = holder.filter(|holder| next.members.contains_key(holder));
        }
        let wanted = divide(&next.members.keys().copied().collect(), &next.holders);
        let (mut keep, mut surplus) = (BTreeSet::new(), BTreeSet::new());
        for (lane, (holder, wanted)) in (0..).map(Lane).zip(next.holders.iter_mut().zip(wanted)) {
            let (held, ours) = (*holder == Some(self.me), wanted == Some(self.me));
            if ours && (held || holder.is_none()) {
                *holder = wanted;
                keep.insert(lane);
            } else if held {
                surplus.insert(lane);
            }
        }
        Some(Plan {
            me: self.me,
            keep,
            surplus,
            next,
            is_due,
        })
    }

    /// Whether a member of the roster was seen to renew within its lease. This one judges itself by what it has written.
    fn is_live(&mut self, now: Duration, member: Member, renewals: u64) -> bool {
        if member == self.me {
            return true;
        }
        let seen = self.seen.entry(member).or_insert((renewals, now));
        if seen.0 != renewals {
            *seen = (renewals, now);
        }
        now.saturating_sub(seen.1) < LEASE
    }

    /// Notes that a renewal was written, in a plan that was made for the time `begun`.
    pub fn renewed(&mut self, begun: Duration) {
        self.renewed = Some(begun);
    }

    /// Until when what the roster gives to this member is its own, unless it renews.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.renewed.map_or(Duration::ZERO, |begun| begun + LEASE)
    }

    /// The roster without this member, if it is in there: what to write when it leaves.
    #[must_use]
    pub fn without(&self, roster: &Roster) -> Option<Roster> {
        let mut next = roster.clone();
        next.members.remove(&self.me);
        for holder in &mut next.holders {
            *holder = holder.filter(|holder| *holder != self.me);
        }
        (next != *roster).then_some(next)
    }
}

#[cfg(test)]
mod tests;
