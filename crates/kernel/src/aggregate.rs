//! The pure part: what may happen to an aggregate, and what it then is.

use contracts::EventData;
use jiff::Timestamp;

use crate::document::Document;
use crate::event::StreamId;
use crate::unit::Views;

/// An aggregate's state and rules. Both functions are synchronous and pure: time and ids come in as arguments.
pub trait Aggregate: Document {
    /// Imperative: what is asked for, with the facts that the decision needs.
    type Command;
    /// Past tense: what happened.
    type Event: Projected;
    /// Why something is refused.
    type Error;

    /// The version of the aggregate's stream: how many of its events are folded into this state.
    fn version(&self) -> u64;

    /// `Err` is a refusal, an empty vector means "already so"; `None` is an aggregate that does not exist yet.
    fn decide(state: Option<&Self>, command: Self::Command, now: Timestamp) -> Result<Vec<Self::Event>, Self::Error>;

    /// Folds one event. It cannot fail: what was decided has happened.
    fn apply(state: &mut Option<Self>, event: &Self::Event, at: &Occurrence<'_>);
}

/// When and where an event happened.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence<'a> {
    /// The aggregate's stream.
    pub stream: &'a StreamId,
    /// The event's place in it, from 1.
    pub version: u64,
    /// When it was decided.
    pub time: Timestamp,
}

/// Events that know which views they change. This is the one fold: the writer runs it for new events, `rebuild` for old.
pub trait Projected: EventData {
    /// Folds the event into the views that follow it.
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>);
}
