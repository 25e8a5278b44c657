//! Erasure: every service follows `user.erased`, refuses the user's tokens and deletes what it keeps of the person.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use contracts::{PublicEvent, Service, UserId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::auth::Verifier;
use crate::bus::Message;
use crate::context::Context;
use crate::deadline::{DUE_MAX, Deadline, Expired};
use crate::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use crate::engine::Engine;
use crate::idempotency;
use crate::reaction::{Failed, Reaction};
use crate::store::{Query, StoreError};
use crate::unit::Unit;
use crate::writer::{self, Priority};

/// After this, no token of an erased user is valid any more.
const TOKENS_OUTLIVED: SignedDuration = SignedDuration::from_secs(2 * crate::auth::TOKEN_LIFETIME_SECONDS);

/// A user who is gone; kept so that a late event or a token still valid does not bring anything back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErasedUser {
    user_id: UserId,
    erased_at: Timestamp,
    /// When this service should delete what it keeps; `None` once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purge_at: Option<Timestamp>,
}

impl Document for ErasedUser {
    const COLLECTION: &'static Collection = &Collection {
        name: "erased_users",
        kind: Kind::Replica { consumer: "erasure" },
        columns: &[
            Column {
                name: "purge_at",
                column_type: ColumnType::Integer,
            },
            Column {
                name: "erased_at",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[
            Index {
                name: "by_purge",
                columns: &["purge_at"],
            },
            Index {
                name: "by_erased",
                columns: &["erased_at"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        vec![self.purge_at.into(), self.erased_at.into()]
    }
}

/// Notes in the unit's commit that the user is gone; what follows from it is done soon after.
pub fn note(unit: &mut Unit<'_>, user_id: UserId) {
    if unit.get::<ErasedUser>(user_id).is_none() {
        let now = unit.now();
        unit.put(
            user_id,
            ErasedUser {
                user_id,
                erased_at: now,
                purge_at: Some(now),
            },
        );
    }
}

/// Whether the user is gone, as far as this service has seen.
pub fn is_erased(unit: &mut Unit<'_>, user_id: UserId) -> bool {
    unit.get::<ErasedUser>(user_id).is_some()
}

/// What a service deletes of a person.
#[async_trait]
pub trait Purge: Send + Sync {
    /// Deletes the person's records. May be called again after a failure.
    async fn purge(&self, user: UserId) -> Expired;
}

/// For a service that keeps nothing of people.
#[derive(Clone, Copy, Debug)]
pub struct NothingKept;

#[async_trait]
impl Purge for NothingKept {
    async fn purge(&self, _: UserId) -> Expired {
        Ok(())
    }
}

/// Starts the erasure of a service: refuses recently erased users, watches for purges that are due.
pub async fn start(engine: &Engine, verifier: &Arc<Verifier>, purge: Arc<dyn Purge>) -> Result<(), StoreError> {
    let verifier = Arc::clone(verifier);
    let mut recent = Query::by(ErasedUser::COLLECTION, "by_erased", Vec::new(), 10_000);
    recent.range = (
        Bound::Included((engine.clock().now() - TOKENS_OUTLIVED).into()),
        Bound::Unbounded,
    );
    for (_, erased) in engine.reader().query::<ErasedUser>(&recent).await? {
        verifier.refuse_user(erased.user_id, erased.erased_at + TOKENS_OUTLIVED);
    }
    engine.watch(Arc::new(Purges {
        engine: engine.clone(),
        verifier,
        purge,
    }));
    Ok(())
}

/// The reaction that notes erased users; every service but users has it among its own.
#[derive(Debug)]
pub struct Erasure;

impl Reaction for Erasure {
    fn name(&self) -> &'static str {
        "erasure"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Users]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&["user.erased"])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        if let PublicEvent::UserErased(erased) = message.public()? {
            note(unit, erased.user_id);
        }
        Ok(())
    }
}

struct Purges {
    engine: Engine,
    verifier: Arc<Verifier>,
    purge: Arc<dyn Purge>,
}

#[async_trait]
impl Deadline for Purges {
    fn due(&self, now: Timestamp) -> Query {
        let mut query = Query::by(ErasedUser::COLLECTION, "by_purge", Vec::new(), DUE_MAX);
        query.range = (Bound::Unbounded, Bound::Included(now.into()));
        query
    }

    async fn expire(&self, ids: Vec<Arc<str>>) -> Expired {
        for id in ids {
            let Ok(user) = id.parse::<UserId>() else { continue };
            self.verifier
                .refuse_user(user, self.engine.clock().now() + TOKENS_OUTLIVED);
            idempotency::erase(&self.engine, &id).await?;
            self.purge.purge(user).await?;
            let purged = self
                .engine
                .writer()
                .execute(Priority::Background, Context::system("erasure"), move |unit| {
                    if let Some(erased) = unit.get::<ErasedUser>(user) {
                        unit.put(
                            user,
                            ErasedUser {
                                purge_at: None,
                                ..ErasedUser::clone(&erased)
                            },
                        );
                    }
                    Ok::<(), writer::Error>(())
                });
            purged.await?;
        }
        Ok(())
    }
}
