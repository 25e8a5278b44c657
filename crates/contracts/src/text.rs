//! Texts that are valid by construction: bounded, without U+0000, and silent in `Debug` if a person wrote them.

use serde::{Deserialize, Serialize};

/// What is wrong with a text. Each message says what to do, and none repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer characters than asked for.
    #[error("must have at least {min} character(s)")]
    TooShort {
        /// The fewest characters.
        min: usize,
    },
    /// More characters than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most characters.
        max: usize,
    },
    /// Nothing but spaces.
    #[error("must hold something else than spaces")]
    Blank,
    /// U+0000, which PostgreSQL cannot store.
    #[error("must not contain the character U+0000; leave it out")]
    Nul,
    /// A line break, a tab or another control character where only printable ones make sense.
    #[error("must not contain control characters; leave them out")]
    ControlCharacter,
    /// A space at either end.
    #[error("must not begin or end with a space; leave it out")]
    OuterSpace,
    /// Not an e-mail address.
    #[error("must be an e-mail address such as ada@example.com")]
    NotAnEmail,
    /// Not a country code.
    #[error("must be an ISO 3166 country code of two letters, such as NL")]
    NotACountry,
    /// Not a web address.
    #[error("must be an http:// or https:// URL without spaces")]
    NotAUrl,
    /// Characters outside those that an identifier may have.
    #[error("may contain only letters, digits and the characters {also}")]
    NotAWord {
        /// The other characters that are allowed.
        also: &'static str,
    },
    /// A prefix is missing.
    #[error("must begin with `{prefix}`")]
    MissingPrefix {
        /// The prefix.
        prefix: &'static str,
    },
}

/// Checks that the text has `min` to `max` characters and no U+0000.
pub(crate) fn check_length(text: &str, min: usize, max: usize) -> Result<(), Error> {
    // No text has more characters than bytes, so a huge one is not counted.
    let length = if text.len() > max.saturating_mul(4) {
        usize::MAX
    } else {
        text.chars().count()
    };
    if length > max {
        return Err(Error::TooLong { max });
    }
    if length < min {
        return Err(Error::TooShort { min });
    }
    if text.contains('\0') {
        return Err(Error::Nul);
    }
    Ok(())
}

/// The trait implementations that every text newtype shares: one parser, reached by all of them. It may bring the text
/// into its form.
macro_rules! text_newtype {
    ($Name:ident $(<const $MAX:ident: usize>)?, $parse:expr) => {
        impl $(<const $MAX: usize>)? $Name $(<$MAX>)? {
            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text as it was given, without a copy.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl $(<const $MAX: usize>)? TryFrom<String> for $Name $(<$MAX>)? {
            type Error = $crate::text::Error;

            fn try_from(mut text: String) -> Result<Self, Self::Error> {
                let parse: fn(&mut String) -> Result<(), Self::Error> = $parse;
                parse(&mut text)?;
                Ok(Self(text))
            }
        }

        impl $(<const $MAX: usize>)? TryFrom<&str> for $Name $(<$MAX>)? {
            type Error = $crate::text::Error;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                text.to_owned().try_into()
            }
        }

        impl $(<const $MAX: usize>)? std::str::FromStr for $Name $(<$MAX>)? {
            type Err = $crate::text::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.to_owned().try_into()
            }
        }

        impl $(<const $MAX: usize>)? From<$Name $(<$MAX>)?> for String {
            fn from(text: $Name $(<$MAX>)?) -> Self {
                text.0
            }
        }

        impl $(<const $MAX: usize>)? AsRef<str> for $Name $(<$MAX>)? {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use text_newtype;

/// `Debug` as the text, and `Display`: for texts that may be logged.
macro_rules! shown {
    ($Name:ident $(<const $MAX:ident: usize>)?) => {
        impl $(<const $MAX: usize>)? std::fmt::Debug for $Name $(<$MAX>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $(<const $MAX: usize>)? std::fmt::Display for $Name $(<$MAX>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
pub(crate) use shown;

/// `Debug` without the text, and no `Display`: for personal data and secrets, so that no log holds them.
macro_rules! redacted {
    ($Name:ident $(<const $MAX:ident: usize>)?) => {
        impl $(<const $MAX: usize>)? std::fmt::Debug for $Name $(<$MAX>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($Name), "(…)"))
            }
        }
    };
}
pub(crate) use redacted;

/// A text of 1 to `MAX` characters that is not about a person: a product's name, a subject. `Debug` shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

text_newtype!(Text<const MAX: usize>, |text| check_prose(text, MAX));
shown!(Text<const MAX: usize>);

/// A text of 1 to `MAX` characters that a person wrote or that is about one: a name, a phone number, a reason.
/// `Debug` hides it. It is kept as a record and never in an event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Private<const MAX: usize>(String);

text_newtype!(Private<const MAX: usize>, |text| check_prose(text, MAX));
redacted!(Private<const MAX: usize>);

fn check_prose(text: &str, max: usize) -> Result<(), Error> {
    check_length(text, 1, max)?;
    if text.trim().is_empty() {
        Err(Error::Blank)
    } else {
        Ok(())
    }
}

/// A product's name.
pub type ProductName = Text<200>;
/// A product's description.
pub type Description = Text<10_000>;
/// A person's name.
pub type PersonName = Private<200>;
/// The name that a user goes by.
pub type Username = Private<64>;
/// A telephone number, as the person writes it.
pub type Phone = Private<32>;
/// Why somebody did something, in their words.
pub type Reason = Private<500>;
/// A token, a client secret or a signing secret, as somebody holds it.
pub type Secret = Private<4096>;

/// The words after which a shop keeps its stock: 1 to 64 printable characters, case-sensitive, never changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

text_newtype!(Sku, |text| {
    check_length(text, 1, 64)?;
    if text.chars().any(char::is_control) {
        return Err(Error::ControlCharacter);
    }
    if text.trim() != text.as_str() {
        Err(Error::OuterSpace)
    } else {
        Ok(())
    }
});
shown!(Sku);

/// An http or https URL of up to 2,048 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(String);

text_newtype!(HttpUrl, |text| {
    check_length(text, 1, 2048)?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let sound = host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?', '#', ':', '@']))
        && !text
            .chars()
            .any(|character| character.is_control() || character.is_whitespace());
    if sound { Ok(()) } else { Err(Error::NotAUrl) }
});
shown!(HttpUrl);

/// A country by its ISO 3166 code: two letters, kept in capitals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country(String);

text_newtype!(Country, |text| {
    text.make_ascii_uppercase();
    let sound = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if sound { Ok(()) } else { Err(Error::NotACountry) }
});
redacted!(Country);

/// A short identifier that others chose, such as `pm_card_visa` or `order-confirmed`: 1 to 255 ASCII letters,
/// digits, `_`, `-` and `.`, and no `.` first. Safe in a file name and in an event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

text_newtype!(Slug, |text| {
    check_length(text, 1, 255)?;
    let sound = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if sound && !text.starts_with('.') {
        Ok(())
    } else {
        Err(Error::NotAWord { also: "_ - ." })
    }
});
shown!(Slug);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_bounds_in_characters() {
        assert!(Text::<3>::try_from("äöü").is_ok());
        assert_eq!(Text::<3>::try_from("abcd"), Err(Error::TooLong { max: 3 }));
        assert_eq!(Text::<3>::try_from("x".repeat(1000)), Err(Error::TooLong { max: 3 }));
        assert_eq!(Text::<3>::try_from(""), Err(Error::TooShort { min: 1 }));
        assert_eq!(Text::<3>::try_from("  "), Err(Error::Blank));
        assert_eq!(Text::<3>::try_from("a\0"), Err(Error::Nul));
        assert!(serde_json::from_str::<Text<3>>("\"abcd\"").is_err());
        assert_eq!(
            serde_json::to_string(&Text::<3>::try_from("abc").unwrap()).unwrap(),
            "\"abc\""
        );
    }

    #[test]
    fn private_text_does_not_show_in_debug() {
        let name = PersonName::try_from("Ada Lovelace").unwrap();
        assert_eq!(format!("{name:?}"), "Private(…)");
        assert_eq!(name.as_str(), "Ada Lovelace");
    }

    #[test]
    fn a_sku_is_printable() {
        for good in ["A", "85123A", "a b/c%20?", "Größe-42", &"x".repeat(64)] {
            assert!(Sku::try_from(good).is_ok(), "{good}");
        }
        assert_eq!(Sku::try_from(""), Err(Error::TooShort { min: 1 }));
        assert_eq!(Sku::try_from("x".repeat(65)), Err(Error::TooLong { max: 64 }));
        assert_eq!(Sku::try_from("a\tb"), Err(Error::ControlCharacter));
        assert_eq!(Sku::try_from(" a"), Err(Error::OuterSpace));
        assert_ne!(Sku::try_from("a").unwrap(), Sku::try_from("A").unwrap());
    }

    #[test]
    fn a_url_is_http() {
        for good in ["https://example.com/hook?x=1", "http://127.0.0.1:8080"] {
            assert!(HttpUrl::try_from(good).is_ok(), "{good}");
        }
        for wrong in [
            "ftp://example.com",
            "https://",
            "https:///x",
            "https://a b",
            "javascript:alert(1)",
        ] {
            assert_eq!(HttpUrl::try_from(wrong), Err(Error::NotAUrl), "{wrong}");
        }
    }

    #[test]
    fn a_country_is_two_letters_kept_in_capitals() {
        assert_eq!(serde_json::from_str::<Country>("\"nl\"").unwrap().as_str(), "NL");
        assert_eq!(Country::try_from("nl").unwrap().as_str(), "NL");
        assert!(serde_json::from_str::<Country>("\"NLD\"").is_err());
        assert!(serde_json::from_str::<Country>("\"ü\"").is_err());
    }

    #[test]
    fn a_slug_is_no_path_and_no_prose() {
        assert!(Slug::try_from("pm_card_visa").is_ok());
        for wrong in ["../x", "a/b", "a b", ".hidden", "ada@example.com"] {
            assert!(Slug::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
