//! What the accounts' events are folded into.

use std::collections::BTreeSet;

use contracts::{DecodeError, Role, UserId};
use kernel::aggregate::{Occurrence, Projected};
use kernel::document::{Collection, Document, Kind};
use kernel::event::Recorded;
use kernel::unit::{Unit, Views};
use serde::{Deserialize, Serialize};

use crate::{Event, User};

/// Who the admins are, in one document, so that a decision knows whether there would be any left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admins {
    pub(crate) ids: BTreeSet<UserId>,
}

impl Document for Admins {
    const COLLECTION: &'static Collection = &Collection {
        name: "admins",
        kind: Kind::View,
        columns: &[],
        indexes: &[],
    };
}

impl Admins {
    /// The id of the one document.
    pub(crate) const ALL: &'static str = "all";

    /// Whether the shop would have no admin without this one.
    pub(crate) fn is_last(unit: &mut Unit<'_>, id: UserId) -> bool {
        unit.get::<Self>(Self::ALL)
            .is_some_and(|admins| admins.ids.len() == 1 && admins.ids.contains(&id))
    }

    fn note(views: &mut Views<'_>, id: UserId, is_admin: bool) {
        views.update::<Self>(Self::ALL, |admins| {
            let ids = &mut admins.get_or_insert_default().ids;
            if is_admin {
                ids.insert(id)
            } else {
                ids.remove(&id)
            };
        });
    }
}

impl Projected for Event {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<User>(self, at);
        match self {
            Self::Registered(registered) if registered.role == Role::Admin => {
                Admins::note(views, registered.user_id, true);
            }
            Self::Updated(updated) if updated.changed.iter().any(|field| field == "role") => {
                Admins::note(views, updated.user_id, updated.role == Role::Admin);
            }
            Self::Erased(erased) => Admins::note(views, erased.user_id, false),
            // Most of what happens concerns no admin, and leaves the one document alone.
            Self::Registered(_) | Self::Updated(_) | Self::LoggedIn(_) => {}
        }
    }
}

/// Folds a recorded event of the users' journal.
pub fn fold(recorded: &Recorded, views: &mut Views<'_>) -> Result<(), DecodeError> {
    kernel::rebuild::fold::<Event>(recorded, views).map(|_| ())
}
