//! A commit under way.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Document, doc};
use kernel::document::{Column, Key};
use kernel::event::{Recorded, StreamId};
use kernel::store::serial::{Keys, Latest, Row, Subjects, Transaction, Versions};
use kernel::store::{CommitError, Head, Schema, StoreError};
use mongodb::error::Error;
use mongodb::options::{Hint, ReadConcern, ReturnDocument};
use mongodb::{ClientSession, Database};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::failure::{self, is_taken, of_statement, of_values, of_write};
use crate::names::{BATCHES, BY_STREAM, HEAD, HEAD_ID, JOURNAL};
use crate::rows::{self, BatchRow, Entry, HeadRow, Written};
use crate::{abandoned, connect, each};

/// How long a commit waits for the head.
pub(crate) const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it asks whether the head is held by a client that has gone.
const ABANDONED_AFTER: Duration = Duration::from_secs(1);
/// Between two attempts to take the head, at most. A commit leaves the head before it waits for the disk, so attempts
/// that come more often than that find it.
const PAUSE_MICROS_MAX: u64 = 4_000;
/// How long a statement of a commit may take.
const STATEMENT_MAX: Duration = Duration::from_secs(30);
/// How long a transaction is being rolled back, before it is left to those who wait for the head.
const ROLL_BACK_MAX: Duration = Duration::from_secs(1);
/// How long the server waits for a majority before it answers that it does not know.
const MAJORITY_MAX: Duration = Duration::from_secs(5);
/// MongoDB takes commands of 16 MiB, a document with what belongs to it included.
const COMMAND_BYTES_MAX: usize = 15 * 1024 * 1024;
/// MongoDB takes 100,000.
const COMMAND_WRITES_MAX: usize = 10_000;

pub(crate) struct MongodbTransaction {
    pub(crate) session: ClientSession,
    database: Database,
    schema: Arc<Schema>,
    /// Whether what failed may succeed in another transaction.
    pub(crate) is_transient: bool,
}

impl MongodbTransaction {
    pub(crate) fn new(session: ClientSession, database: Database, schema: Arc<Schema>) -> Self {
        Self {
            session,
            database,
            schema,
            is_transient: false,
        }
    }

    pub(crate) async fn roll_back(mut self) {
        // Where that fails the server is gone, or is asked for it by whoever finds the transaction idle.
        let _ = timeout(ROLL_BACK_MAX, self.session.abort_transaction()).await;
    }

    /// What a failure means, once it was noted whether another transaction may succeed.
    pub(crate) fn failed(&mut self, error: &Error, meaning: fn(&Error) -> CommitError) -> CommitError {
        self.is_transient = failure::is_transient(error);
        meaning(error)
    }

    /// Tries until no other transaction has the head. MongoDB does not let a transaction wait for another one: it refuses
    /// at once whichever came later.
    async fn wait_for_head(&mut self) -> Result<HeadRow, CommitError> {
        let mut pauses = Pauses::new(&self.session);
        let mut asked = Instant::now();
        loop {
            match self.try_head().await {
                Err(error) if is_taken(&error) => {}
                other => return other.map_err(|error| self.failed(&error, of_statement)),
            }
            let _ = self.session.abort_transaction().await;
            if asked.elapsed() >= ABANDONED_AFTER {
                abandoned::end(&self.session.client(), &connect::app_name(self.database.name())).await;
                asked = Instant::now();
            }
            sleep(pauses.next()).await;
        }
    }

    /// Begins without the head, which is not taken then.
    pub(crate) async fn begin_alone(&mut self) -> Result<(), CommitError> {
        let begun = self.begin().await;
        begun.map_err(|error| self.failed(&error, of_statement))
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(connect::durable())
            .max_commit_time(MAJORITY_MAX)
            .await
    }

    async fn try_head(&mut self) -> Result<HeadRow, Error> {
        self.begin().await?;
        let head = self.database.collection::<HeadRow>(HEAD);
        let take = head
            .find_one_and_update(doc! { "_id": HEAD_ID }, doc! { "$inc": { "taken": 1_i64 } })
            .return_document(ReturnDocument::After)
            .session(&mut self.session);
        take.await?.ok_or_else(|| Error::custom("the head is missing"))
    }

    async fn latest(&mut self, writer: &str) -> Result<Option<Latest>, CommitError> {
        let batches = self.database.collection::<BatchRow>(BATCHES);
        let find = batches.find_one(doc! { "_id": writer }).session(&mut self.session);
        let found = statement(&mut self.is_transient, find).await?;
        Ok(found.map(|row| row.latest()).transpose()?)
    }

    async fn document_versions(&mut self, keys: &Keys<'_>) -> Result<HashMap<Key, u64>, CommitError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let heads = self.database.collection::<Document>(HEAD);
        let join = heads.aggregate(each::versions_of(keys)).session(&mut self.session);
        let mut joined = statement(&mut self.is_transient, join.into_future()).await?;
        match statement(&mut self.is_transient, joined.advance(&mut self.session)).await? {
            true => Ok(each::versions_in(joined.current(), keys)?),
            false => Err(rows::damaged("the head is missing").into()),
        }
    }

    async fn stream_versions(&mut self, streams: &[&StreamId]) -> Result<HashMap<StreamId, u64>, CommitError> {
        if streams.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
        // In this form it is one step into the index for each stream, however long the streams are.
        let pipeline = [
            doc! { "$match": { "stream": { "$in": ids } } },
            doc! { "$sort": { "stream": -1, "version": -1 } },
            doc! { "$group": { "_id": "$stream", "version": { "$first": "$version" } } },
        ];
        let journal = self.database.collection::<Document>(JOURNAL);
        let aggregate = journal
            .aggregate(pipeline)
            .hint(Hint::Name(BY_STREAM.to_owned()))
            .session(&mut self.session);
        let mut found = statement(&mut self.is_transient, aggregate.into_future()).await?;
        let mut versions = HashMap::new();
        while statement(&mut self.is_transient, found.advance(&mut self.session)).await? {
            let row = found.current();
            let stream = StreamId::new(row.get_str("_id").map_err(rows::damaged)?);
            versions.insert(stream, rows::version(row)?);
        }
        Ok(versions)
    }

    /// Sends one command's worth of documents.
    async fn update(&mut self, collection: &str, updates: &[Update<'_>]) -> Result<(), CommitError> {
        let command = UpdateCommand {
            update: collection,
            updates,
        };
        let command =
            bson::serialize_to_raw_document_buf(&command).map_err(|error| CommitError::Content(error.to_string()))?;
        let update = self.database.run_raw_command(command).session(&mut self.session);
        let answer: UpdateAnswer =
            bson::deserialize_from_document(values(&mut self.is_transient, update).await?).map_err(rows::damaged)?;
        match answer.write_errors.first() {
            Some(error) => Err(of_write(error.code, &error.errmsg)),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Transaction for MongodbTransaction {
    async fn take_head(&mut self, writer: &str) -> Result<(Head, Option<Latest>), CommitError> {
        let taken = timeout(HEAD_WAIT_MAX, self.wait_for_head()).await;
        let head = taken.map_err(|_| {
            StoreError::new(format_args!(
                "other commits had the head for {HEAD_WAIT_MAX:?}, or the server did not answer"
            ))
        })??;
        Ok((head.head()?, self.latest(writer).await?))
    }

    async fn versions(&mut self, of: &Subjects<'_>) -> Result<Versions, CommitError> {
        Ok(Versions {
            documents: self.document_versions(&of.documents).await?,
            streams: self.stream_versions(&of.streams).await?,
        })
    }

    async fn append(&mut self, events: &[Recorded]) -> Result<(), CommitError> {
        let journal = self.database.collection::<Entry<'_>>(JOURNAL);
        let entries: Vec<Entry<'_>> = events.iter().map(Entry::of).collect();
        let insert = journal.insert_many(&entries).session(&mut self.session);
        values(&mut self.is_transient, insert).await.map(drop)
    }

    async fn put(&mut self, collection: &'static str, rows: &[Row<'_>]) -> Result<(), CommitError> {
        let schema = Arc::clone(&self.schema);
        let declared = schema
            .collection(collection)
            .expect("the batch was checked against the schema");
        let (mut updates, mut bytes) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            let update = Update::of(row, declared.columns);
            let more = update.u.bytes();
            if more > COMMAND_BYTES_MAX {
                let reason = format!(
                    "{collection}/{} has {more} bytes, and MongoDB takes {COMMAND_BYTES_MAX}",
                    row.id
                );
                return Err(CommitError::Content(reason));
            }
            if bytes + more > COMMAND_BYTES_MAX || updates.len() == COMMAND_WRITES_MAX {
                self.update(collection, &updates).await?;
                updates.clear();
                bytes = 0;
            }
            bytes += more;
            updates.push(update);
        }
        self.update(collection, &updates).await
    }

    async fn delete(&mut self, collection: &'static str, ids: &[&str]) -> Result<(), CommitError> {
        let collection = self.database.collection::<Document>(collection);
        for ids in ids.chunks(COMMAND_WRITES_MAX) {
            let delete = collection.delete_many(doc! { "_id": { "$in": ids } });
            values(&mut self.is_transient, delete.session(&mut self.session)).await?;
        }
        Ok(())
    }

    async fn leave(
        &mut self,
        events: &[Recorded],
        head: &Head,
        writer: &str,
        latest: Latest,
    ) -> Result<(), CommitError> {
        if !events.is_empty() {
            self.append(events).await?;
        }
        let heads = self.database.collection::<Document>(HEAD);
        let moved = heads.update_one(doc! { "_id": HEAD_ID }, rows::moved(head));
        statement(&mut self.is_transient, moved.session(&mut self.session)).await?;
        let batches = self.database.collection::<Document>(BATCHES);
        let left = batches
            .replace_one(doc! { "_id": writer }, rows::left(latest))
            .upsert(true);
        statement(&mut self.is_transient, left.session(&mut self.session))
            .await
            .map(drop)
    }
}

/// A statement of the transaction, for as long as it may take.
async fn statement<T>(
    is_transient: &mut bool,
    action: impl IntoFuture<Output = Result<T, Error>>,
) -> Result<T, CommitError> {
    told(is_transient, action, of_statement).await
}

/// A statement that brings documents or events of the batch.
async fn values<T>(
    is_transient: &mut bool,
    action: impl IntoFuture<Output = Result<T, Error>>,
) -> Result<T, CommitError> {
    told(is_transient, action, of_values).await
}

async fn told<T>(
    is_transient: &mut bool,
    action: impl IntoFuture<Output = Result<T, Error>>,
    meaning: fn(&Error) -> CommitError,
) -> Result<T, CommitError> {
    let Ok(done) = timeout(STATEMENT_MAX, action).await else {
        let reason = format!("the server took more than {STATEMENT_MAX:?} for a statement");
        return Err(StoreError::new(reason).into());
    };
    done.map_err(|error| {
        *is_transient = failure::is_transient(&error);
        meaning(&error)
    })
}

/// MongoDB's command, one round trip for many documents.
#[derive(Debug, Serialize)]
struct UpdateCommand<'a> {
    update: &'a str,
    updates: &'a [Update<'a>],
}

/// Replaces a document, or makes it.
#[derive(Debug, Serialize)]
struct Update<'a> {
    q: ById<'a>,
    u: Written<'a>,
    upsert: bool,
}

#[derive(Debug, Serialize)]
struct ById<'a> {
    _id: &'a str,
}

impl<'a> Update<'a> {
    fn of(row: &'a Row<'a>, columns: &'a [Column]) -> Self {
        Self {
            q: ById { _id: row.id },
            u: Written { row, columns },
            upsert: true,
        }
    }
}

#[derive(Debug, Deserialize)]
struct UpdateAnswer {
    #[serde(default, rename = "writeErrors")]
    write_errors: Vec<UpdateError>,
}

#[derive(Debug, Deserialize)]
struct UpdateError {
    code: i32,
    errmsg: String,
}

/// Pauses of chance lengths, so that those who wait for the head don't come back together. Of the session's own id: no two
/// have the same.
#[derive(Debug)]
struct Pauses(DefaultHasher);

impl Pauses {
    fn new(session: &ClientSession) -> Self {
        let mut chance = DefaultHasher::new();
        session.id().to_string().hash(&mut chance);
        Self(chance)
    }

    fn next(&mut self) -> Duration {
        let drawn = self.0.finish();
        drawn.hash(&mut self.0);
        Duration::from_micros(drawn % PAUSE_MICROS_MAX)
    }
}
