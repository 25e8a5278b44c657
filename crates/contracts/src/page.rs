//! Lists over HTTP: `?limit=` and `?cursor=` in, `{"data": [...], "next_cursor": ...}` out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::text::{Error, check_length, shown, text_newtype};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries, at most as many as the limit asked for.
    pub data: Vec<T>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<Cursor>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(convert).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// A page that holds nothing, and is the last.
impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            next_cursor: None,
        }
    }
}

/// A place in a list: an opaque text of up to 2,048 characters that are safe in a URL. Only its maker reads it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(String);

text_newtype!(Cursor, |text| {
    check_length(text, 1, 2048)?;
    let safe = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'));
    if safe {
        Ok(())
    } else {
        Err(Error::NotAWord { also: "- _ . ~" })
    }
});
shown!(Cursor);

/// How many entries a page has at most: 1 to 200, 50 unless asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Limit(u16);

impl Limit {
    /// The most: 200.
    pub const MAX: Self = Self(200);

    /// The number of entries.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

/// A limit outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 200")]
pub struct LimitError;

impl TryFrom<u64> for Limit {
    type Error = LimitError;

    fn try_from(limit: u64) -> Result<Self, LimitError> {
        match u16::try_from(limit) {
            Ok(limit @ 1..=200) => Ok(Self(limit)),
            _ => Err(LimitError),
        }
    }
}

/// A number in JSON, or its digits in a query string.
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 1 to 200")
            }

            fn visit_u64<E: de::Error>(self, limit: u64) -> Result<Limit, E> {
                limit.try_into().map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, limit: &str) -> Result<Limit, E> {
                let digits = limit.parse::<u64>().map_err(|_| E::custom(LimitError))?;
                self.visit_u64(digits)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_1_to_200() {
        assert_eq!(Limit::default().get(), 50);
        for good in ["1", "200", "\"7\""] {
            assert!(serde_json::from_str::<Limit>(good).is_ok(), "{good}");
        }
        for wrong in ["0", "201", "-1", "1.5", "\"x\"", "\"\"", "70000"] {
            assert!(serde_json::from_str::<Limit>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_page_has_a_null_cursor() {
        let page = Page {
            data: vec![1],
            next_cursor: None,
        }
        .map(|number| number + 1);
        assert_eq!(
            serde_json::to_string(&page).unwrap(),
            r#"{"data":[2],"next_cursor":null}"#
        );
    }

    #[test]
    fn a_cursor_is_safe_in_a_url() {
        assert!(Cursor::try_from("eyJpZCI6MX0-_").is_ok());
        for wrong in ["", "a b", "a/b", "a+b", "ü"] {
            assert!(Cursor::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
