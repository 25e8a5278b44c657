//! What one service asks another for while it runs.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use contracts::{Service, UserId};
use kernel::auth::{Caller, FetchError, Jwks, KeySource};
use kernel::context::Context;
use notifications::{Recipient, Recipients, Unavailable};

use crate::world::{Inner, Running, World};

/// The keys that users have published.
#[derive(Debug)]
pub(super) struct Published(pub(super) Arc<OnceLock<Jwks>>);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Jwks, FetchError> {
        let keys = self.0.get().cloned();
        keys.ok_or_else(|| FetchError::new("users have not started yet"))
    }
}

/// Users, asked for addresses. The world has the service that asks, and not the other way round.
pub(super) struct Addresses(pub(super) Weak<Inner>);

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

#[async_trait]
impl Recipients for Addresses {
    async fn recipient(&self, user: UserId) -> Result<Option<Recipient>, Unavailable> {
        let world = self.0.upgrade().map(World);
        let running = world.and_then(|world| world.running(Service::Users));
        let Some(Running {
            life,
            users: Some(users),
            ..
        }) = running
        else {
            return Err(Unavailable("users are not there".to_owned()));
        };
        let context = Context::system("notifications");
        let found = tokio::select! {
            biased;
            () = life.until_ended() => return Err(Unavailable("users have gone".to_owned())),
            found = users.user(user, Caller::Service(Service::Notifications), &context) => found,
        };
        match found {
            Ok(user) => Ok(Some(Recipient {
                email: user.email,
                name: user.name,
            })),
            Err(users::Error::Unknown) => Ok(None),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }
}
