//! One replica, and whether it is asked.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use kernel::event::Epoch;

use crate::pool::PAUSE_MAX;

/// The first pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Where a replica listens: `http://host:port`.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Authority);

/// What is wrong with the URL of a replica.
#[derive(Debug, thiserror::Error)]
#[error("must be like http://host:port, without a path, a user or a password")]
pub struct InvalidBaseUrl;

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidBaseUrl)?;
        let is_bare = uri.path_and_query().is_none_or(|path| path == "/");
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        match authority {
            Some(authority) if is_bare && uri.scheme() == Some(&Scheme::HTTP) => Ok(Self(authority.clone())),
            _ => Err(InvalidBaseUrl),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

impl BaseUrl {
    /// The same path and query there.
    pub(super) fn with(&self, uri: &Uri) -> Uri {
        let path = uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let built = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.0.clone())
            .path_and_query(path);
        built.build().expect("a scheme, an authority and a path are a URI")
    }
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) base: BaseUrl,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    /// Whether it said so when it was last asked, and has failed no request since.
    is_ready: bool,
    /// Requests that it failed, one after the other.
    failures: u32,
    /// Until when it is left out for these, even if it says that it is ready (the circuit is open).
    until: Duration,
    /// The life of its journal, when it was last asked.
    journal: Option<Epoch>,
}

impl Replica {
    /// Ready, until it is known that it is not.
    pub(super) fn new(base: BaseUrl) -> Self {
        let health = Health {
            is_ready: true,
            failures: 0,
            until: Duration::ZERO,
            journal: None,
        };
        Self {
            base,
            health: Mutex::new(health),
        }
    }

    /// Whether it is asked.
    pub(super) fn is_in(&self, now: Duration) -> bool {
        let health = self.health();
        health.is_ready && now >= health.until
    }

    /// What it says of itself. Gives whether it was asked to until now.
    pub(super) fn looked(&self, is_ready: bool, journal: Option<Epoch>) -> bool {
        let mut health = self.health();
        health.journal = journal;
        std::mem::replace(&mut health.is_ready, is_ready)
    }

    /// The life of its journal, if it has said so.
    pub(super) fn journal(&self) -> Option<Epoch> {
        self.health().journal
    }

    /// It has answered a request.
    pub(super) fn answered(&self) {
        self.health().failures = 0;
    }

    /// It has left a request without an answer.
    pub(super) fn failed(&self, now: Duration) {
        let mut health = self.health();
        health.is_ready = false;
        health.failures = health.failures.saturating_add(1);
        health.until = now + pause(health.failures);
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(10));
    PAUSE_MIN.saturating_mul(doubled).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_host_and_a_port() {
        for text in ["http://10.0.0.5:3001", "http://orders:3001/", "http://[::1]:3001"] {
            let base: BaseUrl = text.parse().expect(text);
            assert_eq!(base.to_string(), text.trim_end_matches('/'));
        }
        for text in [
            "",
            "orders:3001",
            "https://orders:3001",
            "http://orders/x",
            "http://me:pw@orders",
            "http://orders?x",
        ] {
            assert!(text.parse::<BaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_taken_there_with_its_query() {
        let base: BaseUrl = "http://orders:1".parse().expect("it is one");
        let uri = base.with(&"/api/orders?limit=2".parse().expect("it is one"));
        assert_eq!(uri, "http://orders:1/api/orders?limit=2");
    }

    #[test]
    fn a_replica_that_fails_is_left_out_until_it_says_that_it_is_ready_and_for_longer_and_longer() {
        let replica = Replica::new("http://orders:1".parse().expect("it is one"));
        let at = Duration::from_millis;
        assert!(replica.is_in(at(0)));
        replica.failed(at(0));
        assert!(!replica.is_in(at(5000)), "it has not said so");
        replica.looked(true, None);
        assert!(!replica.is_in(at(99)) && replica.is_in(at(100)));
        replica.failed(at(110));
        replica.looked(true, None);
        assert!(!replica.is_in(at(309)) && replica.is_in(at(310)));
        for _ in 0..20 {
            replica.failed(at(1000));
        }
        replica.looked(true, None);
        assert!(!replica.is_in(at(5999)) && replica.is_in(at(6000)));
        replica.answered();
        replica.failed(at(7000));
        replica.looked(true, None);
        assert!(replica.is_in(at(7100)), "once it has answered, it begins anew");
    }

    #[test]
    fn a_replica_that_is_not_ready_is_left_out_whatever_it_answers() {
        let replica = Replica::new("http://orders:1".parse().expect("it is one"));
        replica.looked(false, None);
        replica.answered();
        assert!(!replica.is_in(Duration::ZERO));
        replica.looked(true, None);
        assert!(replica.is_in(Duration::ZERO));
    }
}
