//! E-mail addresses and passwords: what a person signs in with.

use serde::{Deserialize, Serialize};

use crate::text::{Error, check_length, redacted, text_newtype};

/// An e-mail address of up to 254 characters, kept as given. `Debug` hides it; it is personal data.
///
/// Two addresses are the same account if their [`canonical`](Self::canonical) forms are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

text_newtype!(Email, |text| {
    check_length(text, 1, 254)?;
    let Some((local, domain)) = text.split_once('@') else {
        return Err(Error::NotAnEmail);
    };
    let sound = (1..=64).contains(&local.len())
        && !text.chars().any(|character| {
            character.is_whitespace() || character.is_control() || matches!(character, ',' | ';' | '<' | '>' | '"')
        })
        && !domain.contains('@')
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|character| character.is_alphanumeric() || character == '-')
        });
    if sound { Ok(()) } else { Err(Error::NotAnEmail) }
});
redacted!(Email);

impl Email {
    /// The form that is unique among accounts: in lower case.
    pub fn canonical(&self) -> String {
        self.0.to_lowercase()
    }
}

/// A password for an account: 8 to 256 characters. It can be read from a request, and neither shown nor written.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(String);

text_newtype!(Password, |text| check_length(text, 8, 256));
redacted!(Password);

/// What somebody claims to be their password: up to 256 characters, and no fewest, so that a short one is a
/// wrong password and not an invalid request.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PasswordAttempt(String);

text_newtype!(PasswordAttempt, |text| check_length(text, 0, 256));
redacted!(PasswordAttempt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_as_given_and_compared_in_lower_case() {
        let email = Email::try_from("Ada.Lovelace+shop@Example.COM").unwrap();
        assert_eq!(email.as_str(), "Ada.Lovelace+shop@Example.COM");
        assert_eq!(email.canonical(), "ada.lovelace+shop@example.com");
    }

    #[test]
    fn what_cannot_receive_mail_is_refused() {
        for good in ["a@b.co", "admin@tradewind.local", "root@localhost", "ä@müller.de"] {
            assert!(Email::try_from(good).is_ok(), "{good}");
        }
        let long = format!("{}@{}.com", "a".repeat(64), "b.".repeat(100));
        for wrong in [
            "", "a", "@b.co", "a@", "a@b@c.de", "a b@c.de", "a@b..c", "a@.b", "a@-b.c", "a@b\n.c", "a,b@c.de", &long,
        ] {
            assert!(Email::try_from(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_personal_shows_in_debug() {
        assert_eq!(format!("{:?}", Email::try_from("ada@example.com").unwrap()), "Email(…)");
        assert_eq!(
            format!("{:?}", Password::try_from("correct horse").unwrap()),
            "Password(…)"
        );
    }

    #[test]
    fn a_new_password_has_8_to_256_characters_and_an_attempt_may_be_short() {
        assert_eq!(Password::try_from("1234567"), Err(Error::TooShort { min: 8 }));
        assert_eq!(Password::try_from("x".repeat(257)), Err(Error::TooLong { max: 256 }));
        assert!(Password::try_from("pässwörd").is_ok());
        assert!(PasswordAttempt::try_from("").is_ok());
        assert!(PasswordAttempt::try_from("x".repeat(257)).is_err());
    }
}
