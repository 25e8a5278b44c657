//! Errors on the outside: RFC 9457 `application/problem+json`.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

mod code;

pub use code::Code;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error as a client sees it.
///
/// ```json
/// {"type": "/docs/errors#invalid", "title": "Invalid request", "status": 422, "detail": "…",
///  "instance": "/requests/…", "code": "invalid", "errors": [{"field": "lines[0].sku", "message": "…"}]}
/// ```
///
/// `type`, `title` and `status` follow from the code. `instance` and empty `errors` are left out; extension
/// members stand beside the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The stable word that programs look at.
    pub code: Code,
    /// One or two sentences for a person: what is wrong, and what to do. Nothing internal, nothing personal.
    pub detail: Cow<'static, str>,
    /// A URI reference to this occurrence, such as the request's id.
    pub instance: Option<Box<str>>,
    /// What is wrong field by field.
    pub errors: Vec<FieldError>,
    /// Extension members, such as `payment_id`. A name that RFC 9457 gives is not overridden.
    pub extensions: Map<String, Value>,
    /// When to come back: the `Retry-After` header. Not in the body.
    pub retry_after: Option<Duration>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The path of the field: `lines[0].quantity`. Empty for the body as a whole.
    pub field: String,
    /// What to do about it.
    pub message: String,
}

impl FieldError {
    /// An error of the field at this path.
    pub fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            field: field.into(),
            message: message.to_string(),
        }
    }
}

/// A problem whose detail is what the catalogue says to do about its code.
impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl Problem {
    /// A problem whose detail is what the catalogue says to do about its code.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.what_to_do()),
            instance: None,
            errors: Vec::new(),
            extensions: Map::new(),
            retry_after: code.retry_after(),
        }
    }

    /// 422 `invalid`, for one field.
    pub fn invalid(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::new(Code::Invalid).error(field, message)
    }

    /// What serde says about a request body: 400 `malformed-json` if it is no JSON, else 422 for the field at
    /// `path` (empty for the body as a whole). A wrong `quantity` is `invalid-quantity`, and a `product_id` that is
    /// no id is `unknown-product`, as the API says.
    pub fn from_json(path: &str, error: &serde_json::Error) -> Self {
        let message = error.to_string();
        // Where serde_json found it is of use only in a text that cannot be read.
        let message = match message.rfind(" at line ") {
            Some(end) if error.is_data() => &message[..end],
            _ => &message,
        };
        if !error.is_data() {
            return Self::new(Code::MalformedJson).detail(format!("The body is not valid JSON: {message}."));
        }
        let code = match path.rsplit('.').next() {
            Some("quantity") => Code::InvalidQuantity,
            Some("product_id") => Code::UnknownProduct,
            _ => Code::Invalid,
        };
        let path = if path == "." { "" } else { path };
        Self::new(code).error(path, message)
    }

    /// The same with another detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same for this occurrence.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<Box<str>>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// The same with one more wrong field.
    #[must_use]
    pub fn error(mut self, field: impl Into<String>, message: impl fmt::Display) -> Self {
        self.errors.push(FieldError::new(field, message));
        self
    }

    /// The same with an extension member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// The same with a `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The value of the `Retry-After` header, in whole seconds rounded up, and at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| {
            after
                .as_secs()
                .saturating_add(u64::from(after.subsec_nanos() > 0))
                .max(1)
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

/// The members that extensions do not override.
const MEMBERS: [&str; 7] = ["type", "title", "status", "detail", "instance", "code", "errors"];

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/docs/errors#{}", self.code))?;
        map.serialize_entry("title", self.code.title())?;
        map.serialize_entry("status", &self.code.status())?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(instance) = &self.instance {
            map.serialize_entry("instance", instance)?;
        }
        map.serialize_entry("code", &self.code)?;
        if !self.errors.is_empty() {
            map.serialize_entry("errors", &self.errors)?;
        }
        for (member, value) in &self.extensions {
            if !MEMBERS.contains(&member.as_str()) {
                map.serialize_entry(member, value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            code: Code,
            #[serde(default)]
            detail: String,
            instance: Option<Box<str>>,
            #[serde(default)]
            errors: Vec<FieldError>,
            #[serde(flatten)]
            extensions: Map<String, Value>,
        }

        let mut wire = Wire::deserialize(deserializer)?;
        wire.extensions.retain(|member, _| !MEMBERS.contains(&member.as_str()));
        Ok(Self {
            code: wire.code,
            detail: Cow::Owned(wire.detail),
            instance: wire.instance,
            errors: wire.errors,
            extensions: wire.extensions,
            retry_after: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::PlaceOrder;

    #[test]
    fn a_problem_reads_as_rfc_9457_says_and_comes_back() {
        let problem = Problem::new(Code::CardDeclined)
            .detail("The card was declined.")
            .instance("/requests/1")
            .error("payment_method", "use another card")
            .with("payment_id", "pay_1")
            .with("status", 200);
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            json,
            concat!(
                r##"{"type":"/docs/errors#card-declined","title":"Card declined","status":402,"##,
                r#""detail":"The card was declined.","instance":"/requests/1","code":"card-declined","#,
                r#""errors":[{"field":"payment_method","message":"use another card"}],"payment_id":"pay_1"}"#
            )
        );
        let read: Problem = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }

    #[test]
    fn the_retry_after_is_a_header_in_whole_seconds() {
        let problem = Problem::new(Code::Overloaded).retry_after(Duration::from_millis(1200));
        assert_eq!(problem.retry_after_seconds(), Some(2));
        assert!(!serde_json::to_string(&problem).unwrap().contains("retry"));
        assert_eq!(
            problem.clone().retry_after(Duration::ZERO).retry_after_seconds(),
            Some(1)
        );
        assert_eq!(Problem::new(Code::NotFound).retry_after_seconds(), None);
    }

    #[test]
    fn what_serde_says_becomes_a_problem() {
        let of =
            |path: &str, json: &str| Problem::from_json(path, &serde_json::from_str::<PlaceOrder>(json).unwrap_err());
        assert_eq!(of("", "{").code, Code::MalformedJson);
        let unknown = of(".", r#"{"lines":[],"price":1}"#);
        assert_eq!((unknown.code, unknown.errors.len()), (Code::Invalid, 1));
        let quantity = of("lines[0].quantity", r#"{"lines":[{"sku":"A","quantity":0}]}"#);
        assert_eq!(quantity.code, Code::InvalidQuantity);
        assert_eq!(quantity.errors[0].field, "lines[0].quantity");
        assert_eq!(
            quantity.errors[0].message,
            "must be a whole number from 1 to 1000000, without a decimal point"
        );
    }

    #[test]
    fn a_problem_is_small_enough_to_be_returned() {
        assert!(size_of::<Problem>() <= 128, "{}", size_of::<Problem>());
    }
}
