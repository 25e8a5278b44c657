//! Keys that sign tokens, and the port through which verifiers get their public halves.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, OctetKeyPairParameters, OctetKeyPairType,
    PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::Claims;
use crate::clock::Ids;

/// A JSON Web Key Set (RFC 7517): `{"keys": […]}`, public keys only.
pub use jsonwebtoken::jwk::JwkSet as Jwks;

/// Where verifiers get the public keys from: `users`, in the same process or over HTTP.
///
/// Implementations answer with all keys whose tokens are to be accepted now, and do not retry: the [`Verifier`] asks
/// again, at most every 10 s, and gives up waiting by itself. So a new key has to be in the set for longer than that before
/// it signs its first token, or that token is refused where the set was fetched just before.
///
/// [`Verifier`]: super::Verifier
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// The current keys.
    async fn fetch(&self) -> Result<Jwks, FetchError>;
}

/// A fixed set, always at hand.
#[async_trait]
impl KeySource for Jwks {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        Ok(self.clone())
    }
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
#[error("the signing keys cannot be fetched: {reason}")]
pub struct FetchError {
    /// For the log; never shown to a client.
    pub reason: String,
}

impl FetchError {
    /// From whatever went wrong.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}

/// A stored signing key that is not one.
#[derive(Debug, thiserror::Error)]
#[error("a signing key is 32 bytes in base64url")]
pub struct InvalidSeed;

/// An Ed25519 key pair that signs tokens. Its id (`kid`) is the JWK thumbprint (RFC 7638), so the seed is all that
/// has to be stored.
pub struct SigningKey {
    seed: [u8; 32],
    private: EncodingKey,
    public: Jwk,
    kid: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn generate(ids: &Ids) -> Self {
        let mut seed = [0; 32];
        ids.fill(&mut seed);
        Self::from_seed(seed)
    }

    /// The key of this seed (RFC 8032).
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are an Ed25519 seed");
        let pkcs8 = pair.to_pkcs8v1().expect("a key pair has a PKCS #8 form");
        let mut public = Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(KeyAlgorithm::EdDSA),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: URL_SAFE_NO_PAD.encode(pair.public_key()),
            }),
        };
        let kid = public
            .thumbprint(ThumbprintHash::SHA256)
            .expect("an Ed25519 key has a thumbprint");
        public.common.key_id = Some(kid.clone());
        Self {
            seed,
            private: EncodingKey::from_ed_der(pkcs8.as_ref()),
            public,
            kid,
        }
    }

    /// The key as [`SigningKey::to_stored`] gave it.
    pub fn from_stored(text: &str) -> Result<Self, InvalidSeed> {
        let seed = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidSeed)?;
        Ok(Self::from_seed(seed.try_into().map_err(|_| InvalidSeed)?))
    }

    /// The secret as text, for the record that keeps it. Never in an event or a log.
    #[must_use]
    pub fn to_stored(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.seed)
    }

    /// Names the key in the header of its tokens.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, for the key set.
    #[must_use]
    pub fn jwk(&self) -> &Jwk {
        &self.public
    }

    /// A token that says so.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header {
            kid: Some(self.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, claims, &self.private).expect("claims serialise and the key is an Ed25519 one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037, appendix A.1 to A.3.
    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        let key = SigningKey::from_stored("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        insta::assert_snapshot!(serde_json::to_string(key.jwk()).unwrap(), @r#"{"use":"sig","alg":"EdDSA","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
    }

    #[test]
    fn a_key_survives_its_stored_form_and_hides_in_debug() {
        let key = SigningKey::generate(&Ids::from_seed(1));
        let stored = key.to_stored();
        assert_eq!(SigningKey::from_stored(&stored).unwrap().kid(), key.kid());
        assert!(!format!("{key:?}").contains(&stored));
        assert!(SigningKey::from_stored("short").is_err());
    }
}
