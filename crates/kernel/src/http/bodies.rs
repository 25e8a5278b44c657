//! Request bodies on their way in: what all of them together may hold in memory.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use contracts::Code;
use http_body_util::{BodyExt, LengthLimitError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;

/// What the bodies that a service is reading, and those of the commands that wait for its writer, may have together; one
/// more is refused as overloaded. 32 MiB.
pub const BODIES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The room for the bodies of one service.
#[derive(Clone, Debug)]
pub(crate) struct Bodies(Arc<Semaphore>);

/// A body, and the room that it takes.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Bodies {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_BYTES_MAX)))
    }

    /// Reads a body whole; room is taken as it arrives, so that who sends nothing takes none. The layer has limited it.
    pub(crate) async fn read(&self, mut body: Body) -> Result<Held, Failure> {
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(refused)?.into_data() else {
                continue;
            };
            let more = self.take(data.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held {
            bytes: bytes.freeze(),
            room: room.map(Arc::new),
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.0)
            .try_acquire_many_owned(permits)
            .map_err(|_| Code::Overloaded.into())
    }
}

fn refused(error: axum::Error) -> Failure {
    let causes = std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |error| {
        error.source()
    });
    if causes.into_iter().any(|error| error.is::<LengthLimitError>()) {
        return Code::BodyTooLarge.into();
    }
    // The client went away or broke the protocol; nobody may be left to read this.
    Code::BadRequest.into()
}
