//! JSON that others put in and get back: metadata, attributes, the data of custom events.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is wrong with a piece of JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More bytes than allowed.
    #[error("must be at most {max_bytes} bytes of JSON")]
    TooLarge {
        /// The most bytes, without white space.
        max_bytes: usize,
    },
    /// U+0000 in a key or a string.
    #[error("must not contain the character U+0000; leave it out")]
    Nul,
}

/// A JSON object of up to `MAX` bytes, without U+0000. Its keys are kept in order of their bytes.
///
/// `Debug` shows only its size, since anybody may have put anything in.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct JsonObject<const MAX: usize>(Map<String, Value>);

/// What a shop keeps with an order: up to 16 KiB. A record, never in an event.
pub type Metadata = JsonObject<16_384>;
/// What a product is like (colour, size): up to 16 KiB.
pub type Attributes = JsonObject<16_384>;

impl<const MAX: usize> JsonObject<MAX> {
    /// The members.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// True if there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const MAX: usize> TryFrom<Map<String, Value>> for JsonObject<MAX> {
    type Error = Error;

    fn try_from(map: Map<String, Value>) -> Result<Self, Error> {
        if map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) {
            return Err(Error::Nul);
        }
        // A map of values always serialises; if it ever did not, it would not fit either.
        match serde_json::to_vec(&map) {
            Ok(bytes) if bytes.len() <= MAX => Ok(Self(map)),
            _ => Err(Error::TooLarge { max_bytes: MAX }),
        }
    }
}

impl<const MAX: usize> From<JsonObject<MAX>> for Map<String, Value> {
    fn from(object: JsonObject<MAX>) -> Self {
        object.0
    }
}

impl<const MAX: usize> fmt::Debug for JsonObject<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonObject({} members)", self.0.len())
    }
}

/// True if any key or string in the value holds U+0000, which PostgreSQL cannot store.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_within_its_bounds_comes_back_as_it_was() {
        let json = r#"{"gift":true,"note":"a\\u0000b","nested":{"list":[1,2.5,null]}}"#;
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::to_value(&metadata).unwrap(),
            serde_json::from_str::<Value>(json).unwrap()
        );
        assert_eq!(format!("{metadata:?}"), "JsonObject(3 members)");
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        for wrong in [
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"{"a":[{"b":"x\u0000"}]}"#,
            "[]",
            "null",
            "7",
        ] {
            assert!(serde_json::from_str::<Metadata>(wrong).is_err(), "{wrong}");
        }
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(16_384));
        let error = serde_json::from_str::<Metadata>(&large).unwrap_err().to_string();
        assert!(error.starts_with("must be at most 16384 bytes"), "{error}");
    }
}
