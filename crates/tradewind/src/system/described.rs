//! The services of the house, as their stores see them.

use contracts::Service;
use kernel::document::Collection;
use kernel::engine::schema;
use kernel::rebuild::Fold;

/// What a service keeps, and how it is folded.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Whose it is.
    pub service: Service,
    /// Its own collections.
    pub collections: &'static [&'static Collection],
    /// Folds an event of its journal into its views.
    pub fold: Fold,
    /// Whether another service follows its journal. One that nobody follows is not sent to a broker.
    pub is_followed: bool,
}

impl Described {
    /// Every collection of the service, the kernel's own included, in the order of their names.
    #[must_use]
    pub fn by_name(&self) -> Vec<&'static Collection> {
        let mut all = schema(self.collections).collections;
        all.sort_unstable_by_key(|collection| collection.name);
        all
    }
}

/// Every service of the house.
pub const SERVICES: [Described; 7] = [
    Described {
        service: Service::Users,
        collections: users::COLLECTIONS,
        fold: users::fold,
        is_followed: true,
    },
    Described {
        service: Service::Catalog,
        collections: catalog::COLLECTIONS,
        fold: catalog::fold,
        is_followed: true,
    },
    Described {
        service: Service::Inventory,
        collections: inventory::COLLECTIONS,
        fold: inventory::fold,
        is_followed: true,
    },
    Described {
        service: Service::Orders,
        collections: orders::COLLECTIONS,
        fold: orders::fold,
        is_followed: true,
    },
    Described {
        service: Service::Payments,
        collections: payments::COLLECTIONS,
        fold: payments::fold,
        is_followed: true,
    },
    Described {
        service: Service::Notifications,
        collections: notifications::COLLECTIONS,
        fold: notifications::fold,
        is_followed: true,
    },
    Described {
        service: Service::Events,
        collections: events::COLLECTIONS,
        fold: events::fold,
        is_followed: false,
    },
];
