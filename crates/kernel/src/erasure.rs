//! Erasure: every service follows `user.erased`, refuses the user's tokens and deletes what it keeps of the person.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::{PublicEvent, Service, UserId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

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

/// How often a replica asks what the others have noted, where several share a store.
const POLL: Duration = Duration::from_secs(1);
/// Erased users looked at in one go, the latest first.
const LATEST_MAX: usize = 10_000;
/// By how much the clocks of replicas may differ.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_secs(60);

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

/// Notes in the unit's commit that more of an erased user was deleted, which the store's files must not keep either.
/// Does nothing if the user is not gone.
pub fn note_deleted(unit: &mut Unit<'_>, user_id: UserId) {
    if let Some(erased) = unit.get::<ErasedUser>(user_id) {
        let purge_at = Some(unit.now());
        unit.put(
            user_id,
            ErasedUser {
                purge_at,
                ..ErasedUser::clone(&erased)
            },
        );
    }
}

/// Whether the user is gone, as far as this service has seen.
pub fn is_erased(unit: &mut Unit<'_>, user_id: UserId) -> bool {
    unit.get::<ErasedUser>(user_id).is_some()
}

/// What a service deletes of a person. The store's files are scrubbed after it.
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
    let refusals = Refusals {
        engine: engine.clone(),
        verifier: Arc::clone(verifier),
    };
    let since = engine.clock().now() - TOKENS_OUTLIVED;
    let latest = refusals.refuse(since).await?.unwrap_or(since);
    if engine.is_shared() {
        engine.spawn(|stop| refusals.follow(latest, stop));
    }
    engine.watch(Arc::new(Purges {
        engine: engine.clone(),
        verifier: Arc::clone(verifier),
        purge,
    }));
    Ok(())
}

/// Whose tokens are refused, whichever replica has seen that they are gone.
struct Refusals {
    engine: Engine,
    verifier: Arc<Verifier>,
}

impl Refusals {
    /// Refuses those who were erased since then, and says when the latest was.
    async fn refuse(&self, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let mut latest = Query::by(ErasedUser::COLLECTION, "by_erased", Vec::new(), LATEST_MAX);
        latest.range = (Bound::Included(since.into()), Bound::Unbounded);
        latest.descending = true;
        let erased = self.engine.reader().query::<ErasedUser>(&latest).await?;
        for (_, erased) in &erased {
            self.verifier
                .refuse_user(erased.user_id, erased.erased_at + TOKENS_OUTLIVED);
        }
        Ok(erased.first().map(|(_, latest)| latest.erased_at))
    }

    /// Another replica may have noted and purged a user without this one's seeing the event.
    async fn follow(self, mut latest: Timestamp, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.engine.clock().sleep(POLL) => {}
            }
            match self.refuse(latest - CLOCKS_APART_MAX).await {
                Ok(newest) => latest = newest.map_or(latest, |newest| newest.max(latest)),
                Err(error) => tracing::warn!(%error, "erased users cannot be looked up"),
            }
        }
    }
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
    /// At once, always: also what was noted before the clock was set back.
    fn due(&self, _: Timestamp) -> Query {
        let mut query = Query::by(ErasedUser::COLLECTION, "by_purge", Vec::new(), DUE_MAX);
        query.range = (Bound::Unbounded, Bound::Included(Timestamp::MAX.into()));
        query
    }

    async fn expire(&self, ids: Vec<Arc<str>>) -> Expired {
        let users: Vec<UserId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        // All of them first: what one has left may take long to delete.
        for &user in &users {
            self.verifier
                .refuse_user(user, self.engine.clock().now() + TOKENS_OUTLIVED);
        }
        let (mut purged, mut outcome) = (Vec::new(), Ok(()));
        for user in users {
            match self.purge(user).await {
                Ok(()) => purged.push(user),
                Err(undone) => outcome = Err(undone),
            }
        }
        self.conclude(purged).await?;
        outcome
    }
}

impl Purges {
    async fn purge(&self, user: UserId) -> Expired {
        idempotency::erase(&self.engine, &user.to_string()).await?;
        self.purge.purge(user).await
    }

    /// Rids the files of what was deleted, then notes that nothing is left to do; unless there is more by now.
    async fn conclude(&self, users: Vec<UserId>) -> Expired {
        let reader = self.engine.reader();
        let before = reader.get_many::<ErasedUser>(&users).await?;
        reader.store().scrub().await?;
        let concluded = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("erasure"), move |unit| {
                unit.load::<ErasedUser>(&users);
                for (user, before) in users.iter().zip(&before) {
                    let erased = unit.get::<ErasedUser>(user);
                    let (Some(erased), Some(before)) = (erased, before) else {
                        continue;
                    };
                    if erased.purge_at == before.purge_at {
                        unit.put(
                            user,
                            ErasedUser {
                                purge_at: None,
                                ..ErasedUser::clone(&erased)
                            },
                        );
                    }
                }
                Ok::<(), writer::Error>(())
            });
        Ok(concluded.await?)
    }
}
