//! One replica, and whether it is asked.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

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
    circuit: Mutex<Circuit>,
}

/// Closed while `failures` is 0.
#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    /// Until when it is open. After that, one request at a time finds out.
    until: Duration,
}

impl Replica {
    pub(super) fn new(base: BaseUrl) -> Self {
        Self {
            base,
            circuit: Mutex::default(),
        }
    }

    /// Whether it is asked, as it seems.
    pub(super) fn is_in(&self, now: Duration) -> bool {
        let circuit = self.circuit();
        circuit.failures == 0 || now >= circuit.until
    }

    /// The same for one request. Where it is to find out whether the replica is back, others do not have to meanwhile.
    pub(super) fn take(&self, now: Duration) -> bool {
        let mut circuit = self.circuit();
        let is_in = circuit.failures == 0 || now >= circuit.until;
        if is_in && circuit.failures > 0 {
            circuit.until = now + pause(circuit.failures);
        }
        is_in
    }

    pub(super) fn answered(&self) {
        *self.circuit() = Circuit::default();
    }

    pub(super) fn failed(&self, now: Duration) {
        let mut circuit = self.circuit();
        circuit.failures = circuit.failures.saturating_add(1);
        circuit.until = now + pause(circuit.failures);
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_replica_that_fails_is_left_out_for_longer_and_longer_and_one_request_finds_out() {
        let replica = Replica::new("http://orders:1".parse().expect("it is one"));
        let at = Duration::from_millis;
        assert!(replica.take(at(0)) && replica.take(at(0)));
        replica.failed(at(0));
        assert!(!replica.take(at(99)));
        assert!(replica.take(at(100)), "somebody finds out");
        assert!(!replica.take(at(100)), "and nobody else meanwhile");
        replica.failed(at(110));
        assert!(!replica.take(at(309)) && replica.take(at(310)));
        for _ in 0..20 {
            replica.failed(at(1000));
        }
        assert!(!replica.is_in(at(5999)) && replica.is_in(at(6000)));
        replica.answered();
        assert!(replica.is_in(at(1001)));
    }
}
