//! What a token says.

use std::borrow::Cow;

use contracts::{Role, Service, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AUDIENCE, Caller, ISSUER, TOKEN_LIFETIME_SECONDS, User};

/// The claims of a token (RFC 7519). Times are whole seconds since 1970, and numbers: a string is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: Cow<'static, str>,
    /// Always [`AUDIENCE`], and that alone.
    pub aud: Cow<'static, str>,
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Not to be accepted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// `usr_…` or `service:<name>`.
    pub sub: String,
    /// The session; every user's token has one, and no service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
    /// The role, as it was when the token was made.
    pub role: Role,
    /// Makes two tokens of the same second differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

impl Claims {
    /// A user's token, valid for [`TOKEN_LIFETIME_SECONDS`] from `now`.
    #[must_use]
    pub fn of_user(user: User, now: Timestamp) -> Self {
        Self::new(Caller::User(user), user.role, Some(user.session), now)
    }

    /// A service's token, valid for [`TOKEN_LIFETIME_SECONDS`] from `now`.
    #[must_use]
    pub fn of_service(service: Service, now: Timestamp) -> Self {
        Self::new(Caller::Service(service), Role::Service, None, now)
    }

    fn new(caller: Caller, role: Role, sid: Option<SessionId>, now: Timestamp) -> Self {
        let iat = now.as_second();
        Self {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            exp: iat + TOKEN_LIFETIME_SECONDS,
            iat,
            nbf: None,
            sub: caller.to_string(),
            sid,
            role,
            jti: None,
        }
    }

    /// Whom the claims describe; `None` if subject, role and session don't fit together.
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        match (self.role, self.sid) {
            (Role::Customer | Role::Admin, Some(session)) => {
                let id = self.sub.parse().ok()?;
                Some(Caller::User(User {
                    id,
                    role: self.role,
                    session,
                }))
            }
            (Role::Service, None) => Some(Caller::Service(self.sub.strip_prefix("service:")?.parse().ok()?)),
            (Role::Customer | Role::Admin, None) | (Role::Service, Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::UserId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_token_says_who_it_was_made_for() {
        let user = User {
            id: UserId::from_uuid(Uuid::from_u128(1)),
            role: Role::Customer,
            session: SessionId::from_uuid(Uuid::from_u128(2)),
        };
        let claims = Claims::of_user(user, Timestamp::UNIX_EPOCH);
        assert_eq!(claims.caller(), Some(Caller::User(user)));
        assert_eq!(claims.exp, TOKEN_LIFETIME_SECONDS);

        let claims = Claims::of_service(Service::Orders, Timestamp::UNIX_EPOCH);
        assert_eq!(claims.caller(), Some(Caller::Service(Service::Orders)));
    }

    #[test]
    fn role_subject_and_session_must_fit_together() {
        let service = Claims::of_service(Service::Orders, Timestamp::UNIX_EPOCH);
        let session = Some(SessionId::from_uuid(Uuid::nil()));
        for wrong in [
            Claims {
                role: Role::Admin,
                ..service.clone()
            },
            Claims {
                role: Role::Admin,
                sid: session,
                ..service.clone()
            },
            Claims {
                sid: session,
                ..service.clone()
            },
            Claims {
                sub: "service:shop".into(),
                ..service.clone()
            },
            Claims {
                sub: "usr_00000000000000000000000000".into(),
                ..service.clone()
            },
        ] {
            assert_eq!(wrong.caller(), None, "{wrong:?}");
        }
    }
}
