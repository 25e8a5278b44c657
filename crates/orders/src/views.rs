//! What the orders' events are folded into: the orders.

use contracts::DecodeError;
use kernel::aggregate::{Occurrence, Projected};
use kernel::event::Recorded;
use kernel::unit::Views;

use crate::{Event, Order};

impl Projected for Event {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<Order>(self, at);
    }
}

/// Folds a recorded event of the orders' journal.
pub fn fold(recorded: &Recorded, views: &mut Views<'_>) -> Result<(), DecodeError> {
    kernel::rebuild::fold::<Event>(recorded, views).map(|_| ())
}
