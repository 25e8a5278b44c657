//! Accounts: signing up, reading, changing, and giving roles.

use std::sync::Arc;

use contracts::user::{self, AssignableRole, ListUsers, SetRole, SignUp, UpdateUser, Viewed};
use contracts::{Page, Problem, Service, UserId};
use kernel::auth::{self, Caller};
use kernel::context::Context;
use kernel::document::Document;
use kernel::http::{IfMatch, Paging};
use kernel::idempotency::Answer;
use kernel::store::{Query, StoreError};
use kernel::unit::Unit;
use kernel::writer;

use crate::identifiers::{Identifier, Identifiers};
use crate::records::{Credential, Profile};
use crate::views::Admins;
use crate::{Command, Error, Status, User, Users};

impl Users {
    /// Makes an account, always a customer's. The context's claim is made by e-mail.
    pub async fn sign_up(&self, request: SignUp, mut context: Context) -> Result<user::User, Error> {
        let SignUp {
            email,
            password,
            name,
            username,
            phone,
            addresses,
        } = request;
        let id = UserId::from_uuid(self.engine.ids().uuid(self.engine.clock().now()));
        let profile = Profile {
            email,
            name,
            username,
            phone,
            addresses,
        };
        let keys = Identifiers::of(&profile, &self.pseudonyms);
        // A hash costs more than all the rest, so it is made only if it will probably be needed. What is so comes out
        // in the decision.
        let taken = self.engine.reader().get::<Identifier>(&keys.email).await?.is_some();
        let hash = match taken || self.is_answered(&context).await? {
            true => None,
            false => Some(self.ports.hasher.hash(password).await?),
        };
        if &*context.actor == "anonymous" {
            context.actor = id.to_string().into();
        }
        let signed_up = self.engine.writer().answer(context.about(id), move |unit| {
            let registration = Registration {
                id,
                role: AssignableRole::Customer,
                profile: &profile,
                keys: &keys,
            };
            registration.check(unit)?;
            // Only if an answer or an account has gone since we looked: the client comes again.
            let hash = hash.as_ref().ok_or(writer::Error::InProgress)?;
            registration.carry_out(unit, Arc::clone(hash))
        });
        signed_up.await
    }

    /// An account, for its owner, for admins and for services. Whoever listens is told of it.
    pub async fn user(&self, id: UserId, caller: Caller, context: &Context) -> Result<user::User, Error> {
        if !caller.may_access(id) && !caller.is_service() {
            return Err(Error::Unknown);
        }
        let shown = self.find(id).await?.ok_or(Error::Unknown)?;
        self.ports
            .access
            .record(Service::Users, id, Viewed { user_id: id }, context);
        Ok(shown)
    }

    /// Accounts, the newest first; or the one with an e-mail.
    pub async fn users(&self, filter: &ListUsers, paging: &Paging) -> Result<Page<user::User>, Problem> {
        if let Some(email) = &filter.email {
            let owner = self
                .engine
                .reader()
                .get::<Identifier>(self.pseudonyms.email(email))
                .await?;
            let found = match owner {
                Some(owner) => self.find(owner.user_id).await?,
                None => None,
            };
            return Ok(Page {
                data: found.into_iter().collect(),
                next_cursor: None,
            });
        }
        let mut query = Query::by(
            User::COLLECTION,
            "by_status_created",
            vec![Status::Active.as_str().into()],
            0,
        );
        query.descending = true;
        let found = self.engine.reader().find(&paging.apply(query)?).await?;
        let profiles = self
            .engine
            .reader()
            .get_many::<Profile>(found.iter().map(|found| &found.id))
            .await?;
        let mut profiles = profiles.into_iter();
        let page = paging.page(found, |found| {
            let user = self.engine.reader().document::<User>(&found)?;
            // Who was erased since the query has no profile.
            Ok::<_, StoreError>(profiles.next().flatten().map(|profile| profile.shown(&user)))
        })?;
        Ok(Page {
            data: page.data.into_iter().flatten().collect(),
            next_cursor: page.next_cursor,
        })
    }

    /// Changes what an account's owner says about it.
    pub async fn update(
        &self,
        id: UserId,
        request: UpdateUser,
        if_match: IfMatch,
        by: auth::User,
        context: Context,
    ) -> Result<user::User, Error> {
        let pseudonyms = self.pseudonyms.clone();
        let updated = self.engine.writer().answer(context.about(id), move |unit| {
            changeable(unit, id, by, &if_match)?;
            let before = unit.get::<Profile>(id).ok_or(Error::Unknown)?;
            let mut profile = Profile::clone(&before);
            let fields = profile.update(request.clone());
            if !fields.is_empty() {
                let keys = Identifiers::of(&profile, &pseudonyms);
                keys.replace(&Identifiers::of(&before, &pseudonyms), unit, id)?;
                unit.put(id, profile);
                unit.decide::<User>(id, Command::Change { fields })?;
            }
            shown(unit, id)
        });
        updated.await
    }

    /// Lets somebody do more, or less. The last admin stays one.
    pub async fn set_role(
        &self,
        id: UserId,
        request: SetRole,
        if_match: IfMatch,
        by: auth::User,
        context: Context,
    ) -> Result<user::User, Error> {
        let set = self.engine.writer().answer(context.about(id), move |unit| {
            changeable(unit, id, by, &if_match)?;
            // A role that was taken away cannot be taken back with a token that still has it.
            acting_admin(unit, by)?;
            let last_admin = Admins::is_last(unit, id);
            unit.decide::<User>(
                id,
                Command::SetRole {
                    role: request.role,
                    last_admin,
                },
            )?;
            shown(unit, id)
        });
        set.await
    }

    /// The user before the profile: if they change in between, the version is the older one, and no `If-Match` on it
    /// overwrites what the client has not seen.
    async fn find(&self, id: UserId) -> Result<Option<user::User>, StoreError> {
        let user = self
            .engine
            .reader()
            .get::<User>(id)
            .await?
            .filter(|user| user.is_active());
        let profile = self.engine.reader().get::<Profile>(id).await?;
        Ok(user.zip(profile).map(|(user, profile)| profile.shown(&user)))
    }

    /// Whether the request's answer is there already. (It may be another request's, which the writer finds out.)
    pub(crate) async fn is_answered(&self, context: &Context) -> Result<bool, StoreError> {
        match &context.claim {
            Some(claim) => Ok(self.engine.reader().get::<Answer>(&claim.id).await?.is_some()),
            None => Ok(false),
        }
    }
}

/// A new account.
#[derive(Debug)]
pub(crate) struct Registration<'a> {
    pub(crate) id: UserId,
    pub(crate) role: AssignableRole,
    pub(crate) profile: &'a Profile,
    pub(crate) keys: &'a Identifiers,
}

impl Registration<'_> {
    /// Whether e-mail and username are free.
    pub(crate) fn check(&self, unit: &mut Unit<'_>) -> Result<(), Error> {
        unit.load::<Identifier>(std::iter::once(&self.keys.email).chain(&self.keys.username));
        if unit.get::<Identifier>(&self.keys.email).is_some() {
            return Err(Error::EmailTaken);
        }
        match &self.keys.username {
            Some(username) if unit.get::<Identifier>(username).is_some() => Err(Error::UsernameTaken),
            _ => Ok(()),
        }
    }

    pub(crate) fn carry_out(&self, unit: &mut Unit<'_>, hash: Arc<str>) -> Result<user::User, Error> {
        let Self {
            id,
            role,
            profile,
            keys,
        } = *self;
        unit.fresh::<User>(id);
        unit.fresh::<Profile>(id);
        unit.fresh::<Credential>(id);
        for key in std::iter::once(&keys.email).chain(&keys.username) {
            unit.put(key, Identifier { user_id: id });
        }
        unit.put(id, profile.clone());
        unit.put(id, Credential { hash, generation: 1 });
        unit.decide::<User>(id, Command::Register { id, role })?;
        shown(unit, id)
    }
}

/// The account, if it is active, the caller may change it, and has seen its latest version.
pub(crate) fn changeable(unit: &mut Unit<'_>, id: UserId, by: auth::User, if_match: &IfMatch) -> Result<(), Error> {
    if !by.may_access(id) {
        return Err(Error::Unknown);
    }
    if by.id != id {
        acting_admin(unit, by)?;
    }
    let user = unit
        .get::<User>(id)
        .filter(|user| user.is_active())
        .ok_or(Error::Unknown)?;
    if_match.check(user.changes).map_err(|_| Error::Stale)
}

/// Whether an admin's token tells the truth still. Elsewhere tokens are believed until they end; here the truth is at
/// hand.
fn acting_admin(unit: &mut Unit<'_>, by: auth::User) -> Result<(), Error> {
    let is_admin = unit
        .get::<Admins>(Admins::ALL)
        .is_some_and(|admins| admins.ids.contains(&by.id));
    if is_admin { Ok(()) } else { Err(Error::NoLongerAdmin) }
}

/// The account after a change.
pub(crate) fn shown(unit: &mut Unit<'_>, id: UserId) -> Result<user::User, Error> {
    let user = unit.get::<User>(id).ok_or(Error::Unknown)?;
    let profile = unit.get::<Profile>(id).ok_or(Error::Unknown)?;
    Ok(profile.shown(&user))
}
