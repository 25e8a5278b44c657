//! What the operator does, who needs no account for it.

use std::sync::Arc;

use contracts::user::AssignableRole;
use contracts::{Email, Password, UserId};
use kernel::context::Context;
use kernel::document::Document;
use kernel::store::{Query, StoreError};
use kernel::writer::Priority;

use crate::accounts::Registration;
use crate::identifiers::{Identifier, Identifiers};
use crate::records::{Credential, Profile};
use crate::views::Admins;
use crate::{Command, Error, User, Users};

/// What [`Users::create_admin`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCreated {
    /// There was no account; now there is this one.
    Created(UserId),
    /// The account was a customer's. It has the given password now, and its sessions have ended.
    Promoted(UserId),
    /// The account was an admin's already, and is as it was, with the password that it had.
    Already(UserId),
}

impl Users {
    /// Makes an admin, as often as it is asked to.
    ///
    /// A customer's account with the e-mail is promoted, and gets the given password: whoever signed up with the
    /// operator's e-mail need not be the operator. An admin's account keeps its password, so that a password in a
    /// configuration does not undo a change.
    pub async fn create_admin(&self, email: Email, password: Password) -> Result<AdminCreated, Error> {
        let id = UserId::from_uuid(self.engine.ids().uuid(self.engine.clock().now()));
        let profile = Profile {
            email,
            name: None,
            username: None,
            phone: None,
            addresses: Default::default(),
        };
        let keys = Identifiers::of(&profile, &self.pseudonyms);
        let hash = self.ports.hasher.hash(password).await?;
        let created = self
            .engine
            .writer()
            .execute(Priority::Client, Context::system("create-admin"), move |unit| {
                let Some(Identifier { user_id }) = unit.get::<Identifier>(&keys.email).as_deref().copied() else {
                    let registration = Registration {
                        id,
                        role: AssignableRole::Admin,
                        profile: &profile,
                        keys: &keys,
                    };
                    return registration
                        .carry_out(unit, Arc::clone(&hash))
                        .map(|_| AdminCreated::Created(id));
                };
                let role = AssignableRole::Admin;
                if unit
                    .decide::<User>(
                        user_id,
                        Command::SetRole {
                            role,
                            last_admin: false,
                        },
                    )?
                    .is_empty()
                {
                    return Ok(AdminCreated::Already(user_id));
                }
                let generation = unit
                    .get::<Credential>(user_id)
                    .map_or(0, |credential| credential.generation)
                    + 1;
                unit.put(
                    user_id,
                    Credential {
                        hash: Arc::clone(&hash),
                        generation,
                    },
                );
                unit.decide::<User>(
                    user_id,
                    Command::Change {
                        fields: vec!["password"],
                    },
                )?;
                Ok::<_, Error>(AdminCreated::Promoted(user_id))
            });
        let created = created.await?;
        if let AdminCreated::Promoted(id) = created {
            self.end_stale_sessions(id).await;
        }
        Ok(created)
    }

    /// Whether anybody can run the shop.
    pub async fn has_admin(&self) -> Result<bool, StoreError> {
        let admins = self.engine.reader().get::<Admins>(Admins::ALL).await?;
        Ok(admins.is_some_and(|admins| !admins.ids.is_empty()))
    }

    /// Whether there has never been an account.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self
            .engine
            .reader()
            .ids(&Query::all(User::COLLECTION, 1))
            .await?
            .is_empty())
    }
}
