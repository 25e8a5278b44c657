//! Extractors that say in a handler's signature who may use its route.

use axum::extract::FromRequestParts;
use contracts::Code;
use http::request::Parts;

use super::{Caller, User};
use crate::http::{Failure, Scope};

/// Everybody may; who it is, if a token came along.
#[derive(Clone, Copy, Debug)]
pub struct Anyone(pub Option<Caller>);

/// Whoever has a token: a person or a service.
#[derive(Clone, Copy, Debug)]
pub struct SignedIn(pub Caller);

/// People with a session; services may not (403).
#[derive(Clone, Copy, Debug)]
pub struct Person(pub User);

/// Admins alone.
#[derive(Clone, Copy, Debug)]
pub struct Admin(pub User);

/// Admins and our own services.
#[derive(Clone, Copy, Debug)]
pub struct AdminOrService(pub Caller);

impl<S: Sync> FromRequestParts<S> for Anyone {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Scope::of(parts)?.caller))
    }
}

/// A guard lets one kind of caller through. Nobody at all is 401, somebody else is 403.
macro_rules! guard {
    ($Guard:ident, $caller:ident => $admitted:expr) => {
        impl<S: Sync> FromRequestParts<S> for $Guard {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
                let $caller = Scope::of(parts)?.caller.ok_or(Code::Unauthorized)?;
                $admitted.map(Self).ok_or_else(|| Code::Forbidden.into())
            }
        }
    };
}

guard!(SignedIn, caller => Some(caller));
guard!(Person, caller => caller.user());
guard!(Admin, caller => caller.user().filter(User::is_admin));
guard!(AdminOrService, caller => Some(caller).filter(|caller| caller.is_admin() || caller.is_service()));
