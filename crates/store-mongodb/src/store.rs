//! The store: what is asked for, and in which session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Document, doc};
use jiff::Timestamp;
use kernel::document::Key;
use kernel::event::{Position, Recorded, StreamId};
use kernel::store::carry::{Load, Snapshot};
use kernel::store::serial::Keys;
use kernel::store::{
    Batch, CommitError, Committed, Found, Opened, Query, Schema, Section, Store, StoreError, Stored, TAIL_BYTES_MAX,
    Tail,
};
use mongodb::action::Find;
use mongodb::options::{ConnectionString, Hint};
use mongodb::{ClientSession, Database};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::commit::{Committer, Work};
use crate::failure::{OpenError, ReadError};
use crate::names::{BY_STREAM, HEAD, HEAD_ID, JOURNAL};
use crate::page::Page;
use crate::rows::{self, Entry, HeadRow, damaged, signed};
use crate::sessions::Sessions;
use crate::snapshot::MongodbSnapshot;
use crate::{connect, each, open};

/// How long a read may take, and the note that a rebuild is finished.
const READ_MAX: Duration = Duration::from_secs(30);
/// Between two attempts to read from what is being made.
const READ_PAUSE: Duration = Duration::from_millis(5);
/// Documents or events in one answer of the server.
const ANSWER_MAX: u32 = 1_000;

/// Where a store is and what it holds.
#[derive(Clone, Debug)]
pub struct MongodbOptions {
    /// How to connect.
    pub(crate) connect: ConnectionString,
    /// The database that has the service's collections; made if it is not there.
    pub database: String,
    /// What the service keeps.
    pub schema: Schema,
    /// The epoch of the journal, should it be made now.
    pub new_epoch: Uuid,
    /// The time of opening, for the note of when the store was made.
    pub now: Timestamp,
    /// Connections at most.
    pub connections: u32,
    /// Collections to empty, because they are about to be filled again; they are incomplete until
    /// [`Opened::finish_rebuild`].
    pub rebuild: Vec<&'static str>,
}

impl MongodbOptions {
    /// The usual: eight connections, nothing to rebuild.
    pub fn new(url: &str, database: &str, schema: Schema, new_epoch: Uuid, now: Timestamp) -> Result<Self, OpenError> {
        Ok(Self {
            connect: connect::parse(url)?,
            database: database.to_owned(),
            schema,
            new_epoch,
            now,
            connections: 8,
            rebuild: Vec::new(),
        })
    }
}

/// A service's store in one database of a MongoDB replica set.
#[derive(Debug)]
pub struct MongodbStore {
    schema: Arc<Schema>,
    database: Database,
    sessions: Arc<Sessions>,
    committer: Committer,
}

impl MongodbStore {
    /// Opens the store or makes it, with whatever the schema declares.
    pub async fn open(options: MongodbOptions) -> Result<Self, OpenError> {
        options.schema.check().map_err(OpenError::Schema)?;
        let client = connect::client(&options).await?;
        let database = client.database(&options.database);
        connect::while_it_answers(&client, &options, open::declare(&database, &options)).await?;
        let (schema, sessions) = (Arc::new(options.schema), Arc::new(Sessions::new(client)));
        Ok(Self {
            committer: Committer::new(Arc::clone(&sessions), database.clone(), Arc::clone(&schema)),
            schema,
            database,
            sessions,
        })
    }

    /// The commands that [`MongodbStore::open`] would give, in order, as a person would type them into mongosh. Changes
    /// nothing.
    pub async fn plan(options: &MongodbOptions) -> Result<Vec<String>, OpenError> {
        options.schema.check().map_err(OpenError::Schema)?;
        let client = connect::client(options).await?;
        let database = client.database(&options.database);
        let planned = connect::while_it_answers(&client, options, open::plan(&database, options)).await;
        connect::close(&client).await;
        planned
    }

    async fn read_documents(&self, wanted: &Keys<'_>) -> Result<HashMap<Key, Stored>, ReadError> {
        let mut session = self.sessions.begin().await?;
        each::documents(&self.database, &mut session, wanted).await
    }

    async fn read_page(&self, query: &Query) -> Result<Vec<Found>, ReadError> {
        let mut found = Vec::new();
        let mut session = self.sessions.begin().await?;
        for (place, section) in Section::of(query).iter().enumerate() {
            if place > 0 {
                session = self.sessions.at_the_time_of(&session).await?;
            }
            self.read_section(&mut session, query, *section, &mut found).await?;
        }
        Ok(found)
    }

    async fn read_section(
        &self,
        session: &mut ClientSession,
        query: &Query,
        section: Section,
        found: &mut Vec<Found>,
    ) -> Result<(), ReadError> {
        let missing = query.limit - found.len();
        let mut bytes: usize = found.iter().map(|found| found.stored.document.len()).sum();
        if missing == 0 || (bytes >= query.bytes_max && !found.is_empty()) {
            return Ok(());
        }
        let page = Page::new(query, section);
        let documents = self.database.collection::<Document>(query.collection.name);
        let find = documents.find(page.filter).projection(page.projection).sort(page.sort);
        let find = find.hint(Hint::Name(page.index.to_owned())).limit(row_limit(missing));
        let find = find.batch_size(answer(missing)).session(&mut *session);
        let mut rows = find.await?;
        while rows.advance(session).await? {
            let row = rows.current();
            let sort = query.sort_column().map(|name| rows::column(row, name));
            let stored = rows::stored(row)?;
            bytes += stored.document.len();
            found.push(Found {
                id: row.get_str("_id").map_err(damaged)?.into(),
                sort: sort.transpose()?,
                stored,
            });
            if bytes >= query.bytes_max {
                break;
            }
        }
        Ok(())
    }

    async fn read_stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let mut session = self.sessions.begin().await?;
        let journal = self.database.collection(JOURNAL);
        let find = journal
            .find(doc! { "stream": id.as_str(), "version": { "$gte": signed(from_version) } })
            .sort(doc! { "version": 1 })
            .hint(Hint::Name(BY_STREAM.to_owned()));
        read_events(find, &mut session, limit, usize::MAX).await
    }

    async fn read_tail(&self, after: Position, limit: usize) -> Result<Tail, ReadError> {
        let mut session = self.sessions.begin().await?;
        let journal = self.database.collection(JOURNAL);
        let find = journal
            .find(doc! { "_id": { "$gt": signed(after.0) } })
            .sort(doc! { "_id": 1 });
        let events = read_events(find, &mut session, limit, TAIL_BYTES_MAX).await?;
        // Read after the events in the same session, so the head is at or beyond them.
        let head = read_head(&self.database, &mut session).await?.head()?;
        Ok(Tail { head, events })
    }
}

#[async_trait]
impl Opened for MongodbStore {
    async fn finish_rebuild(&self) -> Result<(), StoreError> {
        let heads = self.database.collection::<Document>(HEAD);
        let done = heads.update_one(doc! { "_id": HEAD_ID }, doc! { "$set": { "rebuilding": null } });
        within_limit(async { Ok(done.await.map(drop)?) }).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let opened = in_time(|| MongodbSnapshot::new(Arc::clone(&self.sessions), self.database.clone()));
        Ok(Box::new(opened.await?))
    }

    async fn load(&self, load: Load) -> Result<(), CommitError> {
        let work = Work::Load(Box::new(load));
        self.committer.clone().see_through(work).await.map(drop)
    }

    async fn insert(&self, batches: Vec<Arc<Batch>>, mut after: Position) -> Result<(), CommitError> {
        for batch in batches {
            after = self.committer.clone().see_through(Work::Rows(batch, after)).await?.last;
        }
        Ok(())
    }

    async fn close(&self) {
        self.committer.close().await;
    }
}

#[async_trait]
impl Store for MongodbStore {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        batch.check(&self.schema)?;
        self.committer.clone().see_through(Work::Batch(batch)).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        if let Some(unknown) = keys.iter().find(|key| self.schema.collection(key.collection).is_none()) {
            return Err(StoreError::new(format_args!(
                "the schema has no collection {}",
                unknown.collection
            )));
        }
        let mut wanted = Keys::new();
        for key in keys {
            wanted.entry(key.collection).or_default().push(&key.id);
        }
        let found = in_time(|| self.read_documents(&wanted)).await?;
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        query.check()?;
        in_time(|| self.read_page(query)).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        in_time(|| self.read_stream(id, from_version, limit)).await
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        in_time(|| self.read_tail(after, limit)).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(crate) async fn read_head(database: &Database, session: &mut ClientSession) -> Result<HeadRow, ReadError> {
    let heads = database.collection::<HeadRow>(HEAD);
    let head = heads.find_one(doc! { "_id": HEAD_ID }).session(session).await?;
    Ok(head.ok_or_else(|| damaged("the head is missing"))?)
}

/// At most so many events, until their data has so many bytes.
pub(crate) async fn read_events(
    find: Find<'_, Document>,
    session: &mut ClientSession,
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<Recorded>, ReadError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    if limit == 0 {
        return Ok(events);
    }
    let find = find.limit(row_limit(limit)).batch_size(answer(limit));
    let mut rows = find.session(&mut *session).await?;
    while bytes < bytes_max && rows.advance(session).await? {
        let event = Entry::read(rows.current())?.event()?;
        bytes += event.data.get().len();
        events.push(event);
    }
    Ok(events)
}

/// Reads, for as long as it may take, and again while what it reads from is being made.
async fn in_time<T, F>(read: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, ReadError>>,
{
    within_limit(async {
        loop {
            match read().await {
                Err(error) if error.is_passing() => sleep(READ_PAUSE).await,
                other => return other,
            }
        }
    })
    .await
}

/// Waits for the server, for as long as it may take.
pub(crate) async fn within_limit<T>(read: impl Future<Output = Result<T, ReadError>>) -> Result<T, StoreError> {
    match timeout(READ_MAX, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(StoreError::new(format_args!(
            "the server took more than {READ_MAX:?} to answer"
        ))),
    }
}

/// A limit that the database takes: beyond what it can count there is none, which it calls 0.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(0)
}

fn answer(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX).min(ANSWER_MAX)
}
