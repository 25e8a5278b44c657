//! Erasure begins here: the account's personal data goes in the commit of `user.erased`, which all services follow.

use async_trait::async_trait;
use contracts::UserId;
use jiff::SignedDuration;
use kernel::auth::{self, TOKEN_LIFETIME_SECONDS};
use kernel::context::Context;
use kernel::deadline::Expired;
use kernel::engine::Engine;
use kernel::erasure::{self, Purge};
use kernel::http::IfMatch;

use crate::accounts::changeable;
use crate::identifiers::Identifiers;
use crate::records::{Credential, Profile};
use crate::session;
use crate::views::Admins;
use crate::{Command, Error, User, Users};

/// After this, no token of an erased user is valid any more.
const TOKENS_OUTLIVED: SignedDuration = SignedDuration::from_secs(2 * TOKEN_LIFETIME_SECONDS);

impl Users {
    /// Deletes an account and all that is personal of it. Its e-mail can sign up anew, as somebody else.
    ///
    /// The idempotency answers that show the account and its sessions, which are good for nothing without it, follow
    /// within a second or so.
    pub async fn erase(&self, id: UserId, if_match: IfMatch, by: auth::User, context: Context) -> Result<(), Error> {
        let pseudonyms = self.pseudonyms.clone();
        let erased = self.engine.writer().answer(context, move |unit| {
            changeable(unit, id, by, &if_match)?;
            let last_admin = Admins::is_last(unit, id);
            unit.decide::<User>(id, Command::Erase { last_admin })?;
            if let Some(profile) = unit.get::<Profile>(id) {
                Identifiers::of(&profile, &pseudonyms).delete(unit);
            }
            unit.delete::<Profile>(id);
            unit.delete::<Credential>(id);
            erasure::note(unit, id);
            Ok::<(), Error>(())
        });
        erased.await?;
        self.kit
            .verifier
            .refuse_user(id, self.engine.clock().now() + TOKENS_OUTLIVED);
        Ok(())
    }
}

/// What is left to delete after the commit: sessions, of which there may be many.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Purge for Sessions {
    async fn purge(&self, user: UserId) -> Expired {
        session::end_stale(&self.engine, user).await
    }
}
