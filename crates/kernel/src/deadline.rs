//! Timers: a timer is a document with a due time in a declared index; when it is due, a command decides whether it acts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::store::{Query, StoreError};
use crate::writer;

/// Documents taken up in one look.
pub const DUE_MAX: usize = 256;
/// How often the store is asked what is due.
const POLL: Duration = Duration::from_secs(1);

/// Why a deadline was not dealt with; it comes up again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undone(Arc<str>);

/// How dealing with deadlines ended.
pub type Expired = Result<(), Undone>;

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self(error.to_string().into())
    }
}

impl From<writer::Error> for Undone {
    fn from(error: writer::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// A kind of timer.
#[async_trait]
pub trait Deadline: Send + Sync {
    /// What is due at `now`: a query over an index of due times, at most [`DUE_MAX`].
    fn due(&self, now: Timestamp) -> Query;

    /// Deals with what was found. The commands must look again whether it is still due: it may have changed since, and
    /// another replica may be at it.
    async fn expire(&self, ids: Vec<Arc<str>>) -> Expired;
}

/// Polls politely until told to stop.
pub(crate) async fn run(engine: Engine, deadline: Arc<dyn Deadline>, stop: CancellationToken) {
    loop {
        let found = engine.reader().ids(&deadline.due(engine.clock().now())).await;
        let full = match found {
            Ok(ids) if ids.is_empty() => false,
            Ok(ids) => {
                let full = ids.len() >= DUE_MAX;
                let expired = deadline.expire(ids).await;
                expired
                    .inspect_err(|error| tracing::warn!(%error, "a deadline was not dealt with"))
                    .is_ok()
                    && full
            }
            Err(error) => {
                tracing::warn!(%error, "deadlines cannot be looked up");
                false
            }
        };
        let pause = if full { Duration::ZERO } else { POLL };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = engine.clock().sleep(pause) => {}
        }
    }
}
