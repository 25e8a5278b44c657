//! `Idempotency-Key`: which answer a request claims, and what it must look like to get it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method};

use super::failure::{Failure, invalid};
use crate::context::Claim;

/// The header that makes a write repeatable.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// A longer key is refused.
const KEY_CHARS_MAX: usize = 255;

/// The principal of claims made by [`Write::claim_by_email`], so that the erasure of that e-mail finds them.
///
/// [`Write::claim_by_email`]: super::Write::claim_by_email
#[must_use]
pub fn principal_of_email(idempotency_secret: &[u8; 32], email: &str) -> Arc<str> {
    Sealer::new(idempotency_secret).principal_of_email(email)
}

/// Makes claims under the service's stored secret, so that neither keys nor bodies can be guessed from what is stored.
pub(crate) struct Sealer(hmac::Key);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Sealer {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// HMAC-SHA256 over the parts, each behind its length, so that no two lists of parts look the same.
    fn seal(&self, parts: &[&[u8]]) -> Arc<str> {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let mut text = [0; 43];
        let length = URL_SAFE_NO_PAD
            .encode_slice(tag, &mut text)
            .expect("32 bytes are 43 characters of base64");
        std::str::from_utf8(&text[..length]).expect("base64 is ASCII").into()
    }

    /// The principal of a request that has no caller yet: a sign-up's e-mail.
    pub(crate) fn principal_of_email(&self, email: &str) -> Arc<str> {
        self.seal(&[b"email", email.as_bytes()])
    }

    pub(crate) fn claim(&self, principal: Arc<str>, key: &KeyedRequest) -> Claim {
        let KeyedRequest {
            method,
            path,
            key,
            fingerprint,
        } = key;
        let scope: [&[u8]; 5] = [
            b"claim",
            principal.as_bytes(),
            method.as_str().as_bytes(),
            path.as_bytes(),
            key.as_bytes(),
        ];
        Claim {
            id: self.seal(&scope),
            principal,
            fingerprint: Arc::clone(fingerprint),
        }
    }

    /// What of a request its claim depends on, if it has a key.
    pub(crate) fn keyed(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Option<KeyedRequest>, Failure> {
        let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = given.next() else { return Ok(None) };
        if given.next().is_some() {
            return Err(invalid("Idempotency-Key", "must be given once"));
        }
        let key = std::str::from_utf8(key.as_bytes()).map_err(|_| invalid("Idempotency-Key", "must be UTF-8"))?;
        if !(1..=KEY_CHARS_MAX).contains(&key.chars().count()) {
            return Err(invalid("Idempotency-Key", "must have 1 to 255 characters"));
        }
        Ok(Some(KeyedRequest {
            method: method.clone(),
            path: path.into(),
            key: key.into(),
            fingerprint: self.seal(&[b"body", body]),
        }))
    }
}

/// A request with an `Idempotency-Key`, before it is known whose it is.
#[derive(Clone)]
pub(crate) struct KeyedRequest {
    method: Method,
    path: Box<str>,
    key: Box<str>,
    fingerprint: Arc<str>,
}

impl fmt::Debug for KeyedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(principal: &str, method: &Method, path: &str, key: &str, body: &str) -> Claim {
        let sealer = Sealer::new(&[7; 32]);
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), key.parse().unwrap())]);
        let keyed = sealer.keyed(method, path, &headers, body.as_bytes()).unwrap().unwrap();
        sealer.claim(principal.into(), &keyed)
    }

    #[test]
    fn the_same_request_makes_the_same_claim() {
        let claims = || claim("usr_1", &Method::POST, "/api/orders", "key", "{}");
        assert_eq!(claims(), claims());
        assert_eq!(&*claims().principal, "usr_1");
    }

    #[test]
    fn a_claim_differs_by_principal_method_path_and_key_but_not_by_body() {
        let base = claim("usr_1", &Method::POST, "/api/orders", "key", "{}");
        for other in [
            claim("usr_2", &Method::POST, "/api/orders", "key", "{}"),
            claim("usr_1", &Method::PUT, "/api/orders", "key", "{}"),
            claim("usr_1", &Method::POST, "/api/payments", "key", "{}"),
            claim("usr_1", &Method::POST, "/api/orders", "yek", "{}"),
            claim("usr_1", &Method::POST, "/api/orderske", "y", "{}"),
        ] {
            assert_ne!(base.id, other.id);
        }
        let other_body = claim("usr_1", &Method::POST, "/api/orders", "key", "{ }");
        assert_eq!(base.id, other_body.id);
        assert_ne!(base.fingerprint, other_body.fingerprint);
    }

    #[test]
    fn claims_depend_on_the_secret() {
        let email = "ada@example.com";
        let principal = Sealer::new(&[7; 32]).principal_of_email(email);
        assert_eq!(principal, Sealer::new(&[7; 32]).principal_of_email(email));
        assert_ne!(principal, Sealer::new(&[8; 32]).principal_of_email(email));
        assert!(!principal.contains("ada"));
    }
}
