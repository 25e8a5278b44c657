//! `Idempotency-Key`: the answer to a request is recorded in the commit of its effect, and given again to a repetition.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::context::{Claim, Context};
use crate::deadline::{Deadline, Expired};
use crate::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use crate::engine::Engine;
use crate::store::Query;
use crate::unit::Unit;
use crate::writer::{self, Priority};

/// How long an answer is kept.
pub const ANSWER_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The recorded answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    principal: Arc<str>,
    fingerprint: Arc<str>,
    expires_at: Timestamp,
    state: State,
}

/// Externally tagged, since raw JSON can be read back from no other form of enum.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Work that outlasts one commit is under way for this subject.
    Pending(Arc<str>),
    /// The result, as JSON of the use case's own type.
    Answered(Box<RawValue>),
}

impl Document for Answer {
    const COLLECTION: &'static Collection = &Collection {
        name: "idempotency",
        kind: Kind::Record,
        columns: &[
            Column {
                name: "principal",
                column_type: ColumnType::Text,
            },
            Column {
                name: "expires_at",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[
            Index {
                name: "by_principal",
                columns: &["principal"],
            },
            Index {
                name: "by_expiry",
                columns: &["expires_at"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        vec![Value::Text(Arc::clone(&self.principal)), self.expires_at.into()]
    }
}

/// What is known of a claim.
#[derive(Debug)]
pub enum Known<R> {
    /// Nobody used the key, or there is none: carry the command out.
    New,
    /// It led to work for this subject, which has no outcome yet.
    Pending(Arc<str>),
    /// It was answered.
    Answered(R),
}

/// Looks the unit's claim up. Another request under the same key is refused.
pub fn look_up<R: DeserializeOwned>(unit: &mut Unit<'_>) -> Result<Known<R>, writer::Error> {
    let Some(claim) = unit.origin().claim.clone() else {
        return Ok(Known::New);
    };
    let Some(answer) = unit.get::<Answer>(&claim.id) else {
        return Ok(Known::New);
    };
    if answer.expires_at <= unit.now() {
        return Ok(Known::New);
    }
    if answer.fingerprint != claim.fingerprint {
        return Err(writer::Error::KeyReused);
    }
    match &answer.state {
        State::Pending(subject) => Ok(Known::Pending(Arc::clone(subject))),
        State::Answered(result) => {
            let result = serde_json::from_str(result.get());
            result
                .map(Known::Answered)
                .map_err(|error| writer::Error::Corrupt(error.to_string().into()))
        }
    }
}

/// Records that work for `subject` is under way under this claim; [`answer`] ends it.
pub fn pend(unit: &mut Unit<'_>, claim: &Claim, subject: Arc<str>) {
    record(unit, claim, State::Pending(subject));
}

/// Records the answer to a claim.
pub fn answer<R: Serialize>(unit: &mut Unit<'_>, claim: &Claim, result: &R) -> Result<(), writer::Error> {
    let result = serde_json::value::to_raw_value(result);
    let result = result.map_err(|error| writer::Error::Corrupt(error.to_string().into()))?;
    record(unit, claim, State::Answered(result));
    Ok(())
}

fn record(unit: &mut Unit<'_>, claim: &Claim, state: State) {
    let answer = Answer {
        principal: Arc::clone(&claim.principal),
        fingerprint: Arc::clone(&claim.fingerprint),
        expires_at: unit.now() + ANSWER_KEPT,
        state,
    };
    unit.put(&claim.id, answer);
}

impl writer::Writer {
    /// Carries out a client's command once per idempotency key: a repetition gets the first answer again, from the same
    /// commit. Refusals are not recorded: they changed nothing and are decided again.
    pub async fn answer<R, E, F>(&self, context: Context, mut decide: F) -> Result<R, E>
    where
        R: Serialize + DeserializeOwned + Send + 'static,
        E: From<writer::Error> + Send + 'static,
        F: FnMut(&mut Unit<'_>) -> Result<R, E> + Send + 'static,
    {
        let once = move |unit: &mut Unit<'_>| {
            let missing = unit.missing();
            match look_up(unit)? {
                Known::Answered(result) => return Ok(result),
                Known::Pending(_) => return Err(writer::Error::InProgress.into()),
                // The answer must be read first: this run counts for nothing, so the decision is spared.
                Known::New if unit.missing() > missing => return Err(writer::Error::InProgress.into()),
                Known::New => {}
            }
            let result = decide(unit)?;
            if let Some(claim) = unit.origin().claim.clone() {
                answer(unit, &claim, &result)?;
            }
            Ok(result)
        };
        self.execute(Priority::Client, context, once).await
    }
}

/// Deletes answers whose time is over.
#[derive(Debug)]
pub(crate) struct Expiry {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Deadline for Expiry {
    fn due(&self, now: Timestamp) -> Query {
        let mut query = Query::by(Answer::COLLECTION, "by_expiry", Vec::new(), crate::deadline::DUE_MAX);
        query.range = (Bound::Unbounded, Bound::Included(now.into()));
        query
    }

    async fn expire(&self, ids: Vec<Arc<str>>) -> Expired {
        self.engine.forget::<Answer>(ids).await
    }
}

/// Deletes every answer that was given to `principal`.
pub(crate) async fn erase(engine: &Engine, principal: &str) -> Expired {
    loop {
        let query = Query::by(
            Answer::COLLECTION,
            "by_principal",
            vec![principal.into()],
            crate::deadline::DUE_MAX,
        );
        let found = engine.reader().query::<Answer>(&query).await?;
        if found.is_empty() {
            return Ok(());
        }
        engine
            .forget::<Answer>(found.into_iter().map(|(id, _)| id).collect())
            .await?;
    }
}
