//! Notifications ask users for addresses: here, in the same process.

use async_trait::async_trait;
use contracts::{Service, UserId};
use kernel::auth::Caller;
use kernel::context::Context;
use notifications::{Recipient, Recipients, Unavailable};
use users::Users;

/// The users service of this process.
#[derive(Debug)]
pub struct InProcess {
    /// It.
    pub users: Users,
}

#[async_trait]
impl Recipients for InProcess {
    async fn recipient(&self, user: UserId) -> Result<Option<Recipient>, Unavailable> {
        let caller = Caller::Service(Service::Notifications);
        match self.users.user(user, caller, &Context::system("notifications")).await {
            Ok(user) => Ok(Some(Recipient {
                email: user.email,
                name: user.name,
            })),
            Err(users::Error::Unknown) => Ok(None),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }
}
