//! The unit of work: what a decision sees and does.

use std::fmt::{self, Display};
use std::sync::Arc;

use contracts::EventId;
use jiff::Timestamp;
use uuid::Uuid;

use crate::aggregate::{Aggregate, Occurrence, Projected};
use crate::clock::Ids;
use crate::context::Context;
use crate::document::Document;
use crate::effect::{EffectRecord, Intent, Tenure};
use crate::event::{Lane, Meta, NewEvent, StreamId};
use crate::overlay::{Fault, Overlay, Savepoint};
use crate::store::{ENVELOPE_BYTES_MAX, EVENT_BYTES_MAX};

/// What is the same for every command of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The time of its events: never before that of the last in the journal.
    pub(crate) now: Timestamp,
    /// What the leases of its effects go by.
    pub(crate) tenure: Tenure,
    pub(crate) ids: Arc<Ids>,
    pub(crate) lanes: u16,
}

/// One command's view of its service: documents to read and write, streams to append to.
///
/// A decision is a synchronous closure over it and may run several times: when a document that it asked for has to be
/// read from the store first (it then sees "absent", and that run counts for nothing), and when the commit conflicts.
/// So it must have no effect besides.
pub struct Unit<'a> {
    overlay: &'a mut Overlay,
    turn: &'a Turn,
    origin: &'a Context,
}

impl fmt::Debug for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit")
            .field("now", &self.turn.now)
            .field("origin", self.origin)
            .finish_non_exhaustive()
    }
}

impl<'a> Unit<'a> {
    pub(crate) fn new(overlay: &'a mut Overlay, turn: &'a Turn, origin: &'a Context) -> Self {
        Self { overlay, turn, origin }
    }

    /// The same unit, acting for another cause.
    pub fn within<'b>(&'b mut self, origin: &'b Context) -> Unit<'b> {
        Unit {
            overlay: self.overlay,
            turn: self.turn,
            origin,
        }
    }

    /// The batch's time, which is also the time of its events.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.turn.now
    }

    /// On whose behalf, and why.
    #[must_use]
    pub fn origin(&self) -> &Context {
        self.origin
    }

    /// A new UUIDv7, for ids: `OrderId::from_uuid(unit.uuid())`.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.turn.ids.uuid(self.turn.now)
    }

    /// The document under `id`, if there is one.
    pub fn get<D: Document>(&mut self, id: impl Display) -> Option<Arc<D>> {
        self.overlay.get(key(id))
    }

    /// Asks for several documents at once, so that they are read in one query rather than one after another.
    pub fn load<D: Document>(&mut self, ids: impl IntoIterator<Item = impl Display>) {
        for id in ids {
            self.overlay.load::<D>(key(id));
        }
    }

    /// Says that `id` was just drawn, so that its absence need not be read.
    pub fn fresh<D: Document>(&mut self, id: impl Display) {
        self.overlay.fresh::<D>(key(id));
    }

    /// Writes a replica or a record. (Views change by [`Unit::append`] alone.)
    pub fn put<D: Document>(&mut self, id: impl Display, document: D) {
        self.overlay.write(key(id), Some(document));
    }

    /// Deletes a replica or a record.
    pub fn delete<D: Document>(&mut self, id: impl Display) {
        self.overlay.write::<D>(key(id), None);
    }

    /// Lets the aggregate decide, appends its events and folds them. An empty answer means "already so".
    ///
    /// The aggregate's stream is its id.
    pub fn decide<A: Aggregate>(&mut self, id: impl Display, command: A::Command) -> Result<Vec<EventId>, A::Error> {
        let id = key(id);
        let state = self.overlay.get::<A>(Arc::clone(&id));
        let events = A::decide(state.as_deref(), command, self.turn.now)?;
        let mut version = state.map_or(0, |state| state.version());
        let appended = events.into_iter().map(|event| {
            version += 1;
            self.append(StreamId::new(Arc::clone(&id)), version, event)
        });
        Ok(appended.collect())
    }

    /// Appends an event to a stream, as its next `version`, and folds it into the views.
    pub fn append<E: Projected>(&mut self, stream: StreamId, version: u64, event: E) -> EventId {
        let at = Occurrence {
            stream: &stream,
            version,
            time: self.turn.now,
        };
        event.project(&at, &mut Views { overlay: self.overlay });
        let data = match event.encode() {
            Ok(data) => data,
            Err(error) => {
                self.overlay.fault = Some(Fault::Corrupt(error.to_string()));
                return EventId::from_uuid(Uuid::nil());
            }
        };
        let meta = Meta {
            schema: event.schema(),
            actor: Arc::clone(&self.origin.actor),
            correlation: Arc::clone(&self.origin.correlation),
            causation: self.origin.causation,
            trace: self.origin.trace.clone(),
        };
        let event = NewEvent {
            id: EventId::from_uuid(self.uuid()),
            lane: Lane::of(&stream, self.turn.lanes),
            stream,
            version,
            event_type: event.event_type().into(),
            time: self.turn.now,
            data,
            meta: Arc::new(meta),
        };
        self.push(event, EVENT_BYTES_MAX)
    }

    /// Appends an event that is no aggregate's own: a copy, or one of a type known only at run time.
    ///
    /// Its data may hold another event with its envelope, and be larger by that.
    pub fn record(&mut self, event: NewEvent) -> EventId {
        self.push(event, EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX)
    }

    fn push(&mut self, event: NewEvent, bytes_max: usize) -> EventId {
        let bytes = event.data.get().len();
        if bytes > bytes_max {
            self.overlay.fault = Some(Fault::EventTooLarge { bytes });
        }
        let id = event.id;
        self.overlay.events.push(event);
        id
    }

    /// The lane of a stream in this deployment.
    #[must_use]
    pub fn lane_of(&self, stream: &StreamId) -> Lane {
        Lane::of(stream, self.turn.lanes)
    }

    /// Journals the intent of an outside call, which runs after the commit and again until [`Unit::finish`] is committed.
    ///
    /// One intent per (kind, subject): asking again while it is open changes nothing.
    pub fn intend(&mut self, kind: &'static str, subject: impl Display) {
        let intent = Intent {
            kind: kind.into(),
            subject: key(subject),
        };
        let id = intent.id();
        if self.overlay.get::<EffectRecord>(Arc::clone(&id)).is_none() {
            let record = EffectRecord::started(intent, self.turn.tenure, self.origin);
            self.overlay.effects.push(record.attempt(self.turn.tenure));
            self.overlay.write(id, Some(record));
        }
    }

    /// Ends an intent, in the commit of its outcome. False if it was not open: somebody else has finished it.
    pub fn finish(&mut self, intent: &Intent) -> bool {
        let open = self.overlay.get::<EffectRecord>(intent.id()).is_some();
        if open {
            self.overlay.write::<EffectRecord>(intent.id(), None);
        }
        open
    }

    /// How many documents were asked for that are not in memory. If that grows, the run counts for nothing.
    pub(crate) fn missing(&self) -> usize {
        self.overlay.missing.len()
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        self.overlay.savepoint()
    }

    pub(crate) fn roll_back(&mut self, to: Savepoint) {
        self.overlay.roll_back(to);
    }

    /// Ends a command early because what it asked for cannot be stored; used by a part of a command that is refused alone.
    pub(crate) fn take_fault(&mut self) -> Option<Fault> {
        self.overlay.fault.take()
    }
}

/// What an event may change: the views of its service.
pub struct Views<'a> {
    pub(crate) overlay: &'a mut Overlay,
}

impl fmt::Debug for Views<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

impl Views<'_> {
    /// Folds an aggregate's own event into its state.
    pub fn apply<A: Aggregate>(&mut self, event: &A::Event, at: &Occurrence<'_>) {
        self.overlay
            .update::<A>(key(at.stream), |state| A::apply(state, event, at));
    }

    /// Changes any other view.
    pub fn update<D: Document>(&mut self, id: impl Display, change: impl FnOnce(&mut Option<D>)) {
        self.overlay.update(key(id), change);
    }
}

fn key(id: impl Display) -> Arc<str> {
    id.to_string().into()
}
