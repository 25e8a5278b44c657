//! The stock of a SKU: counters that every event of the SKU and of its reservations is folded into.

use contracts::stock::{self, Cause, ReleasedFrom, Updated};
use contracts::{Delta, OnHand, ProductId, Sku};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use kernel::event::StreamId;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How many pieces of a SKU there are. At any time `reserved + available + sold = received`, and none is negative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    sku: Sku,
    product_id: ProductId,
    /// What lies in the warehouse, reserved included.
    on_hand: u64,
    reserved: u64,
    sold: u64,
    /// What ever came, less what went other than by a sale.
    received: u64,
    /// How many events are folded into it.
    version: u64,
    /// How many of them are its own stream's: reservations have streams of their own.
    stream_version: u64,
}

/// What can be asked of a stock.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin to count.
    Create {
        /// Of which SKU.
        sku: Sku,
        /// Of which product.
        product_id: ProductId,
        /// What lies in the warehouse at first.
        on_hand: OnHand,
    },
    /// So many lie in the warehouse, reserved included: somebody counted.
    Set(OnHand),
    /// So many came, or went.
    Adjust(Delta),
}

impl Document for Stock {
    const COLLECTION: &'static Collection = &Collection {
        name: "stock",
        kind: Kind::View,
        columns: &[Column {
            name: "available",
            column_type: ColumnType::Integer,
        }],
        indexes: &[Index {
            name: "by_available",
            columns: &["available"],
        }],
    };

    fn columns(&self) -> Vec<Value> {
        vec![count(self.available())]
    }
}

/// A number of pieces as an index has it.
pub(crate) fn count(pieces: u64) -> Value {
    i64::try_from(pieces).unwrap_or(i64::MAX).into()
}

impl Stock {
    /// The stream of a SKU's own events.
    #[must_use]
    pub fn stream(sku: &Sku) -> StreamId {
        StreamId::new(format!("sku:{sku}"))
    }

    /// What can be promised yet.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.on_hand - self.reserved
    }

    /// What was sold and not returned.
    #[must_use]
    pub fn sold(&self) -> u64 {
        self.sold
    }

    /// What ever came, less what went other than by a sale.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many events are folded into it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version of its own stream.
    pub(crate) fn stream_version(&self) -> u64 {
        self.stream_version
    }

    /// As clients see it.
    #[must_use]
    pub fn shown(&self) -> stock::Stock {
        stock::Stock {
            sku: self.sku.clone(),
            product_id: self.product_id,
            on_hand: self.on_hand,
            reserved: self.reserved,
            available: self.available(),
            version: self.version,
        }
    }

    /// What follows from a command; `None` is "already so". A set is journaled as the difference, so that what was
    /// sold between counting and telling is not lost from the books.
    pub fn decide(state: Option<&Self>, command: Command) -> Result<Option<Updated>, Error> {
        let (stock, on_hand, cause) = match (state, command) {
            (
                None,
                Command::Create {
                    sku,
                    product_id,
                    on_hand,
                },
            ) => {
                return Ok(Some(created(sku, product_id, on_hand)));
            }
            (Some(_), Command::Create { .. }) => return Ok(None),
            (None, Command::Set(_) | Command::Adjust(_)) => return Err(kernel::freshness::Missing::Unknown.into()),
            (Some(stock), Command::Set(on_hand)) => (stock, on_hand.get(), Cause::Set),
            (Some(stock), Command::Adjust(delta)) => {
                let on_hand = stock
                    .on_hand
                    .checked_add_signed(delta.get())
                    .ok_or(Error::BelowReserved)?;
                (stock, on_hand, Cause::Adjusted)
            }
        };
        if on_hand < stock.reserved {
            return Err(Error::BelowReserved);
        }
        if on_hand > OnHand::MAX.get().max(stock.on_hand) {
            return Err(Error::TooMuch);
        }
        let delta = difference(stock.on_hand, on_hand);
        Ok((delta != 0).then(|| Updated {
            sku: stock.sku.clone(),
            product_id: stock.product_id,
            cause,
            delta,
            on_hand,
            available: on_hand - stock.reserved,
        }))
    }

    /// Folds an event of its own stream.
    pub(crate) fn update(state: &mut Option<Self>, updated: &Updated) {
        let stock = state.get_or_insert_with(|| Self {
            sku: updated.sku.clone(),
            product_id: updated.product_id,
            on_hand: 0,
            reserved: 0,
            sold: 0,
            received: 0,
            version: 0,
            stream_version: 0,
        });
        stock.on_hand = stock
            .on_hand
            .checked_add_signed(updated.delta)
            .expect("no more goes than lies there");
        stock.received = stock
            .received
            .checked_add_signed(updated.delta)
            .expect("no more goes than ever came");
        stock.stream_version += 1;
        stock.folded();
    }

    /// Folds that an order was promised some.
    pub(crate) fn reserve(&mut self, quantity: u64) {
        self.reserved += quantity;
        self.folded();
    }

    /// Folds that what an order was promised is delivered.
    pub(crate) fn sell(&mut self, quantity: u64) {
        self.reserved = less(self.reserved, quantity);
        self.on_hand = less(self.on_hand, quantity);
        self.sold += quantity;
        self.folded();
    }

    /// Folds that what an order was promised, or was sold, is available again.
    pub(crate) fn release(&mut self, quantity: u64, from: ReleasedFrom) {
        match from {
            ReleasedFrom::Reserved => self.reserved = less(self.reserved, quantity),
            ReleasedFrom::Sold => {
                self.sold = less(self.sold, quantity);
                self.on_hand += quantity;
            }
        }
        self.folded();
    }

    fn folded(&mut self) {
        self.version += 1;
        // In every build: a panic costs one command, a stock that is oversold costs a customer.
        assert!(self.reserved <= self.on_hand, "{} is oversold", self.sku);
        debug_assert_eq!(
            self.reserved + self.available() + self.sold,
            self.received,
            "{} does not add up",
            self.sku
        );
    }
}

/// The books cannot hold less than nothing: a fold that would say so is a fault in the program, and stops here.
fn less(count: u64, taken: u64) -> u64 {
    count
        .checked_sub(taken)
        .expect("no more is taken from a counter than was put there")
}

fn created(sku: Sku, product_id: ProductId, on_hand: OnHand) -> Updated {
    let on_hand = on_hand.get();
    Updated {
        sku,
        product_id,
        cause: Cause::Created,
        delta: difference(0, on_hand),
        on_hand,
        available: on_hand,
    }
}

fn difference(from: u64, to: u64) -> i64 {
    to.checked_signed_diff(from).expect("stocks are far below 2^63")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku() -> Sku {
        "LAMP".try_into().unwrap()
    }

    fn on_hand(pieces: u64) -> OnHand {
        pieces.try_into().unwrap()
    }

    fn adjust(pieces: i64) -> Command {
        Command::Adjust(pieces.try_into().unwrap())
    }

    fn create(pieces: u64) -> Command {
        let product_id = "prd_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        Command::Create {
            sku: sku(),
            product_id,
            on_hand: on_hand(pieces),
        }
    }

    /// So many on hand, of which so many are reserved.
    fn stock(pieces: u64, reserved: u64) -> Stock {
        let mut stock = None;
        Stock::update(&mut stock, &Stock::decide(None, create(pieces)).unwrap().unwrap());
        let mut stock = stock.unwrap();
        if reserved > 0 {
            stock.reserve(reserved);
        }
        stock
    }

    #[test]
    fn a_product_begins_with_its_first_stock_once() {
        let created = Stock::decide(None, create(5)).unwrap().unwrap();
        assert_eq!(
            (created.cause, created.delta, created.on_hand, created.available),
            (Cause::Created, 5, 5, 5)
        );
        assert_eq!(Stock::decide(Some(&stock(5, 0)), create(7)).unwrap(), None);
        let shown = stock(0, 0).shown();
        assert_eq!((shown.on_hand, shown.available, shown.version), (0, 0, 1));
    }

    #[test]
    fn a_set_is_journaled_as_the_difference() {
        let updated = Stock::decide(Some(&stock(5, 2)), Command::Set(on_hand(3)))
            .unwrap()
            .unwrap();
        assert_eq!(
            (updated.cause, updated.delta, updated.on_hand, updated.available),
            (Cause::Set, -2, 3, 1)
        );
        assert_eq!(
            Stock::decide(Some(&stock(5, 2)), Command::Set(on_hand(5))).unwrap(),
            None
        );
    }

    #[test]
    fn an_adjustment_adds_or_removes() {
        let updated = Stock::decide(Some(&stock(5, 2)), adjust(-3)).unwrap().unwrap();
        assert_eq!(
            (updated.cause, updated.delta, updated.on_hand, updated.available),
            (Cause::Adjusted, -3, 2, 0)
        );
        assert_eq!(Stock::decide(Some(&stock(5, 2)), adjust(0)).unwrap(), None);
    }

    #[test]
    fn what_is_reserved_stays_covered() {
        for command in [
            Command::Set(on_hand(1)),
            Command::Set(on_hand(0)),
            adjust(-4),
            adjust(-6),
        ] {
            let refused = Stock::decide(Some(&stock(5, 2)), command.clone());
            assert!(matches!(refused, Err(Error::BelowReserved)), "{command:?}: {refused:?}");
        }
    }

    #[test]
    fn more_than_can_be_counted_is_refused() {
        let full = stock(OnHand::MAX.get(), 0);
        assert!(matches!(Stock::decide(Some(&full), adjust(1)), Err(Error::TooMuch)));
        assert!(Stock::decide(Some(&full), adjust(-1)).unwrap().is_some());
    }

    #[test]
    fn of_an_unknown_sku_nothing_is_changed() {
        for command in [Command::Set(on_hand(1)), adjust(1)] {
            assert!(matches!(Stock::decide(None, command), Err(Error::Missing(_))));
        }
    }

    #[test]
    fn a_sale_lowers_what_lies_there_and_a_return_raises_it() {
        let mut stock = stock(5, 2);
        stock.sell(2);
        assert_eq!(
            (stock.on_hand, stock.reserved, stock.sold, stock.received),
            (3, 0, 2, 5)
        );
        stock.release(2, ReleasedFrom::Sold);
        assert_eq!(
            (stock.on_hand, stock.reserved, stock.sold, stock.received),
            (5, 0, 0, 5)
        );
        assert_eq!((stock.version, stock.stream_version), (4, 1));
    }

    #[test]
    #[should_panic(expected = "LAMP is oversold")]
    fn a_fold_that_would_oversell_stops() {
        stock(5, 0).reserve(6);
    }

    #[test]
    #[should_panic(expected = "no more is taken from a counter than was put there")]
    fn a_fold_that_would_release_too_much_stops() {
        stock(5, 2).release(3, ReleasedFrom::Reserved);
    }

    proptest! {
        #[test]
        fn what_is_decided_and_folded_always_adds_up(steps in prop::collection::vec((0..6_u8, 0..20_u64), 0..60)) {
            let mut stock = stock(10, 0);
            for (step, pieces) in steps {
                let signed = i64::try_from(pieces).unwrap();
                match step {
                    0..=2 => {
                        let command = match step {
                            0 => Command::Set(on_hand(pieces)),
                            1 => adjust(signed),
                            _ => adjust(-signed),
                        };
                        let before = stock.clone();
                        if let Ok(Some(updated)) = Stock::decide(Some(&before), command) {
                            let mut state = Some(before);
                            Stock::update(&mut state, &updated);
                            stock = state.unwrap();
                            prop_assert_eq!((updated.on_hand, updated.available), (stock.on_hand, stock.available()));
                        }
                    }
                    3 => stock.reserve(pieces.min(stock.available())),
                    4 => stock.sell(pieces.min(stock.reserved)),
                    _ if pieces % 2 == 0 => stock.release(pieces.min(stock.reserved), ReleasedFrom::Reserved),
                    _ => stock.release(pieces.min(stock.sold), ReleasedFrom::Sold),
                }
                prop_assert!(stock.reserved <= stock.on_hand);
                prop_assert_eq!(stock.reserved + stock.available() + stock.sold, stock.received);
            }
        }
    }
}
