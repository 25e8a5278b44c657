//! Which path leads where: one table. Nothing else in the gateway looks at paths but the target that one leads to, so a
//! path that is to be known under a second name is given its first one here, before [`find`] sees it.

use contracts::Service;
use http::Method;

use crate::journals;

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To a page of the gateway's own, open to everybody and never limited.
    Page(Page),
    /// To a service.
    Service(Service),
    /// To the dead letters of all services.
    DeadLetters,
    /// To the journals of all services.
    Journals,
}

/// What the gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// What is where.
    Index,
    /// The process is up.
    Health,
    /// The process can do its work.
    Readiness,
    /// Prometheus.
    Metrics,
    /// What each error means: where the `type` of every problem leads.
    Errors,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The path itself, and for services also everything below it.
    pub(crate) path: &'static str,
    pub(crate) target: Target,
    /// Whether requests without a token count against their address.
    pub(crate) counts_anonymous: bool,
}

const fn page(path: &'static str, page: Page) -> Route {
    Route {
        path,
        target: Target::Page(page),
        counts_anonymous: false,
    }
}

const fn service(path: &'static str, service: Service) -> Route {
    Route {
        path,
        target: Target::Service(service),
        counts_anonymous: true,
    }
}

/// Every path that there is, longer ones first, so that the first match is the best one.
///
/// Some twenty short prefixes are compared in tens of nanoseconds; a tree would be no faster, and hide the order.
pub(crate) const ROUTES: &[Route] = &[
    // Stripe has no token and sends from few addresses, many requests at a busy shop. Its signature is checked instead.
    Route {
        counts_anonymous: false,
        ..service("/api/payments/stripe/webhook", Service::Payments)
    },
    service("/.well-known/jwks.json", Service::Users),
    service("/api/notifications", Service::Notifications),
    Route {
        path: "/api/dead-letters",
        target: Target::DeadLetters,
        counts_anonymous: true,
    },
    service("/api/inventory", Service::Inventory),
    Route {
        path: journals::PATH,
        target: Target::Journals,
        counts_anonymous: true,
    },
    service("/api/products", Service::Catalog),
    service("/api/payments", Service::Payments),
    service("/api/webhooks", Service::Events),
    page("/docs/errors", Page::Errors),
    service("/api/orders", Service::Orders),
    service("/api/notify", Service::Notifications),
    service("/api/events", Service::Events),
    service("/api/logout", Service::Users),
    service("/api/users", Service::Users),
    service("/api/login", Service::Users),
    service("/api/token", Service::Users),
    page("/healthz", Page::Health),
    page("/metrics", Page::Metrics),
    page("/readyz", Page::Readiness),
    page("/", Page::Index),
];

/// The index in [`ROUTES`] of the row that a path belongs to.
pub(crate) fn find(path: &str) -> Option<usize> {
    ROUTES.iter().position(|route| route.matches(path))
}

impl Target {
    /// Whether what the gateway itself shows under this path can be had and nothing else.
    pub(crate) fn is_shown_only(self, path: &str) -> bool {
        match self {
            Self::Page(_) => true,
            Self::Journals => path == journals::PATH,
            Self::Service(_) | Self::DeadLetters => false,
        }
    }
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.path) else {
            return false;
        };
        rest.is_empty() || (rest.starts_with('/') && !matches!(self.target, Target::Page(_)))
    }
}

/// Whether the method is one that asks for something to be shown.
pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<Target> {
        find(path).map(|index| ROUTES[index].target)
    }

    #[test]
    fn longer_paths_come_first() {
        assert!(ROUTES.is_sorted_by(|a, b| a.path.len() >= b.path.len()));
    }

    #[test]
    fn a_path_leads_to_the_service_that_answers_it() {
        for (path, service) in [
            ("/api/users", Service::Users),
            ("/api/users/usr_1/password", Service::Users),
            ("/api/login", Service::Users),
            ("/api/logout", Service::Users),
            ("/api/token/refresh", Service::Users),
            ("/.well-known/jwks.json", Service::Users),
            ("/api/products/prd_1", Service::Catalog),
            ("/api/inventory/a%2Fb", Service::Inventory),
            ("/api/orders/ord_1/cancel", Service::Orders),
            ("/api/payments/pay_1/refunds", Service::Payments),
            ("/api/payments/stripe/webhook", Service::Payments),
            ("/api/notify", Service::Notifications),
            ("/api/notifications/ntf_1/retry", Service::Notifications),
            ("/api/events/stream", Service::Events),
            ("/api/webhooks/whk_1/deliveries/dlv_1/retry", Service::Events),
        ] {
            assert_eq!(target(path), Some(Target::Service(service)), "{path}");
        }
        assert_eq!(target("/api/dead-letters/dlq_1/retry"), Some(Target::DeadLetters));
        assert_eq!(target("/api/journals/orders/republish"), Some(Target::Journals));
        assert_eq!(target("/readyz"), Some(Target::Page(Page::Readiness)));
    }

    #[test]
    fn a_path_is_matched_by_whole_segments_and_never_decoded() {
        for path in [
            "",
            "*",
            "//",
            "/x",
            "/api",
            "/api/",
            "/api/usersx",
            "/api/user",
            "//api/users",
            "/api//users",
            "/API/users",
            "/api/%75sers",
            "/healthz/",
            "/metrics/x",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }
}
