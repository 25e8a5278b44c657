//! Tokens that are not good, made with all that an attacker, or even the shop itself, could have.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use testkit::books::Books as _;

use crate::books::Books;
use crate::support::{Actor, Shop, shop};

const HOUR: i64 = 3600;

/// The shop's own signing key, out of its store.
fn signing_key(shop: &Shop) -> Ed25519KeyPair {
    let records = Books::of(shop.server).collection("users", "signing_keys");
    let record = records.values().next().unwrap();
    let seed = URL_SAFE_NO_PAD
        .decode(record["keys"][0]["seed"].as_str().unwrap())
        .unwrap();
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

/// A good token's header and claims.
struct Good {
    token: String,
    header: Value,
    claims: Value,
    key: Ed25519KeyPair,
}

impl Good {
    fn of(shop: &Shop, actor: &Actor) -> Self {
        let token = actor.token.clone().unwrap();
        let part = |index: usize| {
            let part = token.split('.').nth(index).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        Self {
            header: part(0),
            claims: part(1),
            key: signing_key(shop),
            token: token.clone(),
        }
    }

    fn unsigned(header: &Value, claims: &Value) -> String {
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        )
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = Self::unsigned(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }

    /// Signed with the shop's own key, with some claims changed; null takes one away.
    fn claiming(&self, changed: Value) -> String {
        self.signed(&self.header, &changed_in(&self.claims, changed))
    }

    /// The same with another header.
    fn headed(&self, changed: Value) -> String {
        self.signed(&changed_in(&self.header, changed), &self.claims)
    }
}

fn changed_in(object: &Value, changed: Value) -> Value {
    let mut object = object.clone();
    for (name, value) in changed.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            value => object[name] = value.clone(),
        }
    }
    object
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused() {
    let shop = shop().await;
    let good = Good::of(&shop, &shop.admin);
    let now = good.claims["iat"].as_i64().unwrap();
    let with = |token: &str| shop.anonymous.with_token(token);
    // What the test makes is what the shop makes, if nothing is wrong with it.
    with(&good.claiming(json!({"jti": "test"})))
        .get("/api/users")
        .await
        .expect(200);

    let other_key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let by_other_key = Good {
        key: other_key,
        token: String::new(),
        header: good.header.clone(),
        claims: good.claims.clone(),
    };
    let public = good.key.public_key().as_ref();
    let der = [
        &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..],
        public,
    ]
    .concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(&der)
    );
    let keyed_by_public = |secret: &[u8], algorithm: hmac::Algorithm, name: &str| {
        let text = Good::unsigned(&changed_in(&good.header, json!({"alg": name})), &good.claims);
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let encoded = URL_SAFE_NO_PAD.encode(public);
    let unsigned = |alg: &str| {
        let text = Good::unsigned(&changed_in(&good.header, json!({"alg": alg})), &good.claims);
        [
            format!("{text}."),
            text.clone(),
            format!("{text}.{}", good.token.rsplit('.').next().unwrap()),
        ]
    };
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(by_other_key.key.public_key())});
    let mut parts: Vec<&str> = good.token.split('.').collect();
    let promoted =
        URL_SAFE_NO_PAD.encode(changed_in(&good.claims, json!({"sub": "usr_01h455vb4pex5vsknk084sn02q"})).to_string());
    parts[1] = &promoted;
    let tampered = parts.join(".");

    let mut bad = vec![
        (
            "another key under the same name",
            by_other_key.signed(&good.header, &good.claims),
        ),
        ("a key that nobody knows", good.headed(json!({"kid": "nobody"}))),
        ("no key named", good.headed(json!({"kid": null}))),
        (
            "a key of its own",
            by_other_key.signed(&changed_in(&good.header, json!({"jwk": jwk})), &good.claims),
        ),
        ("a critical header", good.headed(json!({"crit": ["exp"]}))),
        ("another algorithm named", good.headed(json!({"alg": "ES256"}))),
        ("RS256", good.headed(json!({"alg": "RS256"}))),
        (
            "HS256 with the public key",
            keyed_by_public(public, hmac::HMAC_SHA256, "HS256"),
        ),
        (
            "HS256 with it as text",
            keyed_by_public(encoded.as_bytes(), hmac::HMAC_SHA256, "HS256"),
        ),
        (
            "HS256 with it as DER",
            keyed_by_public(&der, hmac::HMAC_SHA256, "HS256"),
        ),
        (
            "HS256 with it as PEM",
            keyed_by_public(pem.as_bytes(), hmac::HMAC_SHA256, "HS256"),
        ),
        (
            "HS512 with the public key",
            keyed_by_public(public, hmac::HMAC_SHA512, "HS512"),
        ),
        ("HS256 with nothing", keyed_by_public(b"", hmac::HMAC_SHA256, "HS256")),
        ("claims that were changed", tampered),
        ("exp as a text", good.claiming(json!({"exp": (now + HOUR).to_string()}))),
        ("exp with a fraction", good.claiming(json!({"exp": 1e300}))),
        ("exp as a list", good.claiming(json!({"exp": [now + HOUR]}))),
        ("no exp", good.claiming(json!({"exp": null}))),
        ("no iat", good.claiming(json!({"iat": null}))),
        ("nbf as a text", good.claiming(json!({"nbf": "0"}))),
        ("not yet good", good.claiming(json!({"nbf": now + HOUR}))),
        (
            "made in the future",
            good.claiming(json!({"iat": now + HOUR, "exp": now + 2 * HOUR})),
        ),
        ("for somebody else", good.claiming(json!({"aud": "another"}))),
        ("for nobody", good.claiming(json!({"aud": null}))),
        (
            "from somebody else",
            good.claiming(json!({"iss": "https://example.com"})),
        ),
        ("of nobody", good.claiming(json!({"sub": "x"}))),
        ("of no session", good.claiming(json!({"sid": null}))),
        ("of no role", good.claiming(json!({"role": null}))),
        ("of another role", good.claiming(json!({"role": "root"}))),
        ("a person as a service", good.claiming(json!({"role": "service"}))),
        ("cut off", good.token[..good.token.len() - 2].to_owned()),
        ("too long", format!("{}.x", good.token)),
        ("two parts", good.token.rsplit_once('.').unwrap().0.to_owned()),
        ("no token at all", "x".to_owned()),
        ("dots", "..".to_owned()),
    ];
    bad.extend(
        ["none", "None", "NONE", "nOnE", ""]
            .iter()
            .flat_map(|alg| unsigned(alg))
            .map(|token| ("alg none", token)),
    );
    for (name, token) in bad {
        for path in ["/api/users", "/api/orders", "/api/products", "/api/events/stream"] {
            let answer = with(&token).get(path).await;
            assert_eq!(answer.status, 401, "{name}: {answer}");
            let answer = answer.refused(401, "unauthorized");
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer error=\"invalid_token\"",
                "{name}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_ends() {
    let shop = shop().await;
    let customer = shop.customer().await;
    let good = Good::of(&shop, &customer);
    let now = good.claims["iat"].as_i64().unwrap();
    for (iat, exp) in [(now - HOUR, now - HOUR / 2), (now - 2000, now - 60), (0, 1)] {
        let token = good.claiming(json!({"iat": iat, "exp": exp}));
        shop.anonymous
            .with_token(&token)
            .get("/api/users/me")
            .await
            .refused(401, "token-expired");
    }
}

#[tokio::test]
async fn a_token_comes_in_its_header_and_nowhere_else() {
    let shop = shop().await;
    let token = shop.admin.token.clone().unwrap();
    for path in ["/api/users?access_token=", "/api/users?token="] {
        shop.anonymous
            .get(&format!("{path}{token}"))
            .await
            .refused(401, "unauthorized");
    }
    shop.anonymous
        .get("/api/users")
        .header("cookie", &format!("token={token}"))
        .await
        .refused(401, "unauthorized");
    shop.anonymous
        .get("/api/users")
        .header("x-access-token", &token)
        .await
        .refused(401, "unauthorized");
    for value in [
        token.clone(),
        format!("Basic {token}"),
        format!("Token {token}"),
        "Bearer".to_owned(),
    ] {
        shop.anonymous
            .get("/api/users")
            .header("authorization", &value)
            .await
            .refused(401, "unauthorized");
    }
    shop.anonymous
        .get("/api/users")
        .header("authorization", &format!("bearer {token}"))
        .await
        .expect(200);
    let nobody = shop.anonymous.get("/api/users").await.refused(401, "unauthorized");
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn headers_that_speak_of_a_caller_are_not_believed() {
    let shop = shop().await;
    for (name, value) in [
        ("x-user-id", shop.admin.id.as_str()),
        ("x-role", "admin"),
        ("x-caller", "service:orders"),
        ("x-forwarded-user", shop.admin.id.as_str()),
        ("x-original-url", "/api/users"),
        ("x-http-method-override", "DELETE"),
    ] {
        shop.anonymous
            .get("/api/users")
            .header(name, value)
            .await
            .refused(401, "unauthorized");
    }
}
