//! Sessions: a sign-in and the family of refresh tokens that stem from it.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use contracts::UserId;
use jiff::{SignedDuration, Timestamp};
use kernel::context::Context;
use kernel::deadline::{DUE_MAX, Deadline, Expired};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use kernel::engine::Engine;
use kernel::store::Query;
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};

use crate::records::Credential;
use crate::refresh_token::TokenHash;

/// How long a refresh token can be used, and so how long a session lasts after its last use.
pub const REFRESH_TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A token that is used again within this time, because its answer was lost on the way, gets a sibling.
pub const REPEAT_ALLOWED: SignedDuration = SignedDuration::from_secs(10);
/// Refresh tokens of one session that can be used at once. Repeats in such number are no accident.
const LIVE_TOKENS_MAX: usize = 16;
/// Spent tokens of one session that are remembered for their repeat.
const SPENT_TOKENS_MAX: usize = 16;

/// A sign-in that is still good. When it ends, it is deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) user_id: UserId,
    /// The generation of the password that it began with.
    pub(crate) credential: u32,
    /// The end of its last token.
    expires_at: Timestamp,
    /// Tokens that can be used.
    live: Vec<Live>,
    /// Tokens that were used a moment ago.
    spent: Vec<Spent>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Live {
    hash: TokenHash,
    expires_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Spent {
    hash: TokenHash,
    at: Timestamp,
}

/// What becomes of a session when one of its tokens is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// The token is spent, and its successor can be used.
    Rotated,
    /// The token was spent before: somebody has a copy of it.
    Reused,
}

impl Document for Session {
    const COLLECTION: &'static Collection = &Collection {
        name: "sessions",
        kind: Kind::Record,
        columns: &[
            Column {
                name: "user_id",
                column_type: ColumnType::Text,
            },
            Column {
                name: "expires_at",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[
            Index {
                name: "by_user",
                columns: &["user_id"],
            },
            Index {
                name: "by_expiry",
                columns: &["expires_at"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        vec![self.user_id.to_string().into(), self.expires_at.into()]
    }
}

impl Session {
    /// A session with its first token.
    pub(crate) fn begin(user_id: UserId, credential: u32, first: TokenHash, now: Timestamp) -> Self {
        let expires_at = now + REFRESH_TOKEN_LIFETIME;
        Self {
            user_id,
            credential,
            expires_at,
            live: vec![Live {
                hash: first,
                expires_at,
            }],
            spent: Vec::new(),
        }
    }

    /// The same session, going on under a new password.
    pub(crate) fn under(&self, credential: u32) -> Self {
        Self {
            credential,
            ..self.clone()
        }
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Uses a token of this session, which we know to have issued, and admits its successor.
    pub(crate) fn rotate(&mut self, used: &TokenHash, successor: TokenHash, now: Timestamp) -> Rotation {
        self.live.retain(|token| token.expires_at > now);
        self.spent.retain(|token| now.duration_since(token.at) < REPEAT_ALLOWED);
        if let Some(place) = self.live.iter().position(|token| token.hash == *used) {
            let Live { hash, .. } = self.live.remove(place);
            if self.spent.len() >= SPENT_TOKENS_MAX {
                self.spent.remove(0);
            }
            self.spent.push(Spent { hash, at: now });
        } else if !self.spent.iter().any(|token| token.hash == *used) || self.live.len() >= LIVE_TOKENS_MAX {
            return Rotation::Reused;
        }
        self.expires_at = now + REFRESH_TOKEN_LIFETIME;
        self.live.push(Live {
            hash: successor,
            expires_at: self.expires_at,
        });
        Rotation::Rotated
    }
}

/// Deletes sessions whose last token has ended.
#[derive(Debug)]
pub(crate) struct Expiry {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Deadline for Expiry {
    fn due(&self, now: Timestamp) -> Query {
        let mut query = Query::by(Session::COLLECTION, "by_expiry", Vec::new(), DUE_MAX);
        query.range = (Bound::Unbounded, Bound::Included(now.into()));
        query
    }

    async fn expire(&self, ids: Vec<Arc<str>>) -> Expired {
        let expired =
            self.engine
                .writer()
                .execute(Priority::Background, Context::system("session-expiry"), move |unit| {
                    unit.load::<Session>(&ids);
                    for id in &ids {
                        if unit
                            .get::<Session>(id)
                            .is_some_and(|session| session.is_over(unit.now()))
                        {
                            unit.delete::<Session>(id);
                        }
                    }
                    Ok::<(), writer::Error>(())
                });
        Ok(expired.await?)
    }
}

/// Deletes the sessions of a user whose password is another by now, or who is gone.
pub(crate) async fn end_stale(engine: &Engine, user: UserId) -> Expired {
    let mut query = Query::by(Session::COLLECTION, "by_user", vec![user.to_string().into()], DUE_MAX);
    loop {
        let found = engine.reader().find(&query).await?;
        let ids: Vec<Arc<str>> = found.iter().map(|found| Arc::clone(&found.id)).collect();
        let ended = engine
            .writer()
            .execute(Priority::Background, Context::system("sessions"), move |unit| {
                let credential = unit.get::<Credential>(user);
                unit.load::<Session>(&ids);
                for id in &ids {
                    let session = unit.get::<Session>(id);
                    let good = session
                        .zip(credential.as_ref())
                        .is_some_and(|(session, it)| session.credential == it.generation);
                    if !good {
                        unit.delete::<Session>(id);
                    }
                }
                Ok::<(), writer::Error>(())
            });
        ended.await?;
        match found.last() {
            Some(last) if found.len() >= DUE_MAX => query.after = Some((last.sort.clone(), Arc::clone(&last.id))),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn token(number: u8) -> TokenHash {
        TokenHash::of(&[number; 32])
    }

    fn noon() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    fn session() -> Session {
        Session::begin(UserId::from_uuid(Uuid::nil()), 1, token(0), noon())
    }

    #[test]
    fn each_token_is_used_once_and_leads_to_the_next() {
        let mut session = session();
        for number in 0..100 {
            let now = noon() + seconds(i64::from(number) * 900);
            assert_eq!(
                session.rotate(&token(number), token(number + 1), now),
                Rotation::Rotated
            );
            assert_eq!((session.live.len(), session.spent.len()), (1, 1));
        }
    }

    #[test]
    fn a_spent_token_is_reuse_however_old_it_is() {
        let mut session = session();
        for number in 0..5 {
            session.rotate(
                &token(number),
                token(number + 1),
                noon() + seconds(i64::from(number) * 900),
            );
        }
        for number in 0..5 {
            let later = noon() + seconds(5000);
            assert_eq!(
                session.clone().rotate(&token(number), token(99), later),
                Rotation::Reused,
                "{number}"
            );
        }
    }

    #[test]
    fn a_repeat_within_ten_seconds_gets_a_sibling_and_not_a_moment_later() {
        let mut session = session();
        session.rotate(&token(0), token(1), noon());
        let within = noon() + seconds(10) - SignedDuration::from_micros(1);
        assert_eq!(
            session.clone().rotate(&token(0), token(2), noon() + seconds(10)),
            Rotation::Reused
        );
        assert_eq!(session.rotate(&token(0), token(2), within), Rotation::Rotated);
        // Both of them are good.
        assert_eq!(session.rotate(&token(1), token(3), within), Rotation::Rotated);
        assert_eq!(session.rotate(&token(2), token(4), within), Rotation::Rotated);
        assert_eq!(session.live.len(), 2);
        // The repeat does not prolong the time for repeats.
        assert_eq!(
            session.rotate(&token(0), token(5), noon() + seconds(10)),
            Rotation::Reused
        );
    }

    #[test]
    fn repeats_without_end_are_reuse() {
        let mut session = session();
        session.rotate(&token(0), token(1), noon());
        let rotations: Vec<_> = (2..40)
            .map(|number| session.rotate(&token(0), token(number), noon()))
            .collect();
        let siblings = rotations
            .iter()
            .filter(|rotation| **rotation == Rotation::Rotated)
            .count();
        assert_eq!(siblings, LIVE_TOKENS_MAX - 1);
        assert_eq!(session.live.len(), LIVE_TOKENS_MAX);
    }

    #[test]
    fn a_session_stays_small_however_often_it_is_refreshed() {
        let mut session = session();
        for number in 0..200 {
            session.rotate(&token(number), token(number + 1), noon());
        }
        assert_eq!((session.live.len(), session.spent.len()), (1, SPENT_TOKENS_MAX));
    }

    #[test]
    fn a_sibling_that_nobody_uses_ends_by_itself() {
        let mut session = session();
        session.rotate(&token(0), token(1), noon());
        session.rotate(&token(0), token(2), noon());
        let later = noon() + REFRESH_TOKEN_LIFETIME - seconds(1);
        session.rotate(&token(1), token(3), later);
        assert!(!session.is_over(later + seconds(2)));
        assert_eq!(
            session.rotate(&token(2), token(4), later + seconds(2)),
            Rotation::Reused
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_used_after_it_was_found_due_is_not_deleted() {
        let harness = testkit::harness::Harness::new(contracts::Service::Users, crate::COLLECTIONS).await;
        let engine = harness.engine();
        let begun = engine
            .writer()
            .execute(Priority::Client, Context::system("test"), |unit| {
                let now = unit.now();
                let session = |at| Session::begin(UserId::from_uuid(Uuid::nil()), 1, token(0), at);
                unit.put("used", session(now));
                unit.put("over", session(now - REFRESH_TOKEN_LIFETIME));
                Ok::<(), writer::Error>(())
            });
        begun.await.unwrap();
        let expiry = Expiry { engine: engine.clone() };
        expiry
            .expire(vec!["used".into(), "over".into(), "gone".into()])
            .await
            .unwrap();
        let left = engine.reader().get_many::<Session>(["used", "over"]).await.unwrap();
        assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    }
}
