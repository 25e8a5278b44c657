//! Refresh tokens as clients hold them, and as they are stored.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{Secret, SessionId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The SHA-256 of a refresh token's secret. The secret has 256 random bits, so nobody finds it from its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TokenHash(Arc<str>);

impl TokenHash {
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, secret)).into())
    }
}

/// Makes and reads refresh tokens: base64url over session id (16 bytes), secret (32) and HMAC-SHA256 of both (32).
///
/// The HMAC tells a token that we issued and have forgotten, whose reuse ends the session, from one that somebody made
/// up to end it: a session's id is no secret.
#[derive(Clone)]
pub(crate) struct RefreshTokens(hmac::Key);

/// A token that we issued.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) session: SessionId,
    pub(crate) hash: TokenHash,
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshTokens(…)")
    }
}

impl RefreshTokens {
    /// The name of the stored secret; permanent.
    pub(crate) const SECRET: &'static str = "refresh-tokens";
    const SIGNED_BYTES: usize = 16 + 32;

    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(crate) fn issue(&self, session: SessionId, secret: &[u8; 32]) -> Secret {
        let mut bytes = Vec::with_capacity(Self::SIGNED_BYTES + 32);
        bytes.extend_from_slice(session.uuid().as_bytes());
        bytes.extend_from_slice(secret);
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD
            .encode(bytes)
            .try_into()
            .expect("80 bytes are 107 characters of base64")
    }

    /// `None` if we did not issue it.
    pub(crate) fn read(&self, token: &Secret) -> Option<Issued> {
        let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).ok()?;
        let (signed, tag) = bytes.split_at_checked(Self::SIGNED_BYTES)?;
        hmac::verify(&self.0, signed, tag).ok()?;
        let (session, secret) = signed.split_first_chunk::<16>()?;
        let session = SessionId::from_uuid(Uuid::from_bytes(*session));
        Some(Issued {
            session,
            hash: TokenHash::of(secret.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_that_we_issued_are_read() {
        let tokens = RefreshTokens::new(&[7; 32]);
        let session = SessionId::from_uuid(Uuid::from_u128(5));
        let token = tokens.issue(session, &[1; 32]);
        let issued = tokens.read(&token).unwrap();
        assert_eq!((issued.session, issued.hash), (session, TokenHash::of(&[1; 32])));
        let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let changed = Secret::try_from(URL_SAFE_NO_PAD.encode(changed)).unwrap();
            assert!(tokens.read(&changed).is_none(), "{index}");
        }
        for wrong in ["x", "%", &token.as_str()[..106], &format!("{}A", token.as_str())] {
            assert!(tokens.read(&Secret::try_from(wrong).unwrap()).is_none(), "{wrong}");
        }
        assert!(RefreshTokens::new(&[8; 32]).read(&token).is_none());
    }
}
