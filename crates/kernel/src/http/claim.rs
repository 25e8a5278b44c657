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
    use proptest::prelude::*;

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

    /// What a claim is made of, from so little that two are often alike in part, or look alike side by side.
    fn request() -> impl Strategy<Value = [String; 5]> {
        let method = prop::sample::select(vec!["POST", "PUT", "DELETE"]).prop_map(str::to_owned);
        ["[ab]{1,2}", "/[ab/]{0,2}", "[ab]{1,2}", "[ab {}]{0,2}"]
            .prop_map(|[principal, path, key, body]: [String; 4]| (principal, path, key, body))
            .prop_flat_map(move |(principal, path, key, body)| {
                method
                    .clone()
                    .prop_map(move |method| [principal.clone(), method, path.clone(), key.clone(), body.clone()])
            })
    }

    proptest! {
        #[test]
        fn two_requests_have_one_claim_if_they_are_alike_and_one_fingerprint_if_their_bodies_are(
            one in request(),
            other in request(),
            looks_alike in any::<bool>(),
        ) {
            let mut other = other;
            if looks_alike && let Some(last) = one[2].chars().last() {
                // The same letters side by side, only parted elsewhere.
                other.clone_from(&one);
                other[2].pop();
                other[3].insert(0, last);
            }
            let claim = |[principal, method, path, key, body]: &[String; 5]| {
                claim(principal, &Method::from_bytes(method.as_bytes()).unwrap(), path, key, body)
            };
            let (first, second) = (claim(&one), claim(&other));
            prop_assert_eq!(&first, &claim(&one));
            prop_assert_eq!(first.id == second.id, one[..4] == other[..4]);
            prop_assert_eq!(first.fingerprint == second.fingerprint, one[4] == other[4]);
            prop_assert_ne!(&first.id, &first.fingerprint);
        }

        #[test]
        fn a_key_of_any_bytes_is_taken_or_refused(key in prop::collection::vec(any::<u8>(), 0..300)) {
            let Ok(value) = http::HeaderValue::from_bytes(&key) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(IDEMPOTENCY_KEY), value)]);
            let keyed = Sealer::new(&[7; 32]).keyed(&Method::POST, "/", &headers, b"{}");
            let characters = std::str::from_utf8(&key).map(|key| key.chars().count());
            let fits = characters.is_ok_and(|count| (1..=KEY_CHARS_MAX).contains(&count));
            prop_assert_eq!(keyed.is_ok_and(|keyed| keyed.is_some()), fits);
        }
    }
}
