//! Attacks on the verifier, and the life of its keys.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{Role, Service, SessionId};
use jiff::SignedDuration;
use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{FetchError, Jwks, SigningKey, TOKEN_LIFETIME_SECONDS, User};
use super::*;
use crate::clock::ManualClock;

/// A key source that counts and can fail or hang.
#[derive(Debug, Default)]
struct Source {
    keys: RwLock<Jwks>,
    down: AtomicBool,
    hangs: AtomicBool,
    fetches: AtomicUsize,
}

#[async_trait]
impl KeySource for Source {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(FetchError::new("down"));
        }
        Ok(self.keys.read().unwrap().clone())
    }
}

impl Source {
    fn publish(&self, keys: &[&SigningKey]) {
        self.keys.write().unwrap().keys = keys.iter().map(|key| key.jwk().clone()).collect();
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }
}

struct Setup {
    source: Arc<Source>,
    clock: Arc<ManualClock>,
    verifier: Verifier,
    key: SigningKey,
}

fn setup() -> Setup {
    let clock = Arc::new(ManualClock::starting_at("2026-11-21T09:00:00Z".parse().unwrap()));
    let source = Arc::new(Source::default());
    let key = SigningKey::from_seed([1; 32]);
    source.publish(&[&key]);
    let verifier = Verifier::new(
        Arc::clone(&source) as Arc<dyn KeySource>,
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    Setup {
        source,
        clock,
        verifier,
        key,
    }
}

impl Setup {
    fn user(&self) -> User {
        let id = UserId::from_uuid(Uuid::from_u128(1));
        User {
            id,
            role: Role::Customer,
            session: SessionId::from_uuid(Uuid::from_u128(2)),
        }
    }

    fn claims(&self) -> Claims {
        Claims::of_user(self.user(), self.clock.now())
    }

    /// A properly signed token whose claims were changed.
    fn forged(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = serde_json::to_value(self.claims()).unwrap();
        change(&mut claims);
        self.signed(
            &Header {
                kid: Some(self.key.kid().to_owned()),
                ..Header::new(Algorithm::EdDSA)
            },
            &claims,
        )
    }

    /// Signs whatever it is given with the real key.
    fn signed(&self, header: &Header, claims: &Value) -> String {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        jsonwebtoken::encode(header, claims, &key).unwrap()
    }

    fn assemble(&self, header: &Value, signature: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.{signature}",
            part(header),
            part(&serde_json::to_value(self.claims()).unwrap())
        )
    }

    async fn assert_invalid(&self, token: &str, what: &str) {
        let refusal = self.verifier.verify(token).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(_)), "{what}: {refusal}");
    }
}

#[tokio::test]
async fn a_good_token_names_its_caller_and_is_verified_once() {
    let setup = setup();
    let token = setup.key.sign(&setup.claims());
    for _ in 0..3 {
        assert_eq!(setup.verifier.verify(&token).await, Ok(Caller::User(setup.user())));
    }
    assert_eq!(setup.verifier.verified.len(), 1);
    let service = setup.key.sign(&Claims::of_service(Service::Orders, setup.clock.now()));
    assert_eq!(
        setup.verifier.verify(&service).await,
        Ok(Caller::Service(Service::Orders))
    );
    assert_eq!(setup.source.fetches(), 1);
}

#[tokio::test]
async fn a_token_ends_even_if_it_was_verified_before() {
    let setup = setup();
    let token = setup.key.sign(&setup.claims());
    setup.verifier.verify(&token).await.unwrap();
    setup.clock.jump(SignedDuration::from_secs(TOKEN_LIFETIME_SECONDS + 4));
    setup.verifier.verify(&token).await.unwrap();
    setup.clock.jump(SignedDuration::from_secs(1));
    assert_eq!(setup.verifier.verify(&token).await, Err(Refusal::Expired));
    assert_eq!(setup.verifier.verify(&token).await, Err(Refusal::Expired));
    assert_eq!(setup.verifier.verified.len(), 0);
}

#[tokio::test]
async fn an_algorithm_other_than_eddsa_is_refused() {
    let setup = setup();
    let kid = setup.key.kid();
    let signature = setup.key.sign(&setup.claims());
    let signature = signature.rsplit('.').next().unwrap();
    for alg in ["none", "None", "HS256", "ES256", "RS256", "eddsa", ""] {
        let header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        setup.assert_invalid(&setup.assemble(&header, ""), alg).await;
        setup.assert_invalid(&setup.assemble(&header, signature), alg).await;
    }
    // The public key as the secret of an HMAC: raw, and as the text that the key set has.
    let x = serde_json::to_value(setup.key.jwk()).unwrap()["x"]
        .as_str()
        .unwrap()
        .to_owned();
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    for secret in [URL_SAFE_NO_PAD.decode(&x).unwrap(), x.into_bytes()] {
        let token = jsonwebtoken::encode(&header, &setup.claims(), &EncodingKey::from_secret(&secret)).unwrap();
        setup.assert_invalid(&token, "HS256 under the public key").await;
    }
}

#[tokio::test]
async fn a_token_of_another_key_is_refused_whatever_its_header_says() {
    let setup = setup();
    let other = SigningKey::from_seed([2; 32]);
    setup
        .assert_invalid(&other.sign(&setup.claims()), "an unknown kid")
        .await;
    let stolen = other.sign(&setup.claims());
    let (_, rest) = stolen.split_once('.').unwrap();
    let good = setup.key.sign(&setup.claims());
    let (header, _) = good.split_once('.').unwrap();
    setup.assert_invalid(&format!("{header}.{rest}"), "our kid").await;
    let x = serde_json::to_value(other.jwk()).unwrap();
    let header = json!({"alg": "EdDSA", "kid": setup.key.kid(), "jwk": x, "jku": "https://evil.example/keys"});
    let message = setup.assemble(&header, "");
    let message = message.trim_end_matches('.');
    let pair = Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    setup
        .assert_invalid(&format!("{message}.{signature}"), "a key in the header")
        .await;
}

#[tokio::test]
async fn a_changed_or_broken_token_is_refused() {
    let setup = setup();
    let token = setup.key.sign(&setup.claims());
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let admin = serde_json::to_vec(&Claims {
        role: Role::Admin,
        ..setup.claims()
    })
    .unwrap();
    for (what, token) in [
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("no signature", format!("{header}.{claims}")),
        ("an empty signature", format!("{header}.{claims}.")),
        ("a part too many", format!("{token}.{signature}")),
        (
            "other claims",
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(admin)),
        ),
        ("padding", format!("{token}=")),
        ("a byte too many", format!("{token}AA")),
        ("too long", format!("{header}.{claims}.{}", "A".repeat(TOKEN_BYTES_MAX))),
    ] {
        setup.assert_invalid(&token, what).await;
    }
    assert_eq!(setup.verifier.verified.len(), 0);
}

#[tokio::test]
async fn every_claim_is_required_and_has_its_type() {
    let setup = setup();
    for claim in ["iss", "aud", "exp", "iat", "sub", "sid", "role"] {
        let without = setup.forged(|claims| drop(claims.as_object_mut().unwrap().remove(claim)));
        setup.assert_invalid(&without, claim).await;
        let null = setup.forged(|claims| claims[claim] = Value::Null);
        setup.assert_invalid(&null, claim).await;
    }
    let later = setup.clock.now().as_second() + 600;
    for (claim, value) in [
        ("exp", json!(later.to_string())),
        ("exp", json!("never")),
        ("exp", json!(later as f64 + 0.5)),
        ("exp", json!([later])),
        ("exp", json!(1e300)),
        ("exp", json!(i64::MIN)),
        ("iat", json!("0")),
        ("nbf", json!("0")),
        ("nbf", json!(later)),
        ("iat", json!(later)),
        ("iss", json!("tradewinds")),
        ("iss", json!(["tradewind", "other"])),
        ("aud", json!("other")),
        ("aud", json!(["tradewind-api"])),
        ("sub", json!("ord_01h455vb4pex5vsknk084sn02q")),
        ("sub", json!("service:orders")),
        ("sid", json!("7")),
        ("role", json!("root")),
        ("role", json!("service")),
        ("role", json!(["admin"])),
    ] {
        let token = setup.forged(|claims| claims[claim] = value.clone());
        setup.assert_invalid(&token, &format!("{claim}: {value}")).await;
    }
    let expired = setup.forged(|claims| claims["exp"] = json!(later - 605));
    assert_eq!(setup.verifier.verify(&expired).await, Err(Refusal::Expired));
    let kid = Some(setup.key.kid().to_owned());
    let critical = Header {
        crit: Some(vec!["b64".to_owned()]),
        kid,
        ..Header::new(Algorithm::EdDSA)
    };
    setup
        .assert_invalid(&setup.signed(&critical, &json!(setup.claims())), "crit")
        .await;
    setup
        .assert_invalid(
            &setup.signed(&Header::new(Algorithm::EdDSA), &json!(setup.claims())),
            "no kid",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_makes_it_fetch_at_most_every_ten_seconds() {
    let setup = setup();
    setup.verifier.verify(&setup.key.sign(&setup.claims())).await.unwrap();
    let next = SigningKey::from_seed([2; 32]);
    for seed in 3..100 {
        setup
            .assert_invalid(&SigningKey::from_seed([seed; 32]).sign(&setup.claims()), "unknown")
            .await;
    }
    assert_eq!(setup.source.fetches(), 1);
    setup.source.publish(&[&setup.key, &next]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    setup.verifier.verify(&next.sign(&setup.claims())).await.unwrap();
    assert_eq!(setup.source.fetches(), 2);
    setup.verifier.verify(&setup.key.sign(&setup.claims())).await.unwrap();
    assert_eq!(setup.source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_never_fetched_are_no_reason_to_call_a_token_bad() {
    let setup = setup();
    setup.source.down.store(true, Ordering::Relaxed);
    let token = setup.key.sign(&setup.claims());
    for _ in 0..10 {
        assert_eq!(setup.verifier.verify(&token).await, Err(Refusal::KeysUnavailable));
    }
    assert_eq!(setup.source.fetches(), 1);
    setup.source.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    setup.verifier.verify(&token).await.unwrap();
    // A new kid while the source is down may be a good one, too.
    setup.source.down.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let unknown = SigningKey::from_seed([2; 32]).sign(&setup.claims());
    assert_eq!(setup.verifier.verify(&unknown).await, Err(Refusal::KeysUnavailable));
    setup.verifier.verify(&setup.key.sign(&setup.claims())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up_on() {
    let setup = setup();
    setup.source.hangs.store(true, Ordering::Relaxed);
    let token = setup.key.sign(&setup.claims());
    assert_eq!(setup.verifier.verify(&token).await, Err(Refusal::KeysUnavailable));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_ends_within_minutes() {
    let setup = setup();
    setup.verifier.verify(&setup.key.sign(&setup.claims())).await.unwrap();
    let next = SigningKey::from_seed([2; 32]);
    setup.source.publish(&[&next]);
    tokio::time::sleep(Duration::from_secs(299)).await;
    setup.verifier.verify(&setup.key.sign(&setup.claims())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    setup
        .assert_invalid(&setup.key.sign(&setup.claims()), "withdrawn")
        .await;
    // A source that is down leaves the keys that there are.
    setup.source.down.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(600)).await;
    setup.verifier.verify(&next.sign(&setup.claims())).await.unwrap();
}

#[tokio::test]
async fn the_tokens_of_an_erased_user_are_refused_until_the_last_has_ended() {
    let setup = setup();
    let token = setup.key.sign(&setup.claims());
    setup.verifier.verify(&token).await.unwrap();
    let until = setup.clock.now() + SignedDuration::from_mins(16);
    setup.verifier.refuse_user(setup.user().id, until);
    assert_eq!(setup.verifier.verify(&token).await, Err(Refusal::Erased));
    let fresh = setup.key.sign(&Claims {
        jti: Some("2".to_owned()),
        ..setup.claims()
    });
    assert_eq!(setup.verifier.verify(&fresh).await, Err(Refusal::Erased));
    setup.clock.jump(SignedDuration::from_mins(17));
    let other = UserId::from_uuid(Uuid::from_u128(9));
    setup
        .verifier
        .refuse_user(other, setup.clock.now() + SignedDuration::from_mins(16));
    setup.verifier.refuse_user(setup.user().id, until);
    assert_eq!(
        setup.verifier.refused.read().unwrap().keys().collect::<Vec<_>>(),
        [&other]
    );
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_token_names_whom_it_was_made_for_and_no_other_text_is_a_token(
        (number, session) in any::<(u128, u128)>(),
        role in prop::sample::select(vec![Role::Customer, Role::Admin]),
        (place, other) in any::<(prop::sample::Index, u8)>(),
    ) {
        let Setup { verifier, key, clock, .. } = setup();
        let user = User {
            id: UserId::from_uuid(Uuid::from_u128(number)),
            role,
            session: SessionId::from_uuid(Uuid::from_u128(session)),
        };
        let token = key.sign(&Claims::of_user(user, clock.now()));
        let runtime = runtime();
        let verify = |token: &str| runtime.block_on(verifier.verify(token));
        prop_assert_eq!(verify(&token), Ok(Caller::User(user)));

        let mut changed = token.clone().into_bytes();
        *place.get_mut(&mut changed) = other;
        if let Ok(changed) = String::from_utf8(changed)
            && changed != token
        {
            prop_assert!(verify(&changed).is_err(), "{changed} is as good as {token}");
        }
        let cut = &token[..place.index(token.len())];
        prop_assert!(verify(cut).is_err());
    }

    #[test]
    fn what_nobody_signed_is_refused(token in "[A-Za-z0-9_.=-]{0,60}|\\PC{0,30}") {
        let Setup { verifier, .. } = setup();
        let refused = runtime().block_on(verifier.verify(&token));
        prop_assert!(matches!(refused, Err(Refusal::Invalid(_))), "{token}: {refused:?}");
    }
}
