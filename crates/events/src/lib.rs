//! The event service: the public log of all services, custom events, and live streams.
//!
//! The log is this service's own journal: every public event of the other services is copied into it, so that one
//! position serves as cursor everywhere, in every topology.

use std::sync::Arc;

use contracts::log::{ListEvents, PublishEvent, StreamEvents};
use contracts::{Cursor, DecodeError, EventId, Page};
use jiff::Timestamp;
use kernel::access::AccessEvents;
use kernel::auth::{User, Verifier};
use kernel::bus::Bus;
use kernel::context::Context;
use kernel::document::{Collection, Document};
use kernel::engine::Engine;
use kernel::erasure::{self, Erasure, NothingKept};
use kernel::event::{Position, Recorded, StreamId};
use kernel::feed::{Feed, Journal};
use kernel::http::Kit;
use kernel::reaction::Consumers;
use kernel::store::{EVENT_BYTES_MAX, StoreError};
use kernel::unit::Views;
use kernel::writer;
use serde::{Deserialize, Serialize};

mod access;
mod entry;
mod error;
mod http;
mod live;
mod log;
mod seats;
mod stored;

pub use entry::{Entry, Filter};
pub use error::Error;
pub use live::Live;
pub use log::{Log, LogStream};

/// What the event service keeps besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[LogStream::COLLECTION];

/// Events looked at for one page of the log, or a few more, however few of them match.
pub const SCANNED_EVENTS_MAX: usize = 10_000;
/// A page of the log ends with the entry that fills it up to this size.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Nothing is folded: the journal itself is what this service keeps.
pub fn fold(_: &Recorded, _: &mut Views<'_>) -> Result<(), DecodeError> {
    Ok(())
}

/// The event service's use cases.
#[derive(Clone, Debug)]
pub struct Events {
    engine: Engine,
    consumers: Consumers,
    kit: Kit,
    feed: Arc<Feed<entry::Readable>>,
    access: Arc<access::Access>,
    seats: Arc<seats::Seats>,
}

/// A custom event that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The event's id.
    pub id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it is about.
    pub subject: String,
    /// When it was published.
    pub time: Timestamp,
}

impl Events {
    /// Starts copying, and is ready to answer.
    pub async fn start(
        engine: Engine,
        bus: &Arc<dyn Bus>,
        verifier: &Arc<Verifier>,
        access: AccessEvents,
    ) -> Result<Self, writer::Error> {
        let kit = Kit::of(&engine, verifier).await?;
        erasure::start(&engine, verifier, Arc::new(NothingKept)).await?;
        let consumers = Consumers::start(&engine, bus, vec![Arc::new(Erasure), Arc::new(Log)]);
        let journal = Journal {
            store: Arc::clone(engine.reader().store()),
            head: engine.head(),
        };
        let feed = Arc::new(Feed::new(journal, |epoch, recorded| {
            Entry::of(epoch, &recorded).map(Arc::new)
        }));
        let access = Arc::new(access::Access::new(engine.clone(), access));
        Ok(Self {
            engine,
            consumers,
            kit,
            feed,
            access,
            seats: Arc::default(),
        })
    }

    /// How the copying goes.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Appends a custom event to the log. Its data is passed on as it is, and not looked into for personal data.
    pub async fn publish(&self, event: PublishEvent, context: Context) -> Result<Published, Error> {
        let PublishEvent {
            event_type,
            subject,
            data,
        } = event;
        let data = serde_json::value::to_raw_value(&data).map_err(|_| Error::Unwritable)?;
        let bytes = data.get().len();
        if bytes > EVENT_BYTES_MAX {
            return Err(writer::Error::EventTooLarge { bytes }.into());
        }
        let published = self.engine.writer().answer(context, move |unit| {
            let id = EventId::from_uuid(unit.uuid());
            let stream = StreamId::new(format!("{}/{subject}", log::CUSTOM));
            log::append_custom(unit, id, stream, event_type.as_str(), subject.as_str(), &data)?;
            let (event_type, subject) = (event_type.to_string(), subject.to_string());
            Ok(Published {
                id,
                event_type,
                subject,
                time: unit.now(),
            })
        });
        published.await
    }

    /// The log from after a position on, oldest first.
    ///
    /// Only so many events are looked at for one page ([`SCANNED_EVENTS_MAX`]), so a page may hold less than its limit, or nothing, and yet
    /// have a `next_cursor`: give it as `after` to go on. `null` says that the end of the log was reached; what happens
    /// later comes after the `sequence` of the last event seen, or on a live stream.
    pub async fn log(&self, query: &ListEvents) -> Result<Page<Arc<Entry>>, StoreError> {
        let filter = Filter {
            event_type: query.event_type.clone(),
            subject: query.subject.clone(),
            source: query.source,
            owner: None,
        };
        let mut after = Position(query.after.unwrap_or(0));
        let scan_end = after.plus(SCANNED_EVENTS_MAX as u64);
        let (mut data, mut bytes) = (Vec::new(), 0);
        'scan: while data.len() < query.limit.get() && after < scan_end {
            let left = query.limit.get() - data.len();
            let looked = self.feed.after(after, left, |entry| filter.admits(entry)).await?;
            if looked.reached == after {
                return Ok(Page {
                    data,
                    next_cursor: None,
                });
            }
            after = looked.reached;
            for (position, entry) in looked.events {
                let Some(entry) = entry else { continue };
                bytes += entry.json().len();
                data.push(entry);
                if bytes >= PAGE_BYTES_MAX {
                    after = position;
                    break 'scan;
                }
            }
        }
        let more = self.feed.after(after, 1, |_| true).await?.reached > after;
        let next_cursor = more.then(|| Cursor::try_from(after.to_string()).expect("digits are safe in a URL"));
        Ok(Page { data, next_cursor })
    }

    /// A live stream for this user until `expires_at`: an admin's of everything, anybody else's of the events of own
    /// orders. It begins after `from`, or now.
    pub async fn stream(
        &self,
        user: User,
        expires_at: Timestamp,
        query: StreamEvents,
        from: Option<Position>,
    ) -> Result<Live, Error> {
        let seat = self.seats.take(user.id)?;
        let owner = (!user.is_admin()).then_some(user.id);
        // Before the position is read: what happens in between is on the stream.
        let listener = self.access.listen(owner);
        let head = self.engine.reader().store().tail(Position::START, 0).await?.head;
        let from = from.unwrap_or(head.position);
        if from > head.position {
            return Err(Error::BeyondEnd);
        }
        let filter = Filter {
            event_type: query.event_type,
            subject: query.subject,
            source: None,
            owner,
        };
        let follower = self.feed.follow(from);
        let admission = live::Admission {
            verifier: Arc::clone(&self.kit.verifier),
            user,
            expires_at,
        };
        let clock = Arc::clone(self.engine.clock());
        Ok(Live::new(
            clock,
            follower,
            listener,
            filter,
            admission,
            seat,
            Box::pin(self.engine.stopping()),
        ))
    }
}
