//! What the notifications' events are folded into.

use contracts::DecodeError;
use kernel::aggregate::{Occurrence, Projected};
use kernel::event::Recorded;
use kernel::unit::Views;

use crate::{Event, Notification};

impl Projected for Event {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<Notification>(self, at);
    }
}

/// Folds a recorded event of the notifications' journal.
pub fn fold(recorded: &Recorded, views: &mut Views<'_>) -> Result<(), DecodeError> {
    kernel::rebuild::fold::<Event>(recorded, views).map(|_| ())
}
