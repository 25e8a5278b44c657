//! JSON in and out.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use contracts::{Code, Problem};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::failure::{Failure, field_path, internal, invalid};
use super::scope::Scope;

/// A JSON body, in a request or in an answer.
///
/// A request is refused as 415 if it is not declared as JSON, 413 if it is too large, 400 `malformed-json` if it is none
/// (or is empty), and 422 with the path of the field if it is not such a `T` or a string in it holds U+0000. Unknown
/// fields are refused by `T`'s own `#[serde(deny_unknown_fields)]`.
///
/// Bodies that change something are better taken by [`Write`], which brings the request's context along.
///
/// [`Write`]: super::Write
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        check_content_type(request.headers())?;
        let (parts, body) = request.into_parts();
        let held = Scope::of(&parts)?.shared.bodies.read(body).await?;
        decode(&held.bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        encode(&self.0)
    }
}

/// The body as bytes, of any content type: for signed webhooks. 413 if too large.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let held = Scope::of(&parts)?.shared.bodies.read(body).await?;
        Ok(Self(held.bytes))
    }
}

/// 415 unless the body is declared as `application/json` or `application/…+json`, and in no charset but UTF-8, which is
/// JSON's own (RFC 8259, section 8.1).
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Problem::new(Code::UnsupportedMediaType)
            .detail("Send the body as it is, without a Content-Encoding.")
            .into());
    }
    let declared = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let subtype = match essence.split_once('/') {
        Some((kind, subtype)) if kind.eq_ignore_ascii_case("application") => subtype,
        _ => "",
    };
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    let charset = declared
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='));
    let mut charset = charset.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let is_utf8 = charset.all(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"));
    if is_utf8 && suffix.eq_ignore_ascii_case("json") {
        Ok(())
    } else {
        Err(Code::UnsupportedMediaType.into())
    }
}

/// The value in a body.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    if body.is_empty() {
        return Err(Problem::new(Code::MalformedJson)
            .detail("The body is empty; send JSON.")
            .into());
    }
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        // Serde would take a list of the fields' values for a struct.
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| refused("", &error))?;
        return Err(invalid("", "must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // What is no JSON at all is not to be mended field by field.
        match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => refused(&error.path().to_string(), error.inner()),
            Err(malformed) => refused("", &malformed),
        }
    })?;
    json.end().map_err(|error| refused("", &error))?;
    if body.contains(&b'\\') && has_nul_escape(body) {
        let value = serde_json::from_slice(body).unwrap_or_default();
        let path = nul_path(&value).unwrap_or_default();
        return Err(invalid(&path, "must not contain the character U+0000; leave it out"));
    }
    Ok(value)
}

fn refused(path: &str, error: &serde_json::Error) -> Failure {
    Problem::from_json(&field_path(path, &error.to_string()), error).into()
}

/// Whether a valid JSON text holds the escape `\u0000`, the only way in which it can hold that character.
fn has_nul_escape(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') && bytes.as_slice().starts_with(b"0000") {
            return true;
        }
    }
    false
}

/// Where the first string with U+0000 is.
fn nul_path(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(format!("[{index}]{}", tail(&nul_path(item)?)))),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            if key.contains('\0') {
                Some(String::new())
            } else {
                Some(format!("{key}{}", tail(&nul_path(item)?)))
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A path behind another one: `.name`, but `[0]` and nothing as they are.
fn tail(path: &str) -> String {
    if path.is_empty() || path.starts_with('[') {
        path.to_owned()
    } else {
        format!(".{path}")
    }
}

/// An answer with the value as its body.
pub(super) fn encode<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
        Err(error) => internal(format!("an answer does not serialise: {error}")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::http::fixture::{App, app};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only read")]
        name: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        lines: Vec<Line>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        more: serde_json::Value,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only read")]
        quantity: contracts::Quantity,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        email: Option<contracts::Email>,
    }

    fn echo() -> App {
        app(Router::new().route("/", post(async |Json(_): Json<Body>| "ok")))
    }

    async fn refusal(body: &str) -> String {
        let answer = echo().post("/", &[], body).await;
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{}",
            answer.body
        );
        let problem: Problem = serde_json::from_str(&answer.body).unwrap();
        let errors: Vec<_> = problem
            .errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect();
        format!("{} {} [{}]", answer.status, problem.code, errors.join("; "))
    }

    #[tokio::test]
    async fn a_problem_reads_so() {
        let answer = echo().post("/", &[], r#"{"name":"a","price":1}"#).await;
        assert_snapshot!(answer.shown(), @r#"422 {"type":"/docs/errors#invalid","title":"Invalid request","status":422,"detail":"Correct the fields named in `errors`.","instance":"/#ID","code":"invalid","errors":[{"field":"price","message":"unknown field `price`, expected one of `name`, `lines`, `more`"}]}"#);
    }

    #[tokio::test]
    async fn what_is_no_json_is_malformed() {
        assert_snapshot!(refusal("{").await, @"400 malformed-json []");
        assert_snapshot!(refusal("{\"name\":\"a\"} x").await, @"400 malformed-json []");
        assert_snapshot!(refusal("{} {}").await, @"400 malformed-json []");
        assert_snapshot!(refusal("{\"name\":1").await, @"400 malformed-json []");
        assert_snapshot!(refusal("{\"name\":\"a\u{0}\"}").await, @"400 malformed-json []");
        let empty = echo().post("/", &[("content-type", "application/json")], "").await;
        assert_snapshot!(empty.shown(), @r#"400 {"type":"/docs/errors#malformed-json","title":"Malformed JSON","status":400,"detail":"The body is empty; send JSON.","instance":"/#ID","code":"malformed-json"}"#);
    }

    #[tokio::test]
    async fn what_does_not_fit_names_its_field() {
        assert_snapshot!(refusal(" [").await, @"400 malformed-json []");
        assert_snapshot!(refusal(" [\"a\", [], null]").await, @"422 invalid [: must be a JSON object]");
        assert_snapshot!(refusal("{}").await, @"422 invalid [name: missing field `name`]");
        assert_snapshot!(refusal(r#"{"name":7}"#).await, @"422 invalid [name: invalid type: integer `7`, expected a string]");
        assert_snapshot!(refusal(r#"{"name":"a","name":"b"}"#).await, @"422 invalid [name: duplicate field `name`]");
        assert_snapshot!(refusal(r#"{"name":"a","role":"admin"}"#).await, @"422 invalid [role: unknown field `role`, expected one of `name`, `lines`, `more`]");
        assert_snapshot!(refusal(r#"{"name":"a","lines":[{"quantity":1},{}]}"#).await, @"422 invalid-quantity [lines[1].quantity: missing field `quantity`]");
        assert_snapshot!(refusal(r#"{"name":"a","lines":[{"quantity":0}]}"#).await, @"422 invalid-quantity [lines[0].quantity: must be a whole number from 1 to 1000000, without a decimal point]");
        assert_snapshot!(refusal(r#"{"name":"a","lines":[{"quantity":1,"email":"x"}]}"#).await, @"422 invalid [lines[0].email: must be an e-mail address such as ada@example.com]");
        assert_snapshot!(refusal(r#"{"name":"a","lines":[{"quantity":1,"price":1}]}"#).await, @"422 invalid [lines[0].price: unknown field `price`, expected `quantity` or `email`]");
    }

    #[tokio::test]
    async fn u0000_is_refused_wherever_it_is() {
        assert_snapshot!(refusal(r#"{"name":"a\u0000"}"#).await, @"422 invalid [name: must not contain the character U+0000; leave it out]");
        assert_snapshot!(refusal(r#"{"name":"a","more":[1,{"x":["\u0000"]}]}"#).await, @"422 invalid [more[1].x[0]: must not contain the character U+0000; leave it out]");
        assert_snapshot!(refusal(r#"{"name":"a","more":{"\u0000":1}}"#).await, @"422 invalid [more: must not contain the character U+0000; leave it out]");
        assert_snapshot!(refusal(r#"{"name":"a\\\u0000"}"#).await, @"422 invalid [name: must not contain the character U+0000; leave it out]");
        assert_eq!(echo().post("/", &[], r#"{"name":"a\\u0000"}"#).await.status, 200);
    }

    #[tokio::test]
    async fn only_json_is_taken_as_json() {
        for (content_type, status) in [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("application/merge-patch+json", 200),
            ("application/json; charset=\"UTF-8\"", 200),
            ("application/json; charset=utf-16", 415),
            ("application/json; x=y; Charset=latin1", 415),
            ("text/plain", 415),
            ("text/json", 415),
            ("application/jsonp", 415),
            ("application/x-www-form-urlencoded", 415),
            ("json", 415),
            ("", 415),
        ] {
            let request = http::Request::post("/").header(CONTENT_TYPE, content_type);
            let answer = echo().send(request.body(r#"{"name":"a"}"#.into()).unwrap()).await;
            assert_eq!(answer.status, status, "{content_type}");
        }
        let compressed = http::Request::post("/")
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip");
        let compressed = echo().send(compressed.body("\u{1f}".into()).unwrap()).await;
        assert_eq!(compressed.status, 415);
        assert!(compressed.body.contains("Content-Encoding"), "{}", compressed.body);
        let undeclared = http::Request::post("/").body(r#"{"name":"a"}"#.into()).unwrap();
        assert_snapshot!(echo().send(undeclared).await.shown(), @r#"415 {"type":"/docs/errors#unsupported-media-type","title":"Unsupported media type","status":415,"detail":"Send `Content-Type: application/json`.","instance":"/#ID","code":"unsupported-media-type"}"#);
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<Option<i64>>().prop_map(serde_json::Value::from),
            "(\\x00|\\\\|u0000|a){0,5}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a\0\\\\u]{0,3}", inner, 0..3)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_body_is_taken_as_it_is_unless_u0000_is_in_it(value in value()) {
            let body = serde_json::to_vec(&value).unwrap();
            let has_nul = contracts::json::has_nul(&value);
            prop_assert_eq!(has_nul_escape(&body), has_nul);
            prop_assert_eq!(nul_path(&value).is_some(), has_nul);
            let taken = decode::<serde_json::Value>(&body).ok();
            prop_assert_eq!(taken, Some(value).filter(|value| value.is_object() && !has_nul));
        }

        #[test]
        fn a_body_of_any_bytes_is_taken_or_refused_as_what_it_is(body in "[{}\\[\\]\",:0-9a-z\\\\ ]{0,20}") {
            let json = serde_json::from_str::<serde_json::Value>(&body).ok();
            match decode::<serde_json::Value>(body.as_bytes()) {
                Ok(taken) => prop_assert_eq!(Some(taken), json),
                Err(failure) => prop_assert_eq!(failure.problem().code == Code::MalformedJson, json.is_none()),
            }
        }
    }
}
