//! What the inventory's events are folded into.

use contracts::DecodeError;
use contracts::stock::ReservationLine;
use kernel::aggregate::{Occurrence, Projected};
use kernel::event::Recorded;
use kernel::rebuild;
use kernel::unit::Views;

use crate::{Reservation, ReservationEvent, Stock, StockEvent};

impl Projected for StockEvent {
    fn project(&self, _: &Occurrence<'_>, views: &mut Views<'_>) {
        match self {
            Self::Updated(updated) => views.update(&updated.sku, |stock| Stock::update(stock, updated)),
        }
    }
}

impl Projected for ReservationEvent {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<Reservation>(self, at);
        match self {
            Self::Reserved(reserved) => count(views, &reserved.lines, Stock::reserve),
            Self::Rejected(_) => {}
            Self::Released(released) => {
                count(views, &released.lines, |stock, quantity| {
                    stock.release(quantity, released.from)
                });
            }
            Self::Sold(sold) => count(views, &sold.lines, Stock::sell),
        }
    }
}

/// Nothing is reserved of a SKU without a stock, so one that is not there is one that is not loaded yet.
fn count(views: &mut Views<'_>, lines: &[ReservationLine], change: impl Fn(&mut Stock, u64)) {
    for line in lines {
        views.update::<Stock>(&line.sku, |stock| {
            if let Some(stock) = stock {
                change(stock, line.quantity);
            }
        });
    }
}

/// Folds a recorded event of the inventory's journal.
pub fn fold(recorded: &Recorded, views: &mut Views<'_>) -> Result<(), DecodeError> {
    if !rebuild::fold::<StockEvent>(recorded, views)? {
        rebuild::fold::<ReservationEvent>(recorded, views)?;
    }
    Ok(())
}
