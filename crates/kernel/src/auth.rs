//! Who calls: tokens, the keys that sign and verify them, and the extractors that say who may use a route.
//!
//! Tokens are JWTs signed with Ed25519 by `users`. Every service verifies them itself, against the keys that it has
//! fetched ([`Verifier`]); a route says in its handler's signature who may use it ([`Admin`], [`SignedIn`], …).

mod claims;
mod guard;
mod key;
mod verifier;

use std::fmt;

use contracts::{Role, Service, SessionId, UserId};

use crate::event::Actor;

pub use claims::Claims;
pub use guard::{Admin, AdminOrService, Anyone, Person, SignedIn};
pub use key::{FetchError, InvalidSeed, Jwks, KeySource, SigningKey};
pub use verifier::{Refusal, Verifier};

/// The `iss` of every token.
pub const ISSUER: &str = "tradewind";
/// The `aud` of every token.
pub const AUDIENCE: &str = "tradewind-api";
/// How long an access token lives.
pub const TOKEN_LIFETIME_SECONDS: i64 = 15 * 60;

/// Somebody whose token was verified. (Somebody without one is `None` of it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A person.
    User(User),
    /// One of our services.
    Service(Service),
}

/// A person with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Customer or admin.
    pub role: Role,
    /// The login that the token stems from.
    pub session: SessionId,
}

impl Caller {
    /// The person, unless a service calls.
    #[must_use]
    pub fn user(&self) -> Option<User> {
        match self {
            Self::User(user) => Some(*user),
            Self::Service(_) => None,
        }
    }

    /// The person's id, unless a service calls.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.user().map(|user| user.id)
    }

    /// True for people with the role `admin`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.user().is_some_and(|user| user.is_admin())
    }

    /// True for our own services.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    /// May this caller see and change what belongs to `owner`? The owner and admins may; services may not.
    ///
    /// Where the answer is no, the route answers 404, as if there were nothing.
    #[must_use]
    pub fn may_access(&self, owner: UserId) -> bool {
        self.is_admin() || self.user_id() == Some(owner)
    }

    /// How events and idempotency claims name the caller.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.to_string().into()
    }
}

impl User {
    /// May this user see and change what belongs to `owner`? The owner and admins may.
    #[must_use]
    pub fn may_access(&self, owner: UserId) -> bool {
        Caller::User(*self).may_access(owner)
    }

    /// True for the role `admin`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// `usr_…` or `service:orders`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.id.fmt(f),
            Self::Service(service) => write!(f, "service:{service}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(number: u128, role: Role) -> Caller {
        let id = UserId::from_uuid(Uuid::from_u128(number));
        Caller::User(User {
            id,
            role,
            session: SessionId::from_uuid(Uuid::nil()),
        })
    }

    #[test]
    fn owners_and_admins_may_access_and_nobody_else() {
        let owner = UserId::from_uuid(Uuid::from_u128(1));
        assert!(user(1, Role::Customer).may_access(owner));
        assert!(user(2, Role::Admin).may_access(owner));
        assert!(!user(2, Role::Customer).may_access(owner));
        assert!(!Caller::Service(Service::Orders).may_access(owner));
    }

    #[test]
    fn an_actor_names_the_caller() {
        assert_eq!(&*Caller::Service(Service::Orders).actor(), "service:orders");
        assert_eq!(&*user(0, Role::Customer).actor(), "usr_00000000000000000000000000");
    }
}
