//! Access events (`user.viewed`, `order.viewed`): that somebody read something. At most once, on live streams only;
//! never journaled, so that reads stay reads.
//!
//! Services [`record`](AccessEvents::record) them, and whoever serves a live stream [`subscribe`](AccessEvents::subscribe)s
//! for as long as the stream is open. They join what runs in one process.

use std::fmt::{self, Display};
use std::sync::Arc;

use contracts::{EventId, PublicEvent, Service};
use jiff::Timestamp;
use metrics::counter;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock::{Clock, Ids};
use crate::context::Context;
use crate::event::{Actor, StreamId};

/// Access events that wait for the slowest stream; with one more, it misses the oldest.
pub const ACCESSES_QUEUED_MAX: usize = 1024;

/// That somebody read something.
#[derive(Clone, Debug)]
pub struct Access {
    /// Unique for ever, like any event's.
    pub id: EventId,
    /// Whose resource was read.
    pub source: Service,
    /// What was read: the id of its aggregate.
    pub stream: StreamId,
    /// When.
    pub time: Timestamp,
    /// The event.
    pub event: PublicEvent,
    /// Who read it.
    pub actor: Actor,
    /// Within which request.
    pub correlation: Arc<str>,
    /// W3C `traceparent`.
    pub trace: Option<Arc<str>>,
}

/// The channel of a process; cheap to clone.
#[derive(Clone)]
pub struct AccessEvents {
    sender: broadcast::Sender<Arc<Access>>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
}

impl fmt::Debug for AccessEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessEvents")
            .field("streams", &self.sender.receiver_count())
            .finish_non_exhaustive()
    }
}

impl AccessEvents {
    /// A channel that nobody listens to yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Self {
        Self {
            sender: broadcast::Sender::new(ACCESSES_QUEUED_MAX),
            clock,
            ids,
        }
    }

    /// Tells the live streams. Never waits, and costs next to nothing while there is none.
    pub fn record(&self, source: Service, subject: impl Display, event: impl Into<PublicEvent>, context: &Context) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let time = self.clock.now();
        let access = Access {
            id: EventId::from_uuid(self.ids.uuid(time)),
            source,
            stream: StreamId::new(subject.to_string()),
            time,
            event: event.into(),
            actor: Arc::clone(&context.actor),
            correlation: Arc::clone(&context.correlation),
            trace: context.trace.clone(),
        };
        // The last stream may have just closed; then nobody misses it.
        let _ = self.sender.send(Arc::new(access));
    }

    /// What is recorded from now on.
    #[must_use]
    pub fn subscribe(&self) -> Accesses {
        Accesses {
            receiver: self.sender.subscribe(),
        }
    }
}

/// The access events of one live stream.
#[derive(Debug)]
pub struct Accesses {
    receiver: broadcast::Receiver<Arc<Access>>,
}

impl Accesses {
    /// Waits for the next one; `None` when the process ends. What a slow stream missed is counted, and gone. Safe to drop
    /// while waiting.
    pub async fn next(&mut self) -> Option<Arc<Access>> {
        loop {
            match self.receiver.recv().await {
                Ok(access) => return Some(access),
                Err(RecvError::Lagged(missed)) => counter!("access_events_dropped_total").increment(missed),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::{UserId, user};
    use uuid::Uuid;

    use super::*;
    use crate::clock::ManualClock;

    fn channel() -> AccessEvents {
        let clock = ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap());
        AccessEvents::new(Arc::new(clock), Arc::new(Ids::from_seed(1)))
    }

    fn view(events: &AccessEvents, number: u128) {
        let user_id = UserId::from_uuid(Uuid::from_u128(number));
        events.record(
            Service::Users,
            user_id,
            user::Viewed { user_id },
            &Context::system("request"),
        );
    }

    #[tokio::test]
    async fn a_stream_sees_what_happens_while_it_is_open() {
        let events = channel();
        view(&events, 1);
        let mut stream = events.subscribe();
        view(&events, 2);
        drop(events);
        let seen = stream.next().await.unwrap();
        assert_eq!(seen.stream.as_str(), UserId::from_uuid(Uuid::from_u128(2)).to_string());
        assert_eq!((&*seen.actor, &*seen.correlation), ("system", "request"));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_stream_misses_the_oldest_and_nobody_waits_for_it() {
        let events = channel();
        let mut slow = events.subscribe();
        let queued = ACCESSES_QUEUED_MAX as u128;
        (0..queued + 10).for_each(|number| view(&events, number));
        let first = slow.next().await.unwrap();
        assert_eq!(
            first.stream.as_str(),
            UserId::from_uuid(Uuid::from_u128(10)).to_string()
        );
    }
}
