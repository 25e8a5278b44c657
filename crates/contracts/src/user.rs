//! Users: accounts, sign-in and roles.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Country, Cursor, Email, Limit, List, Password, PasswordAttempt, Patch, PersonName, Phone, Private, Secret, Service,
    SessionId, UserId, Username, patch, word::words,
};

words! {
    /// What somebody may do.
    pub enum Role {
        /// Buys. The role at sign-up.
        Customer = "customer",
        /// Runs the shop.
        Admin = "admin",
        /// A token between services.
        Service = "service",
    }
}

words! {
    /// A role that an admin can give: a service's is not among them.
    pub enum AssignableRole {
        /// Buys.
        Customer = "customer",
        /// Runs the shop.
        Admin = "admin",
    }
}

impl From<AssignableRole> for Role {
    fn from(role: AssignableRole) -> Self {
        match role {
            AssignableRole::Customer => Self::Customer,
            AssignableRole::Admin => Self::Admin,
        }
    }
}

words! {
    /// How a token is sent.
    pub enum TokenType {
        /// `Authorization: Bearer …`.
        Bearer = "Bearer",
    }
}

/// A line of an address: up to 200 characters.
pub type AddressLine = Private<200>;

/// The addresses of a profile: up to 20.
pub type Addresses = List<Address, 0, 20>;

/// A postal address. Personal data: a record, never in an event, and `Debug` hides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `line1`, `city` and `country`")]
pub struct Address {
    /// Who receives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AddressLine>,
    /// Street and number.
    pub line1: AddressLine,
    /// Flat, floor, company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<AddressLine>,
    /// Town.
    pub city: AddressLine,
    /// State or province.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<AddressLine>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<AddressLine>,
    /// ISO 3166 code of two letters.
    pub country: Country,
    /// Telephone number for the carrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
}

/// An account, as its owner and admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Where mail goes, and what one signs in with.
    pub email: Email,
    /// The person's name.
    pub name: Option<PersonName>,
    /// The name that the user goes by.
    pub username: Option<Username>,
    /// Telephone number.
    pub phone: Option<Phone>,
    /// Postal addresses.
    pub addresses: Addresses,
    /// What the user may do.
    pub role: Role,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The number of its changes, for `If-Match`.
    pub version: u64,
}

/// `POST /api/users`. It can be read and not written, as it holds a password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// Unique, whatever its case.
    pub email: Email,
    /// 8 to 256 characters.
    pub password: Password,
    /// The person's name.
    #[serde(default)]
    pub name: Option<PersonName>,
    /// Unique, if given.
    #[serde(default)]
    pub username: Option<Username>,
    /// Telephone number.
    #[serde(default)]
    pub phone: Option<Phone>,
    /// Postal addresses.
    #[serde(default)]
    pub addresses: Addresses,
}

/// `POST /api/login`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The account's e-mail, in any case.
    pub email: Email,
    /// The password.
    pub password: PasswordAttempt,
}

/// The answer to a sign-in or a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The access token, a signed JWT.
    pub token: Secret,
    /// How it is sent.
    pub token_type: TokenType,
    /// For how many seconds it is valid.
    pub expires_in: u64,
    /// What gets the next pair, once.
    pub refresh_token: Secret,
    /// Who signed in.
    pub user_id: UserId,
}

/// `POST /api/token/refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshToken {
    /// The refresh token of the last answer.
    pub refresh_token: Secret,
}

/// `POST /api/token/service`: one of our services signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSignIn {
    /// Which service it is.
    pub service: Service,
    /// What all services of a deployment share: `TRADEWIND_SERVICE_SECRET`.
    pub secret: Secret,
}

/// The answer to a service's sign-in. It signs in again when the token ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceToken {
    /// The access token, a signed JWT.
    pub token: Secret,
    /// How it is sent.
    pub token_type: TokenType,
    /// For how many seconds it is valid.
    pub expires_in: u64,
}

/// `PUT` or `PATCH /api/users/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// The person's name.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub name: Patch<PersonName>,
    /// Unique, if given.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub username: Patch<Username>,
    /// Unique; it cannot be cleared.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub email: Option<Email>,
    /// Telephone number.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub phone: Patch<Phone>,
    /// All postal addresses; those not given are dropped.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub addresses: Patch<Addresses>,
}

/// `PUT /api/users/{id}/role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// The new role.
    pub role: AssignableRole,
}

/// `POST /api/users/{id}/password`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password until now.
    pub current_password: PasswordAttempt,
    /// The password from now on.
    pub new_password: Password,
}

/// The query of `GET /api/users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    /// The account with this e-mail, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// `user.registered`: an account was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Whose.
    pub user_id: UserId,
    /// With which role.
    pub role: Role,
}

/// `user.updated`: a profile or a role changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Whose.
    pub user_id: UserId,
    /// The names of the fields that changed, never their values.
    pub changed: Vec<String>,
    /// The role now.
    pub role: Role,
}

/// `user.logged_in`: somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Who.
    pub user_id: UserId,
    /// The session that began.
    pub session_id: SessionId,
}

/// `user.viewed`: somebody read an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewed {
    /// Whose account it is.
    pub user_id: UserId,
}

/// `user.erased`: an account was deleted. Every service deletes what it keeps of the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Whose.
    pub user_id: UserId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_up_cannot_choose_its_role_and_shows_nothing() {
        let sign_up = r#"{"email":"ada@example.com","password":"correct horse","name":"Ada"}"#;
        let request: SignUp = serde_json::from_str(sign_up).unwrap();
        let debug = format!("{request:?}");
        assert!(
            !debug.contains("ada") && !debug.contains("Ada") && !debug.contains("horse"),
            "{debug}"
        );
        assert!(serde_json::from_str::<SignUp>(&sign_up.replace("\"name\"", "\"role\"")).is_err());
    }

    #[test]
    fn a_role_of_a_service_is_not_given_away() {
        assert!(serde_json::from_str::<SetRole>(r#"{"role":"admin"}"#).is_ok());
        assert!(serde_json::from_str::<SetRole>(r#"{"role":"service"}"#).is_err());
    }

    #[test]
    fn an_email_can_be_changed_and_not_cleared() {
        let update: UpdateUser = serde_json::from_str(r#"{"name":null}"#).unwrap();
        assert_eq!((update.name, update.email), (Patch::Clear, None));
        assert!(serde_json::from_str::<UpdateUser>(r#"{"email":null}"#).is_err());
        assert!(serde_json::from_str::<UpdateUser>(r#"{"id":"usr_1"}"#).is_err());
    }

    #[test]
    fn an_address_needs_street_town_and_country() {
        let address = r#"{"line1":"Herengracht 1","city":"Amsterdam","country":"nl"}"#;
        let read: Address = serde_json::from_str(address).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), address.replace("nl", "NL"));
        assert!(serde_json::from_str::<Address>(r#"{"line1":"x","city":"y"}"#).is_err());
        assert!(!format!("{read:?}").contains("Amsterdam"));
    }
}
