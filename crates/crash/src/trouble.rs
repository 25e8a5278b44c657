//! What befalls a shop in a round.

use contracts::Service;
use serde::Serialize;

use crate::customers::Dice;
use crate::plan::{Death, Jump, Point};

/// How often a point is passed at most before the process dies there.
const NTH_MAX: u64 = 40;
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
    /// Any of a kind.
    pub(crate) fn of(kind: Kind, dice: &mut Dice, has_broker: bool) -> Self {
        match kind {
            Kind::Point => {
                let there = |point: &Point| has_broker || !point.needs_a_broker();
                let points: Vec<Point> = Point::ALL.into_iter().filter(there).collect();
                let point = *dice.one_of(&points);
                Self::Point(Death {
                    point,
                    service: *dice.one_of(point.services()),
                    nth: u32::try_from(dice.between(1, NTH_MAX)).expect("it is small"),
                })
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
