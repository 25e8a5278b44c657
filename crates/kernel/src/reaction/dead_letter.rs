//! Dead letters: events that a consumer could not handle, parked in order per stream, until a named actor retries or
//! discards them.

use std::sync::Arc;

use contracts::{DeadLetterId, Page, Problem, Service, log};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bus::{Group, Message};
use crate::context::Context;
use crate::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use crate::engine::Engine;
use crate::event::{Actor, Epoch, Recorded, StreamId};
use crate::http::Paging;
use crate::idempotency::{self, Known};
use crate::reaction::batch::attempt;
use crate::reaction::{Checkpoint, Failed, Reaction, checkpoint_id};
use crate::store::{Query, StoreError};
use crate::unit::Unit;
use crate::writer::{self, Priority};

/// Letters of one stream retried in one commit.
const RETRY_MAX: usize = 64;

/// An event that its consumer could not handle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// The consumer's name within its service.
    pub consumer: Arc<str>,
    /// The service whose event it is.
    pub source: Service,
    /// The source journal's life.
    pub epoch: Epoch,
    /// The event.
    pub event: Recorded,
    /// Why it could not be handled, the last time it was tried.
    pub reason: String,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// Tries by a named actor since.
    pub retries: u32,
    /// Who discarded it, and when; it is kept for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded: Option<Discarded>,
}

/// Who gave an event up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Discarded {
    /// The actor.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

impl Document for DeadLetter {
    const COLLECTION: &'static Collection = &Collection {
        name: "dead_letters",
        kind: Kind::Record,
        columns: &[
            Column {
                name: "open",
                column_type: ColumnType::Integer,
            },
            Column {
                name: "parked_stream",
                column_type: ColumnType::Text,
            },
            Column {
                name: "position",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[
            Index {
                name: "by_open",
                columns: &["open"],
            },
            Index {
                name: "by_parked_stream",
                columns: &["parked_stream", "position"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        if self.discarded.is_some() {
            return vec![Value::Null, Value::Null, Value::Null];
        }
        let position = i64::try_from(self.event.position.0).expect("a position fits in 63 bits");
        vec![Value::Integer(1), self.parked_stream().into(), position.into()]
    }
}

impl DeadLetter {
    fn parked_stream(&self) -> String {
        format!("{}/{}/{}", self.consumer, self.source, self.event.stream)
    }
}

/// Marks a stream whose events are parked, so that later ones queue up behind. Runner and retry both change it, so that
/// one of them notices the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParkedStream {
    letters: u64,
}

impl Document for ParkedStream {
    const COLLECTION: &'static Collection = &Collection {
        name: "parked_streams",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// The id of a [`ParkedStream`].
pub(crate) fn stream_key(group: &Group, stream: &StreamId) -> String {
    format!("{}/{}/{stream}", group.consumer, group.source)
}

/// Parks a message, behind those of its stream that are parked already. The caller moves the checkpoint.
pub(crate) fn park(unit: &mut Unit<'_>, group: &Group, message: &Message, reason: String) {
    let id = DeadLetterId::new(group.service, unit.uuid());
    let letter = DeadLetter {
        id,
        consumer: group.consumer.into(),
        source: group.source,
        epoch: message.epoch,
        event: Recorded::clone(&message.event),
        reason,
        parked_at: unit.now(),
        retries: 0,
        discarded: None,
    };
    tracing::error!(%id, %group, event_type = %letter.event.event_type, reason = letter.reason, "an event is parked");
    let key = stream_key(group, &message.event.stream);
    let letters = unit.get::<ParkedStream>(&key).map_or(0, |parked| parked.letters);
    unit.put(&key, ParkedStream { letters: letters + 1 });
    unit.fresh::<DeadLetter>(id);
    unit.put(id, letter);
}

/// Why a dead letter was not retried or discarded.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// There is no open dead letter of this id.
    #[error("there is no dead letter {0}")]
    Unknown(DeadLetterId),
    /// An earlier event of the same stream is parked; it comes first.
    #[error("{first} is an earlier event of the same stream; retry or discard that first")]
    Behind {
        /// The stream's first dead letter.
        first: DeadLetterId,
    },
    /// It was tried, and failed again.
    #[error("it failed again: {0}")]
    StillFails(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The command was not carried out.
    #[error(transparent)]
    Write(#[from] writer::Error),
}

/// The dead letters of one service.
#[derive(Clone)]
pub struct DeadLetters {
    engine: Engine,
    reactions: Arc<Vec<Arc<dyn Reaction>>>,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl DeadLetters {
    pub(crate) fn new(engine: Engine, reactions: Arc<Vec<Arc<dyn Reaction>>>) -> Self {
        Self { engine, reactions }
    }

    /// Whose they are.
    #[must_use]
    pub fn service(&self) -> Service {
        self.engine.service()
    }

    /// A page of the open dead letters, oldest first.
    pub async fn list(&self, paging: &Paging) -> Result<Page<log::DeadLetter>, Problem> {
        let query = Query::by(DeadLetter::COLLECTION, "by_open", vec![Value::Integer(1)], 0);
        let found = self.engine.reader().find(&paging.apply(query)?).await?;
        let mut firsts = Vec::with_capacity(found.len());
        for found in &found {
            let letter = self.engine.reader().document::<DeadLetter>(found)?;
            let first = letters_behind(&self.engine, &letter, 1)
                .await?
                .first()
                .map_or(letter.id, |first| first.id);
            firsts.push(letter.shown(first));
        }
        let mut shown = firsts.into_iter();
        paging.page(found, |_| {
            Ok(shown.next().expect("one is shown for each that was found"))
        })
    }

    /// Tries the letter again, then those behind it, until one fails. Answers how many were handled.
    pub async fn retry(&self, id: DeadLetterId, context: Context) -> Result<u64, LetterError> {
        if let Some(handled) = self.answered(&context).await? {
            return Ok(handled);
        }
        let mut handled = 0;
        let mut next = Some(self.first_of_stream(id).await?);
        while let Some(letter) = next {
            let letters = letters_behind(&self.engine, &letter, RETRY_MAX).await?;
            handled = self.retry_some(letter.id, letters, handled, &context).await?;
            let behind = letters_behind(&self.engine, &letter, RETRY_MAX).await?;
            next = behind.into_iter().next();
        }
        Ok(handled)
    }

    /// The answer to an earlier request with the same idempotency key. The letter that it was about may be gone.
    async fn answered<R: DeserializeOwned + Send + 'static>(
        &self,
        context: &Context,
    ) -> Result<Option<R>, LetterError> {
        let writer = self.engine.writer();
        let known = writer.execute(Priority::Client, context.clone(), |unit| {
            Ok::<_, LetterError>(match idempotency::look_up(unit)? {
                Known::Answered(answer) => Some(answer),
                Known::New | Known::Pending(_) => None,
            })
        });
        known.await
    }

    async fn retry_some(
        &self,
        first: DeadLetterId,
        letters: Vec<Arc<DeadLetter>>,
        handled_before: u64,
        context: &Context,
    ) -> Result<u64, LetterError> {
        let are_last = letters.len() < RETRY_MAX;
        let reactions = Arc::clone(&self.reactions);
        let service = self.engine.service();
        let tried = self
            .engine
            .writer()
            .execute(Priority::Background, context.clone(), move |unit| {
                let mut handled = handled_before;
                unit.load::<DeadLetter>(letters.iter().map(|letter| letter.id));
                for letter in &letters {
                    let Some(current) = unit
                        .get::<DeadLetter>(letter.id)
                        .filter(|letter| letter.discarded.is_none())
                    else {
                        if letter.id == first {
                            return Err(LetterError::Unknown(first));
                        }
                        break;
                    };
                    let reaction = reactions.iter().find(|reaction| reaction.name() == &*letter.consumer);
                    let reaction =
                        reaction.ok_or_else(|| LetterError::StillFails("its consumer is gone".to_owned()))?;
                    let group = Group {
                        service,
                        consumer: reaction.name(),
                        source: letter.source,
                    };
                    let message = Message {
                        source: letter.source,
                        epoch: letter.epoch,
                        event: Arc::new(letter.event.clone()),
                    };
                    match attempt(reaction.as_ref(), &group, unit, &message) {
                        Ok(()) => {
                            handled += 1;
                            remove(unit, &group, &current, |checkpoint| checkpoint.applied += 1);
                            unit.delete::<DeadLetter>(current.id);
                        }
                        Err(Failed::Poison(reason) | Failed::Wait(reason)) => {
                            let mut current = DeadLetter::clone(&current);
                            current.retries += 1;
                            current.reason.clone_from(&reason);
                            unit.put(current.id, current);
                            return Ok((handled, Some(reason)));
                        }
                    }
                }
                if let Some(claim) = unit.origin().claim.clone().filter(|_| are_last) {
                    idempotency::answer(unit, &claim, &handled)?;
                }
                Ok((handled, None))
            });
        match tried.await? {
            (handled, None) => Ok(handled),
            (_, Some(reason)) => Err(LetterError::StillFails(reason)),
        }
    }

    /// Gives the letter up, in the actor's name. Those behind it can be retried then.
    pub async fn discard(&self, id: DeadLetterId, context: Context) -> Result<(), LetterError> {
        if let Some(()) = self.answered(&context).await? {
            return Ok(());
        }
        let letter = self.first_of_stream(id).await?;
        let service = self.engine.service();
        let by = Arc::clone(&context.actor);
        let reactions = Arc::clone(&self.reactions);
        let discarded = self.engine.writer().answer(context, move |unit| {
            let current = unit.get::<DeadLetter>(id).filter(|letter| letter.discarded.is_none());
            let current = current.ok_or(LetterError::Unknown(id))?;
            let consumer = reactions
                .iter()
                .map(|reaction| reaction.name())
                .find(|name| *name == &*letter.consumer);
            if let Some(consumer) = consumer {
                let group = Group {
                    service,
                    consumer,
                    source: letter.source,
                };
                remove(unit, &group, &current, |checkpoint| checkpoint.discarded += 1);
            }
            let discarded = Some(Discarded {
                by: Arc::clone(&by),
                at: unit.now(),
            });
            unit.put(
                id,
                DeadLetter {
                    discarded,
                    ..DeadLetter::clone(&current)
                },
            );
            Ok(())
        });
        discarded.await
    }

    async fn first_of_stream(&self, id: DeadLetterId) -> Result<Arc<DeadLetter>, LetterError> {
        let letter = self.engine.reader().get::<DeadLetter>(id).await?;
        let letter = letter
            .filter(|letter| letter.discarded.is_none())
            .ok_or(LetterError::Unknown(id))?;
        match letters_behind(&self.engine, &letter, RETRY_MAX).await?.first() {
            Some(first) if first.id != id => Err(LetterError::Behind { first: first.id }),
            _ => Ok(letter),
        }
    }
}

/// The open letters of a letter's stream, in order.
async fn letters_behind(
    engine: &Engine,
    letter: &DeadLetter,
    limit: usize,
) -> Result<Vec<Arc<DeadLetter>>, StoreError> {
    let stream = vec![letter.parked_stream().into()];
    let query = Query::by(DeadLetter::COLLECTION, "by_parked_stream", stream, limit);
    Ok(engine
        .reader()
        .query(&query)
        .await?
        .into_iter()
        .map(|(_, letter)| letter)
        .collect())
}

/// Takes a letter out of its stream and counts it otherwise.
fn remove(unit: &mut Unit<'_>, group: &Group, letter: &DeadLetter, count: impl FnOnce(&mut Checkpoint)) {
    let key = stream_key(group, &letter.event.stream);
    match unit.get::<ParkedStream>(&key).map_or(0, |parked| parked.letters) {
        0 | 1 => unit.delete::<ParkedStream>(&key),
        letters => unit.put(&key, ParkedStream { letters: letters - 1 }),
    }
    let id = checkpoint_id(group, letter.event.lane);
    if let Some(checkpoint) = unit.get::<Checkpoint>(&id) {
        let mut checkpoint = Checkpoint::clone(&checkpoint);
        checkpoint.parked = checkpoint.parked.saturating_sub(1);
        count(&mut checkpoint);
        unit.put(&id, checkpoint);
    }
}
