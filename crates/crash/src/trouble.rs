//! What befalls a shop in a round.

use std::collections::VecDeque;

use contracts::Service;
use serde::Serialize;

use crate::customers::Dice;
use crate::plan::{Death, Jump, Point};

/// How often a point is passed at most before the process dies there.
const NTH_MAX: u64 = 40;
/// The same the first time, when each point is to be reached.
const FIRST_NTH_MAX: u64 = 8;
/// By how much the clock jumps: by less than an idempotency key is kept, or a request may rightly be done twice.
const JUMPS_S: [i64; 8] = [-7200, -600, -60, -1, 1, 60, 600, 7200];

/// What befalls a shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The process dies at a point.
    Point(Death),
    /// It is killed, wherever it is, after so many milliseconds.
    Kill { after_ms: u64 },
    /// It is asked to end, and killed so many milliseconds after that if it has not.
    Ended { killed_after_ms: Option<u64> },
    /// The disk has room for nothing more, then again.
    DiskFull,
    /// A store's file cannot be written when the process starts.
    ReadOnly { service: Service },
    /// The wall clock jumps.
    Clock(Jump),
    /// The process has all the files open that it may, then fewer.
    Descriptors { spare: u64 },
    /// Clients go away after each byte of their request, and of its answer.
    Disconnects,
}

/// The sorts of trouble, for the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Point,
    Kill,
    Ended,
    DiskFull,
    ReadOnly,
    Clock,
    Descriptors,
    Disconnects,
}

impl Kind {
    /// All there are, each with how many of a hundred rounds have it.
    pub(crate) const ALL: [(Self, u64); 8] = [
        (Self::Point, 44),
        (Self::Kill, 14),
        (Self::Ended, 8),
        (Self::DiskFull, 10),
        (Self::ReadOnly, 6),
        (Self::Clock, 6),
        (Self::Descriptors, 6),
        (Self::Disconnects, 6),
    ];

    /// In words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Point => "killed at a point",
            Self::Kill => "killed at any time",
            Self::Ended => "asked to end, and perhaps killed meanwhile",
            Self::DiskFull => "disk full",
            Self::ReadOnly => "store file read-only",
            Self::Clock => "clock jumps",
            Self::Descriptors => "descriptors exhausted",
            Self::Disconnects => "clients disconnect at every byte",
        }
    }

    /// One that is possible.
    pub(crate) fn of(dice: &mut Dice, is_possible: impl Fn(Self) -> bool) -> Self {
        let possible: Vec<(Self, u64)> = Self::ALL.into_iter().filter(|(kind, _)| is_possible(*kind)).collect();
        let mut rolled = dice.between(1, possible.iter().map(|(_, chance)| chance).sum());
        for (kind, chance) in possible {
            if rolled <= chance {
                return kind;
            }
            rolled -= chance;
        }
        unreachable!("the chances add up")
    }
}

impl Trouble {
    /// Death at a place.
    fn at((point, service): (Point, Service), nth_max: u64, dice: &mut Dice) -> Self {
        let nth = u32::try_from(dice.between(1, nth_max)).expect("it is small");
        Self::Point(Death { point, service, nth })
    }

    /// Any of a kind.
    fn of(kind: Kind, dice: &mut Dice, has_broker: bool) -> Self {
        match kind {
            Kind::Point => {
                let there = |point: &Point| has_broker || !point.needs_a_broker();
                let points: Vec<Point> = Point::ALL.into_iter().filter(there).collect();
                let point = *dice.one_of(&points);
                Self::at((point, *dice.one_of(point.services())), NTH_MAX, dice)
            }
            Kind::Kill => Self::Kill {
                after_ms: dice.between(0, 1500),
            },
            Kind::Ended => Self::Ended {
                killed_after_ms: dice.percent(50).then(|| dice.between(0, 60)),
            },
            Kind::DiskFull => Self::DiskFull,
            Kind::ReadOnly => Self::ReadOnly {
                service: *dice.one_of(Service::ALL),
            },
            Kind::Clock => Self::Clock(Jump {
                after_ms: dice.between(0, 1000),
                by_s: *dice.one_of(&JUMPS_S),
            }),
            Kind::Descriptors => Self::Descriptors {
                spare: dice.between(0, 4),
            },
            Kind::Disconnects => Self::Disconnects,
        }
    }

    /// Its sort.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Point(_) => Kind::Point,
            Self::Kill { .. } => Kind::Kill,
            Self::Ended { .. } => Kind::Ended,
            Self::DiskFull => Kind::DiskFull,
            Self::ReadOnly { .. } => Kind::ReadOnly,
            Self::Clock(_) => Kind::Clock,
            Self::Descriptors { .. } => Kind::Descriptors,
            Self::Disconnects => Kind::Disconnects,
        }
    }
}

/// What has not struck yet. It comes before anything that the dice choose: each kind, then each point; and where the dice
/// choose a point, a service at which nothing has died there.
#[derive(Debug)]
pub(crate) struct Agenda {
    kinds: VecDeque<Kind>,
    /// First of each point one service, then of each another.
    places: VecDeque<(Point, Service)>,
    struck: Vec<Point>,
}

impl Agenda {
    /// All of it.
    pub(crate) fn new() -> Self {
        let kinds = Kind::ALL.into_iter().map(|(kind, _)| kind);
        let turns =
            (0..Service::ALL.len()).flat_map(|turn| Point::ALL.into_iter().enumerate().zip(std::iter::repeat(turn)));
        let places = turns.filter_map(|((number, point), turn)| {
            let services = point.services();
            // Not of each point the same service first.
            let service = services.get((number + turn) % services.len());
            service
                .filter(|_| turn < services.len())
                .map(|service| (point, *service))
        });
        Self {
            // Points have their own turn.
            kinds: kinds.filter(|kind| *kind != Kind::Point).collect(),
            places: places.collect(),
            struck: Vec::new(),
        }
    }

    /// What befalls a shop next.
    pub(crate) fn next(&self, dice: &mut Dice, has_broker: bool, may_suffer: impl Fn(Kind) -> bool) -> Trouble {
        if let Some(kind) = self.kinds.iter().find(|kind| may_suffer(**kind)) {
            return Trouble::of(*kind, dice, has_broker);
        }
        // What needs a broker comes first where there is one: not every shop has it.
        let there = || {
            self.places
                .iter()
                .copied()
                .filter(|(point, _)| has_broker || !point.needs_a_broker())
        };
        let fresh = || there().filter(|(point, _)| !self.struck.contains(point));
        let first = fresh()
            .find(|(point, _)| point.needs_a_broker())
            .or_else(|| fresh().next());
        if let Some(place) = first {
            return Trouble::at(place, FIRST_NTH_MAX, dice);
        }
        match (Kind::of(dice, may_suffer), there().next()) {
            (Kind::Point, Some(place)) => Trouble::at(place, NTH_MAX, dice),
            (kind, _) => Trouble::of(kind, dice, has_broker),
        }
    }

    /// Strikes it off; what did not strike is tried again, after what else is left.
    pub(crate) fn tried(&mut self, trouble: Trouble, has_struck: bool) {
        match trouble {
            Trouble::Point(Death { point, service, .. }) => {
                let was_left = take(&mut self.places, (point, service));
                if has_struck {
                    self.struck.push(point);
                } else if was_left {
                    self.places.push_back((point, service));
                }
            }
            _ => {
                if take(&mut self.kinds, trouble.kind()) && !has_struck {
                    self.kinds.push_back(trouble.kind());
                }
            }
        }
    }
}

fn take<T: PartialEq>(left: &mut VecDeque<T>, one: T) -> bool {
    let found = left.iter().position(|it| *it == one);
    found.and_then(|index| left.remove(index)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_point_comes_up_within_two_shops() {
        let (mut agenda, mut dice) = (Agenda::new(), Dice::new(1));
        let mut seen = Vec::new();
        for has_broker in [false, true] {
            for _ in 0..10 {
                let trouble = agenda.next(&mut dice, has_broker, |kind| kind != Kind::DiskFull || !has_broker);
                agenda.tried(trouble, true);
                seen.push(trouble);
            }
        }
        let kinds = Kind::ALL
            .iter()
            .all(|(kind, _)| seen.iter().any(|trouble| trouble.kind() == *kind));
        let is_at = |point| move |trouble: &Trouble| matches!(trouble, Trouble::Point(death) if death.point == point);
        let points = Point::ALL.into_iter().all(|point| seen.iter().any(is_at(point)));
        assert!(kinds && points, "{seen:?}");
    }

    #[test]
    fn what_did_not_strike_is_tried_again() {
        let (mut agenda, mut dice) = (Agenda::new(), Dice::new(1));
        let first = agenda.next(&mut dice, true, |_| true);
        agenda.tried(first, false);
        let kinds = (1..Kind::ALL.len()).map(|_| {
            let trouble = agenda.next(&mut dice, true, |_| true);
            agenda.tried(trouble, true);
            trouble.kind()
        });
        assert_eq!(kinds.last(), Some(first.kind()));
    }
}
