//! What is personal or secret of an account: beside the aggregate, in no event, and deleted with the account.

use std::fmt;
use std::sync::Arc;

use contracts::user::{self, Addresses, UpdateUser};
use contracts::{Email, Patch, PersonName, Phone, Username};
use kernel::document::{Collection, Document, Kind};
use serde::{Deserialize, Serialize};

use crate::User;

/// What its owner says about an account, by the user's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) email: Email,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<PersonName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<Username>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phone: Option<Phone>,
    #[serde(default)]
    pub(crate) addresses: Addresses,
}

impl Document for Profile {
    const COLLECTION: &'static Collection = &Collection {
        name: "profiles",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

impl Profile {
    /// Changes what the request says, and names the fields that this changed.
    pub(crate) fn update(&mut self, request: UpdateUser) -> Vec<&'static str> {
        let UpdateUser {
            name,
            username,
            email,
            phone,
            addresses,
        } = request;
        let email_changed = email.as_ref().is_some_and(|email| *email != self.email);
        if let Some(email) = email {
            self.email = email;
        }
        let addresses = match addresses {
            Patch::Keep => None,
            Patch::Clear => Some(Addresses::default()),
            Patch::Set(addresses) => Some(addresses),
        };
        let addresses = addresses.filter(|addresses| *addresses != self.addresses);
        let addresses_changed = addresses.is_some();
        if let Some(addresses) = addresses {
            self.addresses = addresses;
        }
        let changed = [
            ("name", name.apply(&mut self.name)),
            ("username", username.apply(&mut self.username)),
            ("email", email_changed),
            ("phone", phone.apply(&mut self.phone)),
            ("addresses", addresses_changed),
        ];
        changed
            .into_iter()
            .filter(|(_, changed)| *changed)
            .map(|(field, _)| field)
            .collect()
    }

    /// The account as its owner and admins see it.
    pub(crate) fn shown(&self, user: &User) -> user::User {
        user::User {
            id: user.id,
            email: self.email.clone(),
            name: self.name.clone(),
            username: self.username.clone(),
            phone: self.phone.clone(),
            addresses: self.addresses.clone(),
            role: user.role,
            created_at: user.created_at,
            updated_at: user.updated_at,
            version: user.changes,
        }
    }
}

/// The hash of an account's password, by the user's id.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credential {
    /// A PHC string.
    pub(crate) hash: Arc<str>,
    /// Which of the account's passwords it is, from 1. Sessions of earlier ones have ended.
    pub(crate) generation: u32,
}

impl Document for Credential {
    const COLLECTION: &'static Collection = &Collection {
        name: "credentials",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn profile() -> Profile {
        serde_json::from_value(json!({"email": "Ada@Example.com", "name": "Ada", "addresses": []})).unwrap()
    }

    fn update(json: serde_json::Value) -> UpdateUser {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_fields_that_differ_have_changed() {
        let mut ada = profile();
        assert_eq!(
            ada.update(update(
                json!({"email": "Ada@Example.com", "name": "Ada", "addresses": null})
            )),
            [""; 0]
        );
        assert_eq!(ada, profile());
        let address = json!({"line1": "Herengracht 1", "city": "Amsterdam", "country": "NL"});
        let everything =
            json!({"email": "ada@example.com", "name": null, "username": "ada", "phone": "1", "addresses": [address]});
        let changed = ada.update(update(everything));
        assert_eq!(changed, ["name", "username", "email", "phone", "addresses"]);
        assert_eq!((ada.name.is_none(), ada.addresses.len()), (true, 1));
        assert_eq!(ada.update(update(json!({"addresses": null}))), ["addresses"]);
    }

    #[test]
    fn nothing_secret_shows_in_debug() {
        let credential = Credential {
            hash: "$argon2id$secret".into(),
            generation: 1,
        };
        assert!(!format!("{credential:?} {:?}", profile()).contains("secret"));
        assert!(!format!("{:?}", profile()).contains("Ada"));
    }
}
