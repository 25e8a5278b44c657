//! Given, when, then: an aggregate's decisions tested without a host.

use std::fmt::Debug;

use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::event::StreamId;

/// An aggregate with a history, at a time.
#[derive(Clone, Debug)]
pub struct Given<A> {
    state: Option<A>,
    version: u64,
    now: Timestamp,
}

/// The time at which histories happen unless a test says otherwise.
pub const NOON: &str = "2026-01-01T12:00:00Z";

/// Nothing has happened yet.
#[must_use]
pub fn nothing<A: Aggregate>() -> Given<A> {
    Given {
        state: None,
        version: 0,
        now: NOON.parse().expect("a constant time"),
    }
}

/// These events have happened, one second apart.
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    history.into_iter().fold(nothing(), Given::and)
}

impl<A: Aggregate> Given<A> {
    /// One more event has happened, a second later.
    #[must_use]
    pub fn and(mut self, event: A::Event) -> Self {
        self.version += 1;
        self.now += jiff::SignedDuration::from_secs(1);
        let at = Occurrence {
            stream: &StreamId::new("test"),
            version: self.version,
            time: self.now,
        };
        A::apply(&mut self.state, &event, &at);
        self
    }

    /// It is now this time.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The state that the history folds to.
    #[must_use]
    pub fn state(&self) -> Option<&A> {
        self.state.as_ref()
    }

    /// The decision on a command.
    pub fn when(self, command: A::Command) -> Then<A> {
        let decision = A::decide(self.state.as_ref(), command, self.now);
        Then { given: self, decision }
    }
}

/// A decision, to be compared.
#[derive(Debug)]
pub struct Then<A: Aggregate> {
    given: Given<A>,
    decision: Result<Vec<A::Event>, A::Error>,
}

impl<A: Aggregate> Then<A>
where
    A::Event: Debug + PartialEq,
    A::Error: Debug,
{
    /// It happens, exactly so. Answers the aggregate after it.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        match self.decision {
            Ok(events) => {
                assert_eq!(events, expected);
                events.into_iter().fold(self.given, Given::and)
            }
            Err(error) => panic!("refused with {error:?}, expected {expected:?}"),
        }
    }

    /// It is already so.
    #[track_caller]
    pub fn then_nothing(self) -> Given<A> {
        self.then([])
    }

    /// It is refused. Answers why, to be matched.
    #[track_caller]
    pub fn then_refused(self) -> A::Error {
        match self.decision {
            Err(error) => error,
            Ok(events) => panic!("expected a refusal, got {events:?}"),
        }
    }
}
