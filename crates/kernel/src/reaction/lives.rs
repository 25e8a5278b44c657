//! The lives of a journal. Each restore begins one, which continues the life that was backed up as far as that was kept.
//! Positions behind that mean something else in each.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bus::Message;
use crate::document::{Collection, Document, Kind};
use crate::event::{Epoch, Lane, Position};
use crate::unit::Unit;

/// A life of a journal that began with a restore: which one it continues, and up to where. Its id is its epoch. It is in the
/// journal's own store, and in those of consumers that went on in it. These have one more under the source's name: a
/// consumer that has seen nothing begins in the life that this continues.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The life that was backed up.
    continued: Epoch,
    /// The last position of each lane that both lives have.
    lanes: Vec<Position>,
    /// The checksum of what was restored; in the journal's own store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup: Option<Arc<str>>,
}

impl Restored {
    pub(crate) fn new(continued: Epoch, lanes: Vec<Position>) -> Self {
        Self {
            continued,
            lanes,
            backup: None,
        }
    }

    pub(super) fn of_backup(self, checksum: &str) -> Self {
        Self {
            backup: Some(checksum.into()),
            ..self
        }
    }

    /// Whether it began with what has that checksum, and has nothing beyond these positions.
    pub(super) fn is_of(&self, checksum: &str, lanes: &[Position]) -> bool {
        self.backup.as_deref() == Some(checksum) && self.lanes == lanes
    }
}

impl Document for Restored {
    const COLLECTION: &'static Collection = &Collection {
        name: "restores",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// What a message says to a consumer that follows one life of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// It is of that life, or of an earlier one and in both.
    Here,
    /// A restore has discarded it.
    Discarded,
    /// It is of a life of which nothing is known.
    Elsewhere,
}

/// Whether a message is of a life of its journal.
pub(crate) fn belongs(unit: &mut Unit<'_>, epoch: Epoch, message: &Message) -> Belongs {
    if epoch == message.epoch {
        return Belongs::Here;
    }
    let (lane, position) = (message.event.lane, message.event.position);
    let beginnings = beginnings(|life| unit.get::<Restored>(life.0), epoch, lane);
    match beginnings.get(&message.epoch) {
        Some(last) if position <= *last => Belongs::Here,
        Some(_) => Belongs::Discarded,
        None => Belongs::Elsewhere,
    }
}

/// In which life a consumer is that has seen nothing yet: that of the first message, unless a restore says which.
pub(crate) fn begins(unit: &mut Unit<'_>, first: &Message) -> Epoch {
    let restored = unit.get::<Restored>(first.source);
    restored.map_or(first.epoch, |restored| restored.continued)
}

/// Whether what was seen in one life, up to a position, is the same in another; `None` if they have no beginning in common.
pub(super) fn holds(
    lives: &HashMap<Epoch, Restored>,
    (life, position): (Epoch, Position),
    epoch: Epoch,
    lane: Lane,
) -> Option<bool> {
    let known = beginnings(|life| lives.get(&life).cloned().map(Arc::new), life, lane);
    let present = beginnings(|life| lives.get(&life).cloned().map(Arc::new), epoch, lane);
    let common = known
        .iter()
        .filter_map(|(life, last)| Some((*last).min(*present.get(life)?)));
    common.max().map(|last| position <= last)
}

/// The lives that a life continues, itself included, each with the last position of a lane that both have.
fn beginnings(
    mut restored: impl FnMut(Epoch) -> Option<Arc<Restored>>,
    epoch: Epoch,
    lane: Lane,
) -> HashMap<Epoch, Position> {
    let mut beginnings = HashMap::from([(epoch, Position(u64::MAX))]);
    let (mut life, mut last) = (epoch, Position(u64::MAX));
    while let Some(restored) = restored(life) {
        last = last.min(restored.lanes.get(lane.index()).copied().unwrap_or_default());
        life = restored.continued;
        if beginnings.insert(life, last).is_some() {
            break;
        }
    }
    beginnings
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn epoch(number: u128) -> Epoch {
        Epoch(Uuid::from_u128(number))
    }

    /// Life 2 continues life 1 up to position 10, life 3 up to 7, and life 4 continues life 2 up to 15.
    fn lives() -> HashMap<Epoch, Restored> {
        let life = |continued, last| Restored::new(epoch(continued), vec![Position(last)]);
        HashMap::from([(epoch(2), life(1, 10)), (epoch(3), life(1, 7)), (epoch(4), life(2, 15))])
    }

    fn seen_in(life: u128, position: u64, present: u128) -> Option<bool> {
        let seen = (epoch(life), Position(position));
        holds(&lives(), seen, epoch(present), Lane(0))
    }

    #[test]
    fn what_was_seen_holds_as_far_as_both_lives_are_the_same() {
        assert_eq!(seen_in(1, 10, 2), Some(true));
        assert_eq!(seen_in(1, 11, 2), Some(false));
        assert_eq!(seen_in(2, 14, 4), Some(true));
        assert_eq!(seen_in(1, 11, 4), Some(false), "life 4 has of life 1 what life 2 had");
    }

    #[test]
    fn two_restores_of_one_backup_have_its_life_in_common() {
        assert_eq!(seen_in(2, 7, 3), Some(true));
        assert_eq!(seen_in(2, 8, 3), Some(false));
        assert_eq!(seen_in(4, 7, 3), Some(true));
    }

    #[test]
    fn lives_without_a_common_beginning_say_nothing_of_each_other() {
        assert_eq!(seen_in(9, 1, 2), None);
    }
}
