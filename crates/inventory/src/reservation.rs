//! The reservation of an order: all its lines or none.

use std::collections::BTreeMap;

use contracts::stock::{Rejected, Released, ReleasedFrom, ReservationLine, Reserved, Shortage, Sold};
use contracts::{OrderId, ReservationId, UserId, order};
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::document::{Collection, Document, Kind};
use serde::{Deserialize, Serialize};

use crate::ReservationEvent;

/// A reservation's state. Its id, and its stream's, is [`ReservationId::of`] the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Where it is on its way.
    pub state: State,
    version: u64,
}

/// Where a reservation is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The order may be paid.
    Reserved {
        /// What is promised.
        lines: Vec<ReservationLine>,
    },
    /// There was too little. An end.
    Rejected,
    /// The order is paid.
    Sold {
        /// What was sold.
        lines: Vec<ReservationLine>,
    },
    /// The order ended without taking its pieces. An end.
    Released {
        /// What it was before.
        from: ReleasedFrom,
    },
}

/// What an order wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// One line for each SKU, in the order of the SKUs.
    pub lines: Vec<ReservationLine>,
}

/// Two lines of one SKU are one: each might pass alone where both together must not.
impl From<order::Placed> for Demand {
    fn from(placed: order::Placed) -> Self {
        let mut lines = BTreeMap::new();
        for line in placed.lines {
            let (_, quantity) = lines.entry(line.sku).or_insert((line.product_id, 0));
            *quantity += u64::from(line.quantity);
        }
        let lines = lines.into_iter();
        let lines = lines.map(|(sku, (product_id, quantity))| ReservationLine {
            sku,
            product_id,
            quantity,
        });
        Self {
            order_id: placed.order_id,
            user_id: placed.user_id,
            lines: lines.collect(),
        }
    }
}

/// What can be asked of a reservation.
#[derive(Clone, Debug)]
pub enum Command {
    /// Reserve what an order wants, which falls short by so much.
    Reserve {
        /// What it wants.
        demand: Demand,
        /// What is missing of it now; nothing, if all can be had.
        shortages: Vec<Shortage>,
    },
    /// Make a sale of it.
    Sell {
        /// Which order.
        order_id: OrderId,
        /// Whose.
        user_id: UserId,
    },
    /// Let go of it. For an order that was never decided, it makes sure that nothing will be reserved any more.
    Release {
        /// Which order.
        order_id: OrderId,
        /// Whose.
        user_id: UserId,
    },
}

/// An order was paid for which nothing is reserved. The process of an order excludes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} was paid, and nothing is reserved for it")]
pub struct NotReserved(pub OrderId);

impl Document for Reservation {
    const COLLECTION: &'static Collection = &Collection {
        name: "reservations",
        kind: Kind::View,
        columns: &[],
        indexes: &[],
    };
}

impl Aggregate for Reservation {
    type Command = Command;
    type Event = ReservationEvent;
    type Error = NotReserved;

    fn version(&self) -> u64 {
        self.version
    }

    fn decide(state: Option<&Self>, command: Command, _: Timestamp) -> Result<Vec<ReservationEvent>, NotReserved> {
        let state = state.map(|reservation| &reservation.state);
        let event = match (command, state) {
            (Command::Reserve { demand, shortages }, None) => Some(reserve(demand, shortages)),
            (Command::Reserve { .. }, Some(_)) => None,
            (Command::Sell { order_id, user_id }, Some(State::Reserved { lines })) => {
                let (reservation_id, lines) = (ReservationId::of(order_id), lines.clone());
                Some(
                    Sold {
                        reservation_id,
                        order_id,
                        user_id,
                        lines,
                    }
                    .into(),
                )
            }
            // What was released after the sale was sold before.
            (Command::Sell { .. }, Some(State::Sold { .. } | State::Released { .. })) => None,
            (Command::Sell { order_id, .. }, None | Some(State::Rejected)) => return Err(NotReserved(order_id)),
            (Command::Release { order_id, user_id }, None) => {
                Some(release(order_id, user_id, &[], ReleasedFrom::Reserved))
            }
            (Command::Release { order_id, user_id }, Some(State::Reserved { lines })) => {
                Some(release(order_id, user_id, lines, ReleasedFrom::Reserved))
            }
            (Command::Release { order_id, user_id }, Some(State::Sold { lines })) => {
                Some(release(order_id, user_id, lines, ReleasedFrom::Sold))
            }
            (Command::Release { .. }, Some(State::Rejected | State::Released { .. })) => None,
        };
        Ok(event.into_iter().collect())
    }

    fn apply(state: &mut Option<Self>, event: &ReservationEvent, at: &Occurrence<'_>) {
        let becomes = match event {
            ReservationEvent::Reserved(reserved) => State::Reserved {
                lines: reserved.lines.clone(),
            },
            ReservationEvent::Rejected(_) => State::Rejected,
            ReservationEvent::Sold(sold) => State::Sold {
                lines: sold.lines.clone(),
            },
            ReservationEvent::Released(released) => State::Released { from: released.from },
        };
        *state = Some(Self {
            state: becomes,
            version: at.version,
        });
    }
}

fn reserve(demand: Demand, shortages: Vec<Shortage>) -> ReservationEvent {
    let Demand {
        order_id,
        user_id,
        lines,
    } = demand;
    let reservation_id = ReservationId::of(order_id);
    if shortages.is_empty() {
        Reserved {
            reservation_id,
            order_id,
            user_id,
            lines,
        }
        .into()
    } else {
        Rejected {
            reservation_id,
            order_id,
            user_id,
            shortages,
        }
        .into()
    }
}

fn release(order_id: OrderId, user_id: UserId, lines: &[ReservationLine], from: ReleasedFrom) -> ReservationEvent {
    let (reservation_id, lines) = (ReservationId::of(order_id), lines.to_vec());
    Released {
        reservation_id,
        order_id,
        user_id,
        lines,
        from,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::aggregate::{given, nothing};
    use testkit::lives::Life;

    use super::*;

    const ORDER: &str = "ord_01h455vb4pex5vsknk084sn02q";

    fn order_id() -> OrderId {
        ORDER.parse().unwrap()
    }

    fn user_id() -> UserId {
        "usr_01h455vb4pex5vsknk084sn02q".parse().unwrap()
    }

    fn lines() -> Vec<ReservationLine> {
        let product_id = "prd_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        vec![ReservationLine {
            sku: "LAMP".try_into().unwrap(),
            product_id,
            quantity: 2,
        }]
    }

    fn shortages() -> Vec<Shortage> {
        vec![Shortage {
            sku: "LAMP".try_into().unwrap(),
            requested: 2,
            available: 1,
        }]
    }

    fn reserve(shortages: Vec<Shortage>) -> Command {
        Command::Reserve {
            demand: Demand {
                order_id: order_id(),
                user_id: user_id(),
                lines: lines(),
            },
            shortages,
        }
    }

    fn sell() -> Command {
        Command::Sell {
            order_id: order_id(),
            user_id: user_id(),
        }
    }

    fn let_go() -> Command {
        Command::Release {
            order_id: order_id(),
            user_id: user_id(),
        }
    }

    fn reserved() -> ReservationEvent {
        let (reservation_id, order_id) = (ReservationId::of(order_id()), order_id());
        Reserved {
            reservation_id,
            order_id,
            user_id: user_id(),
            lines: lines(),
        }
        .into()
    }

    fn rejected() -> ReservationEvent {
        let (reservation_id, order_id) = (ReservationId::of(order_id()), order_id());
        Rejected {
            reservation_id,
            order_id,
            user_id: user_id(),
            shortages: shortages(),
        }
        .into()
    }

    fn sold() -> ReservationEvent {
        let (reservation_id, order_id) = (ReservationId::of(order_id()), order_id());
        Sold {
            reservation_id,
            order_id,
            user_id: user_id(),
            lines: lines(),
        }
        .into()
    }

    fn released(lines: Vec<ReservationLine>, from: ReleasedFrom) -> ReservationEvent {
        release(order_id(), user_id(), &lines, from)
    }

    #[test]
    fn an_order_is_reserved_whole_or_not_at_all() {
        nothing::<Reservation>().when(reserve(Vec::new())).then([reserved()]);
        nothing::<Reservation>().when(reserve(shortages())).then([rejected()]);
    }

    #[test]
    fn an_order_is_decided_once() {
        let histories = [
            vec![reserved()],
            vec![rejected()],
            vec![reserved(), sold()],
            vec![reserved(), released(lines(), ReleasedFrom::Reserved)],
        ];
        for history in histories {
            given::<Reservation>(history.clone())
                .when(reserve(Vec::new()))
                .then_nothing();
            given::<Reservation>(history).when(reserve(shortages())).then_nothing();
        }
    }

    #[test]
    fn what_is_paid_is_sold_once() {
        given::<Reservation>([reserved()])
            .when(sell())
            .then([sold()])
            .when(sell())
            .then_nothing();
    }

    #[test]
    fn what_was_released_is_not_sold() {
        let history = [reserved(), released(lines(), ReleasedFrom::Reserved)];
        given::<Reservation>(history).when(sell()).then_nothing();
    }

    #[test]
    fn what_is_not_reserved_cannot_have_been_paid() {
        assert_eq!(
            nothing::<Reservation>().when(sell()).then_refused(),
            NotReserved(order_id())
        );
        assert_eq!(
            given::<Reservation>([rejected()]).when(sell()).then_refused(),
            NotReserved(order_id())
        );
    }

    #[test]
    fn a_release_says_what_it_was_before_and_happens_once() {
        let from_reserved = released(lines(), ReleasedFrom::Reserved);
        given::<Reservation>([reserved()])
            .when(let_go())
            .then([from_reserved])
            .when(let_go())
            .then_nothing();
        let from_sold = released(lines(), ReleasedFrom::Sold);
        given::<Reservation>([reserved(), sold()])
            .when(let_go())
            .then([from_sold])
            .when(let_go())
            .then_nothing();
        given::<Reservation>([rejected()]).when(let_go()).then_nothing();
    }

    #[test]
    fn an_order_that_ended_before_it_was_decided_never_reserves() {
        let ended = nothing::<Reservation>()
            .when(let_go())
            .then([released(Vec::new(), ReleasedFrom::Reserved)]);
        ended.when(reserve(Vec::new())).then_nothing();
    }

    #[test]
    fn lines_of_one_sku_are_one() {
        let line = |sku: &str, quantity: u32| {
            let price = serde_json::json!({"amount": 5, "currency": "EUR"});
            let product_id = "prd_01h455vb4pex5vsknk084sn02q";
            serde_json::json!({
                "sku": sku, "product_id": product_id, "name": "Lamp", "quantity": quantity,
                "unit_price": price, "total": price,
            })
        };
        let placed: order::Placed = serde_json::from_value(serde_json::json!({
            "order_id": ORDER,
            "user_id": user_id(),
            "lines": [line("B", 1_000_000), line("A", 1), line("B", 1_000_000)],
            "total": {"amount": 15, "currency": "EUR"},
        }))
        .unwrap();
        let merged: Vec<(String, u64)> = Demand::from(placed)
            .lines
            .into_iter()
            .map(|line| (line.sku.into_string(), line.quantity))
            .collect();
        assert_eq!(merged, [("A".to_owned(), 1), ("B".to_owned(), 2_000_000)]);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_pieces_of_a_reservation_are_those_that_it_began_with(
            commands in prop::collection::vec(
                prop::sample::select(vec![reserve(Vec::new()), reserve(shortages()), sell(), let_go()]),
                0..12,
            )
        ) {
            let mut life = Life::<Reservation>::default();
            for command in commands {
                let before = life.state().map(|it| it.state.clone());
                let events = life.ask(command);
                prop_assert!(events.len() <= 1);
                let ended = matches!(before, Some(State::Rejected | State::Released { .. }));
                prop_assert!(!ended || events.is_empty(), "{before:?} is an end: {events:?}");
                match events.first() {
                    None | Some(ReservationEvent::Rejected(_)) => {}
                    Some(ReservationEvent::Reserved(it)) => prop_assert_eq!(&it.lines, &lines()),
                    Some(ReservationEvent::Sold(it)) => {
                        prop_assert_eq!(&before, &Some(State::Reserved { lines: lines() }));
                        prop_assert_eq!(&it.lines, &lines());
                    }
                    // What never was reserved has nothing to let go of.
                    Some(ReservationEvent::Released(it)) => {
                        let (pieces, from) = match before {
                            None => (Vec::new(), ReleasedFrom::Reserved),
                            Some(State::Sold { lines }) => (lines, ReleasedFrom::Sold),
                            Some(State::Reserved { lines }) => (lines, ReleasedFrom::Reserved),
                            Some(end) => return Err(TestCaseError::fail(format!("{end:?} was released"))),
                        };
                        prop_assert_eq!((&it.lines, it.from), (&pieces, from));
                    }
                }
            }
            let count = |kind: fn(&&ReservationEvent) -> bool| life.events().iter().filter(kind).count();
            prop_assert!(count(|it| matches!(it, ReservationEvent::Sold(_))) <= 1);
            prop_assert!(count(|it| matches!(it, ReservationEvent::Released(_))) <= 1);
            prop_assert!(life.events().len() <= 3);
        }
    }
}
