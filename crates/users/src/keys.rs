//! The keys that sign tokens. They are one record, so that replicas agree on them from the first start on.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kernel::auth::{Claims, FetchError, Jwks, KeySource, SigningKey};
use kernel::context::Context;
use kernel::document::{Collection, Document, Kind};
use kernel::engine::Engine;
use kernel::store::StoreError;
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};

/// A new key is published so long before it signs: by then every verifier, which fetches keys at most every 10 s, and
/// whoever cached the set for [`KEY_SET_CACHED_SECONDS`] can have it.
pub const PUBLISHED_AHEAD: SignedDuration = SignedDuration::from_secs(30);
/// An old key verifies for so long after it last signed.
pub const VERIFIES_AFTER: SignedDuration = SignedDuration::from_mins(30);
/// For how long clients may keep the key set.
pub const KEY_SET_CACHED_SECONDS: u32 = 15;
/// How often a replica looks whether another one has rotated the keys.
const REFRESH: Duration = Duration::from_secs(10);

/// The private keys, as they are stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRing {
    keys: Vec<StoredKey>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredKey {
    seed: String,
    signs_from: Timestamp,
    /// After this its tokens are refused; `None` while there is no newer key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retires_at: Option<Timestamp>,
}

impl Document for KeyRing {
    const COLLECTION: &'static Collection = &Collection {
        name: "signing_keys",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

impl KeyRing {
    /// The id of the one document; permanent.
    const ID: &'static str = "tokens";

    fn add(&mut self, seed: String, signs_from: Timestamp, now: Timestamp) {
        self.keys
            .retain(|key| key.retires_at.is_none_or(|retires_at| retires_at > now));
        for key in &mut self.keys {
            key.retires_at.get_or_insert(signs_from + VERIFIES_AFTER);
        }
        self.keys.push(StoredKey {
            seed,
            signs_from,
            retires_at: None,
        });
    }
}

/// The keys, ready for use.
struct Held {
    ring: Arc<KeyRing>,
    /// In the order of the ring.
    keys: Vec<SigningKey>,
}

impl Held {
    fn new(ring: Arc<KeyRing>) -> Result<Self, StoreError> {
        let keys = ring
            .keys
            .iter()
            .map(|key| SigningKey::from_stored(&key.seed))
            .collect::<Result<_, _>>();
        Ok(Self {
            keys: keys.map_err(StoreError::new)?,
            ring,
        })
    }
}

/// Signs tokens, and tells verifiers with which keys; cheap to clone.
#[derive(Clone)]
pub struct Keys {
    engine: Engine,
    held: Arc<RwLock<Arc<Held>>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("newest", &self.held().keys.last())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the keys, or makes the first one. To be called before anything verifies tokens.
    pub async fn open(engine: &Engine) -> Result<Self, writer::Error> {
        let seed = SigningKey::generate(engine.ids()).to_stored();
        let ring = engine
            .writer()
            .execute(Priority::Background, Context::system("keys"), move |unit| {
                if let Some(ring) = unit.get::<KeyRing>(KeyRing::ID) {
                    return Ok(ring);
                }
                let first = StoredKey {
                    seed: seed.clone(),
                    signs_from: unit.now(),
                    retires_at: None,
                };
                let ring = KeyRing { keys: vec![first] };
                unit.put(KeyRing::ID, ring.clone());
                Ok::<_, writer::Error>(Arc::new(ring))
            });
        let held = Arc::new(Held::new(ring.await?)?);
        let keys = Self {
            engine: engine.clone(),
            held: Arc::new(RwLock::new(held)),
        };
        if engine.is_shared() {
            let keys = keys.clone();
            engine.spawn(async move |stop| {
                while stop
                    .run_until_cancelled(keys.engine.clock().sleep(REFRESH))
                    .await
                    .is_some()
                {
                    if let Err(error) = keys.refresh().await {
                        tracing::warn!(%error, "the signing keys cannot be read");
                    }
                }
            });
        }
        Ok(keys)
    }

    /// Where verifiers of this process get the public keys from.
    #[must_use]
    pub fn key_source(&self) -> Arc<dyn KeySource> {
        Arc::new(self.clone())
    }

    /// Adds a key, which signs after [`PUBLISHED_AHEAD`]; the ones until now verify for [`VERIFIES_AFTER`] after that.
    pub async fn rotate(&self) -> Result<(), writer::Error> {
        let seed = SigningKey::generate(self.engine.ids()).to_stored();
        let rotated = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("keys"), move |unit| {
                let now = unit.now();
                let Some(ring) = unit.get::<KeyRing>(KeyRing::ID) else {
                    return Ok(());
                };
                let mut ring = KeyRing::clone(&ring);
                ring.add(seed.clone(), now + PUBLISHED_AHEAD, now);
                unit.put(KeyRing::ID, ring);
                Ok::<_, writer::Error>(())
            });
        rotated.await?;
        Ok(self.refresh().await.map(drop)?)
    }

    /// The public keys whose tokens are good now, and the one that signs next.
    ///
    /// They are read from the store each time, so that no token is refused because another replica made its key.
    pub async fn jwks(&self) -> Result<Jwks, StoreError> {
        let held = self.refresh().await?;
        let now = self.engine.clock().now();
        let good = held
            .ring
            .keys
            .iter()
            .zip(&held.keys)
            .filter(|(stored, _)| stored.retires_at.is_none_or(|at| at > now));
        Ok(Jwks {
            keys: good.map(|(_, key)| key.jwk().clone()).collect(),
        })
    }

    /// A token that says so, under the newest key that signs already.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let held = self.held();
        let now = self.engine.clock().now();
        let signs = held.ring.keys.iter().rposition(|key| key.signs_from <= now);
        // A clock that ran backwards leaves the oldest.
        held.keys[signs.unwrap_or(0)].sign(claims)
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn refresh(&self) -> Result<Arc<Held>, StoreError> {
        let held = self.held();
        let stored = self.engine.reader().get::<KeyRing>(KeyRing::ID).await?;
        let ring = stored.ok_or_else(|| StoreError::new("the signing keys are gone"))?;
        if ring == held.ring {
            return Ok(held);
        }
        let held = Arc::new(Held::new(ring)?);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&held);
        Ok(held)
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        self.jwks().await.map_err(FetchError::new)
    }
}

#[cfg(test)]
mod tests {
    use contracts::{Role, Service, SessionId};
    use kernel::auth::{Refusal, User, Verifier};
    use testkit::harness::Harness;

    use super::*;

    struct Setup {
        harness: Harness,
        keys: Keys,
        verifier: Verifier,
    }

    async fn setup() -> Setup {
        let harness = Harness::new(Service::Users, crate::COLLECTIONS).await;
        let keys = Keys::open(&harness.engine()).await.unwrap();
        let verifier = Verifier::new(keys.key_source(), Arc::clone(harness.clock()) as _);
        Setup {
            harness,
            keys,
            verifier,
        }
    }

    impl Setup {
        fn token(&self) -> String {
            let id = contracts::UserId::from_uuid(self.harness.uuid());
            let user = User {
                id,
                role: Role::Customer,
                session: SessionId::from_uuid(self.harness.uuid()),
            };
            self.keys
                .sign(&Claims::of_user(user, self.harness.engine().clock().now()))
        }

        async fn wait(&self, duration: SignedDuration) {
            self.harness.engine().clock().sleep(duration.unsigned_abs()).await;
        }

        async fn kids(&self) -> Vec<String> {
            self.keys
                .jwks()
                .await
                .unwrap()
                .keys
                .into_iter()
                .map(|key| key.common.key_id.unwrap())
                .collect()
        }
    }

    fn kid(token: &str) -> String {
        use base64::Engine as _;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_is_made_once_and_found_at_the_next_start() {
        let setup = setup().await;
        let token = setup.token();
        let restarted = Keys::open(&setup.harness.engine()).await.unwrap();
        assert_eq!(restarted.jwks().await.unwrap(), setup.keys.jwks().await.unwrap());
        let verifier = Verifier::new(restarted.key_source(), Arc::clone(setup.harness.clock()) as _);
        verifier.verify(&token).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_is_published_before_it_signs_and_the_old_one_verifies_for_half_an_hour_more() {
        let setup = setup().await;
        setup.verifier.verify(&setup.token()).await.unwrap();
        // A writer that has just written lets background work gather for a moment.
        setup.wait(SignedDuration::from_secs(1)).await;
        setup.keys.rotate().await.unwrap();
        let kids = setup.kids().await;
        assert_eq!(kids.len(), 2);
        assert_eq!(kid(&setup.token()), kids[0]);
        setup.wait(PUBLISHED_AHEAD - SignedDuration::from_millis(1)).await;
        let last_of_old = setup.token();
        assert_eq!(kid(&last_of_old), kids[0]);
        setup.wait(SignedDuration::from_millis(1)).await;
        let first_of_new = setup.token();
        assert_eq!(kid(&first_of_new), kids[1]);
        setup.verifier.verify(&first_of_new).await.unwrap();
        setup.wait(SignedDuration::from_mins(14)).await;
        setup.verifier.verify(&last_of_old).await.unwrap();
        setup
            .wait(VERIFIES_AFTER - SignedDuration::from_mins(14) - SignedDuration::from_millis(1))
            .await;
        assert_eq!(setup.kids().await, kids);
        setup.wait(SignedDuration::from_millis(1)).await;
        assert_eq!(setup.kids().await, kids[1..]);
        setup.verifier.verify(&setup.token()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_have_retired_are_deleted_with_the_next_rotation() {
        let setup = setup().await;
        setup.keys.rotate().await.unwrap();
        setup.keys.rotate().await.unwrap();
        assert_eq!(setup.kids().await.len(), 3);
        setup.wait(PUBLISHED_AHEAD + VERIFIES_AFTER).await;
        assert_eq!(setup.kids().await.len(), 1);
        setup.keys.rotate().await.unwrap();
        let stored = setup
            .harness
            .engine()
            .reader()
            .get::<KeyRing>(KeyRing::ID)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.keys.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_by_another_replica_is_seen_before_its_key_signs() {
        let setup = setup().await;
        let replica = Keys::open(&setup.harness.engine()).await.unwrap();
        replica.rotate().await.unwrap();
        // What verifiers fetch is read from the store.
        assert_eq!(setup.kids().await.len(), 2);
        setup.wait(PUBLISHED_AHEAD).await;
        assert_eq!(kid(&setup.token()), setup.kids().await[1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_of_somebody_else_verifies_nothing() {
        let setup = setup().await;
        let stranger = SigningKey::from_seed([1; 32]).sign(&Claims::of_service(
            Service::Orders,
            setup.harness.engine().clock().now(),
        ));
        assert!(matches!(
            setup.verifier.verify(&stranger).await,
            Err(Refusal::Invalid(_))
        ));
    }
}
