//! What tells shops on one server apart.

use std::fmt;
use std::str::FromStr;

use crate::failure::AccessError;

/// A word that the names of all keys of a shop begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// What is used unless the URL says otherwise.
    pub const DEFAULT: &str = "TRADEWIND";

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = AccessError;

    fn from_str(word: &str) -> Result<Self, AccessError> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        match !word.is_empty() && word.bytes().all(is_part) {
            true => Ok(Self(word.to_owned())),
            false => Err(AccessError::Prefix(word.to_owned())),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
