//! The services by name.

use crate::word::words;

words! {
    /// A service: one store, one journal, one writer. The word is permanent; journals and checkpoints hold it.
    pub enum Service {
        /// Accounts, login, roles and tokens.
        Users = "users",
        /// Products.
        Catalog = "catalog",
        /// Stock and reservations.
        Inventory = "inventory",
        /// Orders and their process.
        Orders = "orders",
        /// Charges and refunds.
        Payments = "payments",
        /// E-mail and other messages.
        Notifications = "notifications",
        /// The public log, streams and webhooks.
        Events = "events",
    }
}

impl Service {
    /// The CloudEvents `source` of the service's events: `/services/orders`.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Users => "/services/users",
            Self::Catalog => "/services/catalog",
            Self::Inventory => "/services/inventory",
            Self::Orders => "/services/orders",
            Self::Payments => "/services/payments",
            Self::Notifications => "/services/notifications",
            Self::Events => "/services/events",
        }
    }

    /// The service behind a CloudEvents `source`; `None` if it is not one of ours.
    pub fn from_source(source: &str) -> Option<Self> {
        source.strip_prefix("/services/")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_its_service() {
        for &service in Service::ALL {
            assert_eq!(service.source(), format!("/services/{service}"));
            assert_eq!(Service::from_source(service.source()), Some(service));
        }
        assert_eq!(Service::from_source("orders"), None);
    }
}
