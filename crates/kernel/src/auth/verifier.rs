//! Verifies tokens against the fetched keys, and remembers those that it has verified.

mod keyring;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use contracts::{Code, Problem, UserId};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation};
use quick_cache::sync::Cache;

use self::keyring::Keyring;
use super::{AUDIENCE, Caller, Claims, ISSUER, KeySource};
use crate::clock::Clock;

/// How far the clocks of two machines may be apart.
const LEEWAY_SECONDS: i64 = 5;
/// A longer token is refused unread. Ours have about 400 bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// How many verified tokens are remembered, at about 150 bytes each.
const VERIFIED_TOKENS_MAX: usize = 16_384;

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is no good; the reason is for the log, and never holds a part of the token. 401.
    #[error("the token is refused: {0}")]
    Invalid(&'static str),
    /// Its time is over. 401.
    #[error("the token has expired")]
    Expired,
    /// Its user was erased. 401.
    #[error("the token's user was erased")]
    Erased,
    /// The key that would tell has not been had so far. 503.
    #[error("the signing keys are not available")]
    KeysUnavailable,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Expired => Code::TokenExpired.into(),
            Refusal::Invalid(_) | Refusal::Erased => Code::Unauthorized.into(),
            Refusal::KeysUnavailable => Code::KeysUnavailable.into(),
        }
    }
}

/// Verifies tokens: Ed25519 signature, issuer, audience, times, and that the user was not erased.
///
/// What must never hold: a token accepted under another algorithm than EdDSA, without an end, or after it; a token
/// called bad because the keys could not be fetched.
pub struct Verifier {
    clock: Arc<dyn Clock>,
    keys: Keyring,
    validation: Validation,
    verified: Cache<[u8; 32], Verified>,
    refused: RwLock<HashMap<UserId, Timestamp>>,
}

/// A token whose signature and claims were found good.
#[derive(Clone, Copy, Debug)]
struct Verified {
    caller: Caller,
    expires_second: i64,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that has fetched no keys yet; the first token makes it do so.
    pub fn new(source: Arc<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        // The library reads the system's clock. Ours is the injected one, and `check_times` reads it.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            keys: Keyring::new(source, Arc::clone(&clock)),
            clock,
            validation,
            verified: Cache::new(VERIFIED_TOKENS_MAX),
            refused: RwLock::default(),
        }
    }

    /// Whom the token stands for.
    pub async fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        Ok(self.verified(token).await?.caller)
    }

    /// When the token's time is over: for what goes on for longer than a request.
    pub async fn expires_at(&self, token: &str) -> Result<Timestamp, Refusal> {
        let expires_second = self.verified(token).await?.expires_second;
        Timestamp::from_second(expires_second).map_err(|_| Refusal::Invalid("ends beyond the calendar"))
    }

    async fn verified(&self, token: &str) -> Result<Verified, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Invalid("too long"));
        }
        let now = self.clock.now();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let verified = match self.verified.get(&hash) {
            Some(verified) => verified,
            None => {
                let verified = self.verify_anew(token, now).await?;
                self.verified.insert(hash, verified);
                verified
            }
        };
        if now.as_second() - LEEWAY_SECONDS >= verified.expires_second {
            self.verified.remove(&hash);
            return Err(Refusal::Expired);
        }
        self.admit(&verified.caller)?;
        Ok(verified)
    }

    /// Refuses the tokens of this user from now on. After `until` (the end of the last one) it is forgotten again.
    pub fn refuse_user(&self, user: UserId, until: Timestamp) {
        let now = self.clock.now();
        let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, until| *until > now);
        if until > now {
            refused.insert(user, until);
        }
    }

    /// Refuses a caller who was erased since somebody else verified the token.
    pub fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some(user) = caller.user_id() else { return Ok(()) };
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner);
        if refused.contains_key(&user) {
            Err(Refusal::Erased)
        } else {
            Ok(())
        }
    }

    async fn verify_anew(&self, token: &str, now: Timestamp) -> Result<Verified, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Invalid("malformed"))?;
        if header.alg != Algorithm::EdDSA {
            return Err(Refusal::Invalid("signed with another algorithm than EdDSA"));
        }
        if header.crit.is_some() {
            return Err(Refusal::Invalid("has a critical header, and none is understood"));
        }
        let kid = header.kid.ok_or(Refusal::Invalid("names no key"))?;
        let key = self.keys.get(&kid).await?;
        let token = jsonwebtoken::decode::<Claims>(token, &key, &self.validation)
            .map_err(|_| Refusal::Invalid("signature or claims are wrong"))?;
        check_times(&token.claims, now)?;
        let caller = token
            .claims
            .caller()
            .ok_or(Refusal::Invalid("subject, role and session do not fit together"))?;
        Ok(Verified {
            caller,
            expires_second: token.claims.exp,
        })
    }
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_second();
    if now - LEEWAY_SECONDS >= claims.exp {
        return Err(Refusal::Expired);
    }
    if claims.iat > now + LEEWAY_SECONDS {
        return Err(Refusal::Invalid("made in the future"));
    }
    if claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY_SECONDS) {
        return Err(Refusal::Invalid("not valid yet"));
    }
    Ok(())
}
