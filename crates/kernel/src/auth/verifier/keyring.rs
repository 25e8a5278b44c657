//! The public keys as last fetched, and when to fetch them again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::future::{Either, select};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve};
use tokio::sync::Mutex;

use super::super::{FetchError, Jwks, KeySource};
use super::Refusal;
use crate::clock::Clock;

/// An unknown kid makes us fetch at most this often, or anybody could have `users` flooded.
const REFETCH_PAUSE: Duration = Duration::from_secs(10);
/// The same while no key has ever been had, so that a start does not take long.
const FIRST_FETCH_PAUSE: Duration = Duration::from_secs(1);
/// Keys are fetched again after this time even if known, so that a withdrawn one ends.
const KEYS_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// How long one attempt may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The keys by kid. Requests with a known kid never wait for a fetch of somebody else.
pub(super) struct Keyring {
    source: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    keys: ArcSwapOption<Keys>,
    fetches: Mutex<Fetches>,
}

struct Keys {
    by_kid: HashMap<String, Arc<DecodingKey>>,
    fetched: Duration,
}

/// The last attempt to fetch.
#[derive(Default)]
struct Fetches {
    last: Option<Duration>,
    failed: bool,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.load();
        let kids = keys.as_ref().map(|keys| keys.by_kid.keys().collect::<Vec<_>>());
        f.debug_struct("Keyring")
            .field("source", &self.source)
            .field("kids", &kids)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    pub(super) fn new(source: Arc<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            keys: ArcSwapOption::empty(),
            fetches: Mutex::default(),
        }
    }

    /// The key of this id, fetching if it is unknown or was fetched long ago.
    pub(super) async fn get(&self, kid: &str) -> Result<Arc<DecodingKey>, Refusal> {
        let mut fetches = match (self.find(kid), self.is_old()) {
            (Some(key), false) => return Ok(key),
            // Somebody may be fetching already; the old key serves meanwhile.
            (Some(key), true) => match self.fetches.try_lock() {
                Ok(fetches) => fetches,
                Err(_) => return Ok(key),
            },
            (None, _) => {
                let fetches = self.fetches.lock().await;
                // Whoever held the lock may have fetched it.
                if let Some(key) = self.find(kid) {
                    return Ok(key);
                }
                fetches
            }
        };
        self.fetch(&mut fetches).await;
        let unavailable = self.keys.load().is_none() || fetches.failed;
        self.find(kid).ok_or(if unavailable {
            Refusal::KeysUnavailable
        } else {
            Refusal::Invalid("unknown key")
        })
    }

    fn find(&self, kid: &str) -> Option<Arc<DecodingKey>> {
        self.keys.load().as_ref()?.by_kid.get(kid).map(Arc::clone)
    }

    fn is_old(&self) -> bool {
        let keys = self.keys.load();
        keys.as_ref()
            .is_none_or(|keys| self.clock.monotonic().saturating_sub(keys.fetched) >= KEYS_AGE_MAX)
    }

    /// One attempt, unless the last one was just made. A failed one leaves the keys as they are.
    async fn fetch(&self, fetches: &mut Fetches) {
        let now = self.clock.monotonic();
        let pause = if self.keys.load().is_none() {
            FIRST_FETCH_PAUSE
        } else {
            REFETCH_PAUSE
        };
        if fetches.last.is_some_and(|last| now.saturating_sub(last) < pause) {
            return;
        }
        fetches.last = Some(now);
        // True until proven otherwise: a request that goes away while it waits leaves it so.
        fetches.failed = true;
        let fetched = match select(self.source.fetch(), self.clock.sleep(FETCH_TIMEOUT)).await {
            Either::Left((fetched, _)) => fetched.and_then(|jwks| usable(&jwks)),
            Either::Right(_) => Err(FetchError::new("no answer in time")),
        };
        match fetched {
            Ok(by_kid) => {
                self.keys.store(Some(Arc::new(Keys { by_kid, fetched: now })));
                fetches.failed = false;
            }
            Err(error) => tracing::warn!(%error, "no new signing keys"),
        }
    }
}

/// The Ed25519 keys of a set; others are not ours.
fn usable(jwks: &Jwks) -> Result<HashMap<String, Arc<DecodingKey>>, FetchError> {
    let by_kid: HashMap<_, _> = jwks
        .keys
        .iter()
        .filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            match &jwk.algorithm {
                AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                    Some((kid, Arc::new(DecodingKey::from_ed_components(&pair.x).ok()?)))
                }
                _ => None,
            }
        })
        .collect();
    if by_kid.is_empty() {
        Err(FetchError::new("the set holds no Ed25519 key"))
    } else {
        Ok(by_kid)
    }
}
