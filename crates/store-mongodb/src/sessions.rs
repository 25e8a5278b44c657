//! Sessions: what is done in one sees what was committed before.

use std::sync::{Mutex, PoisonError};

use bson::Timestamp;
use mongodb::error::Error;
use mongodb::{Client, ClientSession};

/// Makes sessions that see each commit of this handle, also from a primary that was elected a moment ago and does not
/// know yet how far its predecessor had come. Commits of other handles are seen because a majority has them before they
/// return.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) client: Client,
    /// The cluster's time of the last commit.
    committed: Mutex<Option<Timestamp>>,
}

impl Sessions {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            committed: Mutex::new(None),
        }
    }

    /// A session that begins after the last commit. Costs no round trip.
    pub(crate) async fn begin(&self) -> Result<ClientSession, Error> {
        let mut session = self.client.start_session().await?;
        let committed = *self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = committed {
            session.advance_operation_time(time);
        }
        Ok(session)
    }

    /// A session whose reads see what this one's last read saw, and nothing that was committed since.
    pub(crate) async fn at_the_time_of(&self, session: &ClientSession) -> Result<ClientSession, Error> {
        let begin = self.client.start_session().snapshot(true);
        match session.snapshot_time() {
            Some(time) => begin.snapshot_time(time).await,
            None => begin.await,
        }
    }

    /// A session whose reads see what its first one sees, and nothing that was committed since.
    pub(crate) async fn at_one_time(&self) -> Result<ClientSession, Error> {
        self.client.start_session().snapshot(true).await
    }

    /// Notes a commit in this session.
    pub(crate) fn committed(&self, session: &ClientSession) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        *committed = (*committed).max(session.operation_time());
    }
}
