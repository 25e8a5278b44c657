//! Requests that change something: what they ask for, on whose behalf, and under which claim.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::bodies::Held;
use super::claim::KeyedRequest;
use super::failure::Failure;
use super::json;
use super::scope::{Scope, Shared};
use crate::context::Context;

/// A write with a JSON body, refused as [`Json`](super::Json) is, and the context for the writer: actor, request id,
/// trace, and the claim on its `Idempotency-Key` (422 if that has not 1 to 255 characters).
///
/// A caller without a token has no claim until the handler says whose it is: [`Write::claim_by_email`].
#[derive(Clone, Debug)]
pub struct Write<T> {
    /// The body.
    pub body: T,
    /// For the writer.
    pub context: Context,
    unclaimed: Unclaimed,
}

/// A write whose JSON body may be left out; else as [`Write`].
#[derive(Clone, Debug)]
pub struct Command<T = Empty> {
    /// The body, unless it is empty.
    pub body: Option<T>,
    /// For the writer.
    pub context: Context,
}

/// `{}`: the body of a [`Command`] that has nothing to say.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// The context of a request that repeats without harm, or that only reads. It has no claim.
#[derive(Clone, Debug)]
pub struct Origin(pub Context);

/// A key that nobody is known to have sent.
#[derive(Clone, Debug)]
struct Unclaimed {
    keyed: Option<KeyedRequest>,
    shared: Arc<Shared>,
}

impl<T> Write<T> {
    /// Claims the `Idempotency-Key` for whoever signs up with this e-mail (in its canonical form). Does nothing if the
    /// request has no key, or has a caller.
    pub fn claim_by_email(&mut self, email: &str) {
        if let Some(keyed) = self.unclaimed.keyed.take() {
            let sealer = &self.unclaimed.shared.sealer;
            self.context.claim = Some(sealer.claim(sealer.principal_of_email(email), &keyed));
        }
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Write<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        json::check_content_type(request.headers())?;
        let (parts, body) = take(request).await?;
        let (context, unclaimed) = claim(&parts, &body)?;
        Ok(Self {
            body: json::decode(&body.bytes)?,
            context,
            unclaimed,
        })
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Command<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = take(request).await?;
        let (context, _) = claim(&parts, &body)?;
        if body.bytes.is_empty() {
            return Ok(Self { body: None, context });
        }
        json::check_content_type(&parts.headers)?;
        Ok(Self {
            body: Some(json::decode(&body.bytes)?),
            context,
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Scope::of(parts)?.context()))
    }
}

async fn take(request: Request) -> Result<(Parts, Held), Failure> {
    let (parts, body) = request.into_parts();
    let held = Scope::of(&parts)?.shared.bodies.read(body).await?;
    Ok((parts, held))
}

fn claim(parts: &Parts, body: &Held) -> Result<(Context, Unclaimed), Failure> {
    let scope = Scope::of(parts)?;
    let path = parts
        .extensions
        .get::<OriginalUri>()
        .map_or(parts.uri.path(), |uri| uri.path());
    let sealer = &scope.shared.sealer;
    let mut keyed = sealer.keyed(&parts.method, path, &parts.headers, &body.bytes)?;
    let mut context = scope.context();
    context.room.clone_from(&body.room);
    if scope.caller.is_some() {
        context.claim = keyed
            .take()
            .map(|keyed| sealer.claim(Arc::clone(&context.actor), &keyed));
    }
    Ok((
        context,
        Unclaimed {
            keyed,
            shared: Arc::clone(&scope.shared),
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use axum::Router;
    use axum::routing::{delete, post};
    use contracts::{Code, Problem, Role};

    use super::*;
    use crate::auth::Caller;
    use crate::context::Claim;
    use crate::http::fixture::{Answer, App, app, user};
    use crate::http::{BODIES_BYTES_MAX, BODY_BYTES_MAX, Json, principal_of_email};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        email: Option<String>,
    }

    fn shown(context: &Context) -> String {
        let claim = context.claim.as_ref();
        let claim = claim.map(
            |Claim {
                 id,
                 principal,
                 fingerprint,
             }| format!("{principal} {id} {fingerprint}"),
        );
        format!(
            "{} {} {:?} {:?}",
            context.actor, context.correlation, context.trace, claim
        )
    }

    fn routes() -> App {
        let write = async |mut write: Write<Body>| {
            if let Some(email) = &write.body.email {
                let email = email.clone();
                write.claim_by_email(&email);
            }
            shown(&write.context)
        };
        let command = async |command: Command<Body>| format!("{} {:?}", shown(&command.context), command.body);
        app(Router::new()
            .route("/write", post(write).put(write))
            .route("/other", post(write))
            .route("/cancel", post(command))
            .route("/plain", delete(async |command: Command| shown(&command.context)))
            .route("/origin", post(async |Origin(context)| shown(&context))))
    }

    /// Principal, id and fingerprint.
    fn claim(answer: &Answer) -> Option<[String; 3]> {
        let claim = answer
            .body
            .split_once("Some(\"")
            .and_then(|(_, rest)| rest.split_once("Some(\""))?
            .1;
        let mut parts = claim.split('"').next()?.split(' ').map(str::to_owned);
        Some([parts.next()?, parts.next()?, parts.next()?])
    }

    #[tokio::test]
    async fn a_write_carries_who_and_why() {
        let app = routes();
        let token = app.customer();
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = [
            ("authorization", &*token),
            ("x-request-id", "req-1"),
            ("traceparent", trace),
        ];
        let answer = app.post("/write", &headers, "{}").await;
        insta::assert_snapshot!(answer.body, @r#"usr_00000000000000000000000001 req-1 Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") None"#);
        let anonymous = app
            .post("/origin", &[("x-request-id", "req-2"), ("idempotency-key", "k")], "")
            .await;
        assert!(
            anonymous.body.starts_with("anonymous req-2 Some(\"00-"),
            "{}",
            anonymous.body
        );
        assert_eq!(claim(&anonymous), None);
    }

    #[tokio::test]
    async fn a_claim_is_stable_and_differs_by_principal_method_and_path() {
        let app = routes();
        let [ada, bob] = [1, 2].map(|number| app.bearer(Caller::User(user(number, Role::Customer))));
        let send = async |method, path, token: &str, key, body| {
            let headers = [("authorization", token), ("idempotency-key", key)];
            claim(&app.request(method, path, &headers, body).await).unwrap()
        };
        let [principal, id, fingerprint] = send("POST", "/write", &ada, "k", "{}").await;
        assert_eq!(principal, user(1, Role::Customer).id.to_string());
        assert_eq!(send("POST", "/write?x=1", &ada, "k", "{}").await[1], id);
        for other in [
            send("POST", "/write", &bob, "k", "{}").await,
            send("PUT", "/write", &ada, "k", "{}").await,
            send("POST", "/other", &ada, "k", "{}").await,
            send("POST", "/write", &ada, "l", "{}").await,
        ] {
            assert_ne!(other[1], id);
            assert_eq!(other[2], fingerprint);
        }
        let other_body = send("POST", "/write", &ada, "k", "{ }").await;
        assert_eq!(other_body[1], id);
        assert_ne!(other_body[2], fingerprint);
    }

    #[tokio::test]
    async fn a_sign_up_is_claimed_by_its_email() {
        let app = routes();
        let key = [("idempotency-key", "k")];
        assert_eq!(claim(&app.post("/write", &key, "{}").await), None);
        let signed_up = claim(&app.post("/write", &key, r#"{"email":"ada@example.com"}"#).await).unwrap();
        assert_eq!(signed_up[0], *principal_of_email(&[7; 32], "ada@example.com"));
        let other = claim(&app.post("/write", &key, r#"{"email":"bob@example.com"}"#).await).unwrap();
        assert_ne!(other[1], signed_up[1]);
        // Who has a token claims by it, whatever the body says.
        let token = app.customer();
        let headers = [("authorization", &*token), key[0]];
        let signed_in = claim(&app.post("/write", &headers, r#"{"email":"ada@example.com"}"#).await).unwrap();
        assert_eq!(signed_in[0], user(1, Role::Customer).id.to_string());
    }

    #[tokio::test]
    async fn a_key_that_is_none_is_refused() {
        let app = routes();
        let token = app.customer();
        let long = "ü".repeat(255);
        assert_eq!(
            app.post("/write", &[("idempotency-key", &long)], "{}").await.status,
            200
        );
        let too_long = "x".repeat(256);
        for wrong in [
            &[("idempotency-key", "")][..],
            &[("idempotency-key", &too_long)],
            &[("idempotency-key", "k"); 2],
        ] {
            let headers = [&[("authorization", &*token)], wrong].concat();
            let problem: Problem = serde_json::from_str(&app.post("/write", &headers, "{}").await.body).unwrap();
            assert_eq!(
                (problem.code, &*problem.errors[0].field),
                (Code::Invalid, "Idempotency-Key")
            );
        }
    }

    #[tokio::test]
    async fn a_command_needs_no_body_but_takes_only_its_own() {
        let app = routes();
        assert!(app.post("/cancel", &[], "").await.body.ends_with(" None"));
        assert!(
            app.post("/cancel", &[], "{}")
                .await
                .body
                .ends_with(" Some(Body { email: None })")
        );
        assert_eq!(app.post("/cancel", &[], "{\"x\":1}").await.status, 422);
        assert_eq!(app.post("/cancel", &[], "{").await.status, 400);
        assert_eq!(
            app.post("/cancel", &[("content-type", "text/plain")], "").await.status,
            200
        );
        assert_eq!(app.request("DELETE", "/plain", &[], "").await.status, 200);
        assert_eq!(app.request("DELETE", "/plain", &[], "{}").await.status, 200);
        assert_eq!(app.request("DELETE", "/plain", &[], r#"{"x":1}"#).await.status, 422);
        assert_eq!(app.post("/write", &[], "").await.status, 415);
    }

    #[tokio::test]
    async fn bodies_of_commands_that_wait_have_so_much_room_and_no_more() {
        let waiting: Arc<Mutex<Vec<Context>>> = Arc::default();
        let wait = Arc::clone(&waiting);
        let app = app(Router::new()
            .route(
                "/waits",
                post(async move |write: Write<HashMap<String, String>>| wait.lock().unwrap().push(write.context)),
            )
            .route("/read", post(async |Json(_): Json<HashMap<String, String>>| ())));
        let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(BODY_BYTES_MAX - 8));
        for _ in 0..BODIES_BYTES_MAX / BODY_BYTES_MAX {
            assert_eq!(app.post("/read", &[], &large).await.status, 200);
            assert_eq!(app.post("/waits", &[], &large).await.status, 200);
        }
        for path in ["/waits", "/read"] {
            let refused = app.post(path, &[], &large).await;
            assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
            assert!(refused.body.contains("overloaded"), "{}", refused.body);
        }
        waiting.lock().unwrap().pop();
        assert_eq!(app.post("/waits", &[], &large).await.status, 200);
        assert_eq!(app.post("/waits", &[], &large).await.status, 503);
        waiting.lock().unwrap().clear();
        assert_eq!(app.post("/waits", &[], &large).await.status, 200);
    }
}
