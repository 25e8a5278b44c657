//! Commits: one after another, each in one transaction, which is begun anew where another one may succeed.

use std::sync::Arc;
use std::time::Duration;

use kernel::event::Position;
use kernel::store::carry::Load;
use kernel::store::serial::{self, Written};
use kernel::store::{Batch, CommitError, Committed, Schema, StoreError};
use mongodb::Database;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::connect;
use crate::failure::{is_unknown, of_commit, unavailable};
use crate::sessions::Sessions;
use crate::transaction::{HEAD_WAIT_MAX, MongodbTransaction};

/// Transactions for one batch, which met with a change of a collection, a full cache or a change of the primary. None
/// begins later than a commit waits for the head.
const ATTEMPTS_MAX: u32 = 10;
/// After the first of them, and so much more after each.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// How long a commit is asked for again whose outcome is not known.
const COMMIT_MAX: Duration = Duration::from_secs(15);
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Work {
    Batch(Arc<Batch>),
    Load(Box<Load>),
    /// The rows of a batch, after this position.
    Rows(Arc<Batch>, Position),
}

impl Work {
    async fn write(&self, transaction: &mut MongodbTransaction) -> Result<Committed, CommitError> {
        match self {
            // The same batch again is committed too, though it writes nothing but the head: what a majority does not
            // have yet may still be lost.
            Self::Batch(batch) => match serial::write(transaction, batch).await? {
                Written::Now(committed) | Written::Before(committed) => Ok(committed),
            },
            Self::Load(load) => {
                serial::load(transaction, load).await?;
                let last = load.head.position;
                Ok(Committed { last })
            }
            Self::Rows(batch, after) => {
                transaction.begin_alone().await?;
                serial::insert(transaction, batch, *after).await?;
                let last = after.plus(batch.events.len() as u64);
                Ok(Committed { last })
            }
        }
    }
}

/// What a commit needs beside its batch.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    sessions: Arc<Sessions>,
    database: Database,
    schema: Arc<Schema>,
    /// Taken by one commit at a time: those of one process don't have to conflict with each other.
    turn: Arc<Mutex<()>>,
}

impl Committer {
    pub(crate) fn new(sessions: Arc<Sessions>, database: Database, schema: Arc<Schema>) -> Self {
        Self {
            sessions,
            database,
            schema,
            turn: Arc::default(),
        }
    }

    /// Waits for the commit under way, and takes no more.
    pub(crate) async fn close(&self) {
        let _turn = self.turn.lock().await;
        connect::close(&self.sessions.client).await;
    }

    /// Commits in a task of its own: whoever stops waiting must not leave a transaction half way.
    pub(crate) async fn see_through(self, work: Work) -> Result<Committed, CommitError> {
        let task = tokio::spawn(self.commit(work));
        task.await
            .unwrap_or_else(|error| Err(CommitError::Unknown(format!("the commit did not finish: {error}"))))
    }

    async fn commit(self, work: Work) -> Result<Committed, CommitError> {
        let _turn = timeout(HEAD_WAIT_MAX, self.turn.lock()).await.map_err(|_| {
            let reason = format!("earlier commits of this process took more than {HEAD_WAIT_MAX:?}");
            StoreError::new(reason)
        })?;
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            let session = self.sessions.begin().await;
            let session = session.map_err(|error| unavailable(&error))?;
            let mut transaction = MongodbTransaction::new(session, self.database.clone(), Arc::clone(&self.schema));
            let failed = match self.try_once(&work, &mut transaction).await {
                Ok(committed) => return Ok(committed),
                Err(failed) => failed,
            };
            let again = transaction.is_transient && attempt < ATTEMPTS_MAX && began.elapsed() < HEAD_WAIT_MAX;
            transaction.roll_back().await;
            if !again {
                return Err(failed);
            }
            sleep(ATTEMPT_PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn try_once(&self, work: &Work, transaction: &mut MongodbTransaction) -> Result<Committed, CommitError> {
        let committed = work.write(transaction).await?;
        self.end(transaction).await?;
        Ok(committed)
    }

    /// Commits the transaction, and asks again while the answer is that nobody knows.
    async fn end(&self, transaction: &mut MongodbTransaction) -> Result<(), CommitError> {
        let mut unknown = String::from("the server did not answer in time");
        let asked = timeout(COMMIT_MAX, async {
            loop {
                match transaction.session.commit_transaction().await {
                    Err(error) if is_unknown(&error) => unknown = error.kind.to_string(),
                    other => return other,
                }
                sleep(COMMIT_PAUSE).await;
            }
        });
        match asked.await {
            Ok(Ok(())) => {
                self.sessions.committed(&transaction.session);
                Ok(())
            }
            Ok(Err(error)) => Err(transaction.failed(&error, of_commit)),
            Err(_) => Err(CommitError::Unknown(unknown)),
        }
    }
}
