//! E-mail addresses and usernames: each is one account's, and no key says which it is.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{Email, UserId, Username};
use kernel::document::{Collection, Document, Kind};
use kernel::unit::Unit;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::records::Profile;

/// Whose an e-mail address or a username is, by its pseudonym. There is one at most of each, which makes them unique.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Identifier {
    pub(crate) user_id: UserId,
}

impl Document for Identifier {
    const COLLECTION: &'static Collection = &Collection {
        name: "identifiers",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// The pseudonyms that an account holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identifiers {
    pub(crate) email: Arc<str>,
    pub(crate) username: Option<Arc<str>>,
}

impl Identifiers {
    pub(crate) fn of(profile: &Profile, pseudonyms: &Pseudonyms) -> Self {
        let username = profile.username.as_ref().map(|username| pseudonyms.username(username));
        Self {
            email: pseudonyms.email(&profile.email),
            username,
        }
    }

    /// Takes these for an account in the place of those that it has.
    pub(crate) fn replace(&self, before: &Self, unit: &mut Unit<'_>, id: UserId) -> Result<(), Error> {
        let (email, username) = (Some(&self.email), self.username.as_ref());
        let moves = [
            (Some(&before.email), email, Error::EmailTaken),
            (before.username.as_ref(), username, Error::UsernameTaken),
        ];
        for (from, to, taken) in moves.into_iter().filter(|(from, to, _)| from != to) {
            if let Some(to) = to {
                if unit.get::<Identifier>(to).is_some() {
                    return Err(taken);
                }
                unit.put(to, Identifier { user_id: id });
            }
            if let Some(from) = from {
                unit.delete::<Identifier>(from);
            }
        }
        Ok(())
    }

    pub(crate) fn delete(&self, unit: &mut Unit<'_>) {
        unit.delete::<Identifier>(&self.email);
        if let Some(username) = &self.username {
            unit.delete::<Identifier>(username);
        }
    }
}

/// Names e-mail addresses and usernames by an HMAC under a stored secret, so that keys hold nothing personal.
#[derive(Clone)]
pub(crate) struct Pseudonyms(hmac::Key);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

impl Pseudonyms {
    /// The name of the stored secret; permanent.
    pub(crate) const SECRET: &'static str = "identifiers";

    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The same for all spellings of an address that are one account's.
    pub(crate) fn email(&self, email: &Email) -> Arc<str> {
        self.pseudonym(b"email\0", &email.canonical())
    }

    /// The same for all spellings of a username that people would take for one another.
    pub(crate) fn username(&self, username: &Username) -> Arc<str> {
        self.pseudonym(b"username\0", &username.as_str().trim().to_lowercase())
    }

    fn pseudonym(&self, kind: &[u8], canonical: &str) -> Arc<str> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind);
        context.update(canonical.as_bytes());
        URL_SAFE_NO_PAD.encode(context.sign()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_have_one_pseudonym() {
        let pseudonyms = Pseudonyms::new(&[7; 32]);
        let email = |email: &str| pseudonyms.email(&email.try_into().unwrap());
        let username = |username: &str| pseudonyms.username(&username.try_into().unwrap());
        assert_eq!(email("Ada@Example.com"), email("ada@example.COM"));
        assert_ne!(email("ada@example.com"), email("adb@example.com"));
        assert_eq!(username(" Ada "), username("ada"));
        assert_ne!(username("ada@example.com"), email("ada@example.com"));
        assert_ne!(
            email("ada@example.com"),
            Pseudonyms::new(&[8; 32]).email(&"ada@example.com".try_into().unwrap())
        );
    }

    #[test]
    fn the_secret_does_not_show_in_debug() {
        assert_eq!(format!("{:?}", Pseudonyms::new(&[7; 32])), "Pseudonyms(…)");
    }
}
