//! The relay: tails a journal, publishes, waits for the broker's acknowledgement, then advances its cursor. The journal
//! is the outbox.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Message};
use crate::complaint::Complaint;
use crate::context::Context;
use crate::document::{Collection, Document, Kind};
use crate::effect::backoff;
use crate::engine::Engine;
use crate::event::{Epoch, Position};
use crate::store::{Head, StoreError};
use crate::writer::{self, Priority};

/// Events published before the cursor is written.
const BATCH: usize = 512;
/// How often a journal without news is looked at, should a notification have been missed.
const POLL: Duration = Duration::from_secs(1);
/// The longest pause before a broker that could not be reached is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CURSOR: &str = "bus";

/// How far the journal has been published. Written with an expected version, which fences a second relay off: the
/// slower of the two only publishes twice.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RelayCursor {
    epoch: Epoch,
    position: Position,
}

impl Document for RelayCursor {
    const COLLECTION: &'static Collection = &Collection {
        name: "relay_cursors",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

impl RelayCursor {
    /// Why it says nothing of a journal that is here by now.
    fn stops_at(&self, head: &Head) -> Option<String> {
        let is_of_another_life = self.position > Position::START && self.epoch != head.epoch;
        (self.position > head.position || is_of_another_life).then(|| {
            format!(
                "published up to {} of another life of this journal (it was restored from a backup); `tradewind republish` \
                 says from where to go on",
                self.position
            )
        })
    }
}

/// Publishes the service's journal, on one replica at a time, until the service stops.
pub fn start(engine: &Engine, bus: &Arc<dyn Bus>) {
    engine.publishes();
    let (published, bus) = (engine.clone(), Arc::clone(bus));
    engine.spawn_alone(move |stop| run(published.clone(), Arc::clone(&bus), stop));
}

/// Publishes the service's journal until told to stop. An unreachable broker is waited for without limit; meanwhile
/// the journal keeps everything, and nothing gathers in memory.
pub async fn run(engine: Engine, bus: Arc<dyn Bus>, stop: CancellationToken) {
    engine.publishes();
    let (mut failures, mut complaint) = (0, Complaint::default());
    let mut head = engine.head();
    while !stop.is_cancelled() {
        head.mark_unchanged();
        let pause = match publish_some(&engine, bus.as_ref()).await {
            Ok(count) => {
                failures = 0;
                complaint.is_over();
                if count > 0 {
                    continue;
                }
                POLL
            }
            Err(error) => {
                failures += 1;
                if complaint.is_due(&error) {
                    let service = engine.service();
                    tracing::warn!(%service, error, failures, "the journal cannot be published; it is tried again and again");
                }
                backoff(failures).min(PAUSE_MAX)
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = head.changed(), if failures == 0 => {}
            () = engine.clock().sleep(pause) => {}
        }
    }
}

/// Publishes the next batch and moves the cursor behind it.
async fn publish_some(engine: &Engine, bus: &dyn Bus) -> Result<usize, String> {
    let cursor = engine
        .reader()
        .get::<RelayCursor>(CURSOR)
        .await
        .map_err(|error| error.to_string())?;
    let cursor = cursor.map(|cursor| RelayCursor::clone(&cursor)).unwrap_or_default();
    let tail = engine
        .reader()
        .store()
        .tail(cursor.position, BATCH)
        .await
        .map_err(|error| error.to_string())?;
    let epoch = tail.head.epoch;
    if let Some(reason) = cursor.stops_at(&tail.head) {
        return Err(reason);
    }
    let Some(last) = tail.events.last().map(|event| event.position) else {
        return Ok(0);
    };
    let count = tail.events.len();
    let messages = tail.events.into_iter().map(|event| Message {
        source: engine.service(),
        epoch,
        event: Arc::new(event),
    });
    bus.publish(messages.collect())
        .await
        .map_err(|error| error.to_string())?;
    let moved = engine
        .writer()
        .execute(Priority::Background, Context::system("relay"), move |unit| {
            let now = unit
                .get::<RelayCursor>(CURSOR)
                .map(|cursor| RelayCursor::clone(&cursor))
                .unwrap_or_default();
            if now.position == cursor.position {
                unit.put(CURSOR, RelayCursor { epoch, position: last });
            }
            Ok::<(), writer::Error>(())
        });
    moved.await.map_err(|error| error.to_string())?;
    Ok(count)
}

/// Up to where this life of the journal has been published, and why it is not gone on with, where that is so.
pub(crate) async fn published(engine: &Engine, head: &Head) -> Result<(Position, Option<String>), StoreError> {
    let cursor = engine.reader().get::<RelayCursor>(CURSOR).await?;
    let stopped = cursor.as_ref().and_then(|cursor| cursor.stops_at(head));
    let published = cursor.filter(|_| stopped.is_none()).map(|cursor| cursor.position);
    Ok((published.unwrap_or_default(), stopped))
}

/// Why a journal is not published again.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// There is no broker, or nobody follows this journal.
    #[error(
        "this journal is not sent to a broker, so there is nothing to publish again: there is none, and the embedded bus reads \
         journals itself; or nobody follows it, as that of events"
    )]
    Unpublished,
    /// The journal does not go so far.
    #[error("the journal ends at {0}, which is before the position given")]
    Beyond(Position),
    /// The cursor could not be written.
    #[error(transparent)]
    Writer(#[from] writer::Error),
}

/// Sets the cursor back, so that the journal is published again from after `position`. It is never set forward: what is
/// before it there was not published yet.
pub async fn republish(engine: &Engine, position: Position) -> Result<(), RepublishError> {
    if !engine.is_published() {
        return Err(RepublishError::Unpublished);
    }
    let head = engine.reader().store().tail(Position::START, 0).await;
    let head = head.map_err(writer::Error::from)?.head;
    if position > head.position {
        return Err(RepublishError::Beyond(head.position));
    }
    let epoch = head.epoch;
    let set = engine
        .writer()
        .execute(Priority::Background, Context::system("republish"), move |unit| {
            let published = unit.get::<RelayCursor>(CURSOR).map(|cursor| cursor.position);
            let position = position.min(published.unwrap_or_default());
            unit.put(CURSOR, RelayCursor { epoch, position });
            Ok::<(), writer::Error>(())
        });
    Ok(set.await?)
}
