//! What the log of a group says: who is in it and receives which lanes, and how far it has come.
//!
//! The broker keeps entries in one order and does nothing else. An entry with a roster names the one that it is written over, and
//! counts if that is the last one that counts: whoever reads the log comes to the same result. Spots only move on, in whatever order
//! they are read. Each entry tells all that its writer knows, so the beginning of the log may be forgotten.

use std::collections::BTreeMap;

use kernel::bus::shares::Roster;
use kernel::event::Lane;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a member writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// By which its writer finds it.
    pub(crate) id: Uuid,
    /// A new roster, if it is about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roster: Option<Proposal>,
    pub(crate) cursors: BTreeMap<Lane, Spot>,
}

/// A roster that is to be instead of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// The offset of the entry with that; none where nobody has written any.
    pub(crate) over: Option<u64>,
    pub(crate) next: Roster,
}

/// Up to where a lane is done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Spot {
    /// Counts how often the stream was seen to be another one than before.
    pub(crate) life: u16,
    /// How many messages of the stream were come to, by the offset of the last one.
    pub(crate) count: u64,
    /// How many of the events in that one are. Entries of builds up to bf30533 do not say, and it comes again.
    #[serde(default)]
    pub(crate) events: u16,
    /// What that one was published under: in another stream something else has the offset.
    pub(crate) id: u64,
}

/// Where a group stands, by the entries that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    is_begun: bool,
    roster: Counting,
    cursors: BTreeMap<Lane, Spot>,
}

/// Which roster counts.
#[derive(Clone, Debug)]
enum Counting {
    /// The beginning of the log was forgotten, and no entry has named one of these yet.
    Unknown(BTreeMap<u64, Roster>),
    /// The offset of the entry and what is in it; none where nobody has written any.
    Known(Option<(u64, Roster)>),
}

impl Default for Counting {
    fn default() -> Self {
        Self::Known(None)
    }
}

impl Fold {
    /// Takes the next entry. Whether what it proposes counts.
    pub(crate) fn take(&mut self, offset: u64, entry: Entry) -> bool {
        if !self.is_begun && offset > 0 {
            self.roster = Counting::Unknown(BTreeMap::new());
        }
        self.is_begun = true;
        for (lane, cursor) in entry.cursors {
            let known = self.cursors.entry(lane).or_default();
            *known = cursor.max(*known);
        }
        let Some(Proposal { over, next }) = entry.roster else {
            return false;
        };
        match &mut self.roster {
            // It names one that its writer saw to count, and is the first that does so: entries before it would have been here.
            Counting::Unknown(seen) if !over.is_some_and(|over| seen.contains_key(&over)) => {
                seen.insert(offset, next);
                false
            }
            Counting::Known(current) if current.as_ref().map(|(version, _)| *version) != over => false,
            counting => {
                *counting = Counting::Known(Some((offset, next)));
                true
            }
        }
    }

    /// Everything that was there was read. What is unknown by now will not be known better: the last one counts.
    pub(crate) fn settle(&mut self) {
        if let Counting::Unknown(seen) = &mut self.roster {
            self.roster = Counting::Known(seen.pop_last());
        }
    }

    /// The roster that counts, and its version.
    pub(crate) fn roster(&self) -> (Roster, Option<u64>) {
        match &self.roster {
            Counting::Known(Some((version, roster))) => (roster.clone(), Some(*version)),
            Counting::Known(None) | Counting::Unknown(_) => (Roster::default(), None),
        }
    }

    pub(crate) fn cursor(&self, lane: Lane) -> Spot {
        self.cursors.get(&lane).copied().unwrap_or_default()
    }

    pub(crate) fn cursors(&self) -> &BTreeMap<Lane, Spot> {
        &self.cursors
    }
}

#[cfg(test)]
mod tests {
    use kernel::bus::shares::Member;

    use super::*;

    fn roster(number: u64) -> Roster {
        let me = Member(Uuid::from_u128(u128::from(number)));
        Roster {
            members: BTreeMap::from([(me, number)]),
            renewals: number,
            holders: vec![Some(me)],
        }
    }

    fn proposal(over: Option<u64>, number: u64) -> Entry {
        let next = roster(number);
        Entry {
            id: Uuid::nil(),
            roster: Some(Proposal { over, next }),
            cursors: BTreeMap::new(),
        }
    }

    fn progress(life: u16, count: u64) -> Entry {
        Entry {
            id: Uuid::nil(),
            roster: None,
            cursors: BTreeMap::from([(
                Lane(3),
                Spot {
                    life,
                    count,
                    events: 1,
                    id: 7,
                },
            )]),
        }
    }

    #[test]
    fn of_two_that_write_over_the_same_roster_the_first_counts() {
        let mut fold = Fold::default();
        assert!(fold.take(0, proposal(None, 1)));
        assert!(!fold.take(1, proposal(None, 2)));
        assert!(!fold.take(2, progress(0, 9)));
        assert!(fold.take(3, proposal(Some(0), 3)));
        assert!(!fold.take(4, proposal(Some(0), 4)));
        assert!(
            !fold.take(5, proposal(Some(1), 5)),
            "what did not count cannot be written over"
        );
        assert_eq!(fold.roster(), (roster(3), Some(3)));
    }

    #[test]
    fn whoever_reads_a_log_whose_beginning_is_gone_comes_to_the_same() {
        let log = [
            proposal(None, 1),
            proposal(Some(0), 2),
            proposal(Some(0), 3),
            progress(0, 9),
            proposal(Some(1), 4),
            proposal(Some(1), 5),
            proposal(Some(4), 6),
            proposal(Some(4), 7),
        ];
        let read = |from: usize| {
            let mut fold = Fold::default();
            for (offset, entry) in (0..).zip(&log).skip(from) {
                fold.take(offset, entry.clone());
            }
            fold.settle();
            fold.roster()
        };
        for from in 0..=4 {
            assert_eq!(read(from), (roster(6), Some(6)), "from {from} on");
        }
    }

    #[test]
    fn cursors_only_move_on_and_another_life_of_the_stream_is_further() {
        let mut fold = Fold::default();
        for (offset, entry) in (0..).zip([progress(0, 5), progress(0, 3), progress(1, 2), progress(0, 9)]) {
            fold.take(offset, entry);
        }
        let cursor = fold.cursor(Lane(3));
        assert_eq!((cursor.life, cursor.count), (1, 2));
        assert_eq!(fold.cursor(Lane(4)), Spot::default());
    }

    #[test]
    fn an_entry_has_the_form_that_it_had() {
        let mut entry = progress(1, 2);
        entry.roster = proposal(Some(7), 1).roster;
        let written = serde_json::to_string(&entry).expect("it has a JSON form");
        assert_eq!(
            written,
            "{\"id\":\"00000000-0000-0000-0000-000000000000\",\"roster\":{\"over\":7,\"next\":{\"members\":\
             {\"00000000-0000-0000-0000-000000000001\":1},\"renewals\":1,\"holders\":[\"00000000-0000-0000-0000-000000000001\"]}},\
             \"cursors\":{\"3\":{\"life\":1,\"count\":2,\"events\":1,\"id\":7}}}"
        );
        assert_eq!(serde_json::from_str::<Entry>(&written).expect("it is read"), entry);
        let before = written.replace("\"events\":1,", "");
        let before: Entry = serde_json::from_str(&before).expect("it is read");
        assert_eq!(before.cursors[&Lane(3)].events, 0);
    }
}
