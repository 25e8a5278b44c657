//! The store as it was at one time. The server remembers that for five minutes, unless `minSnapshotHistoryWindowInSeconds` says
//! otherwise, which is long enough for few stores. So as little as possible is read as of then: events stay as they are, and
//! documents do as long as nobody commits.

use std::sync::Arc;

use async_trait::async_trait;
use bson::{Document, doc};
use kernel::document::Collection;
use kernel::event::{Position, Recorded};
use kernel::store::carry::{Carried, PIECE_BYTES_MAX, PIECE_DOCUMENTS_MAX, PIECE_EVENTS_MAX, Snapshot};
use kernel::store::{Head, StoreError, TAIL_BYTES_MAX};
use mongodb::{ClientSession, Database};

use crate::failure::ReadError;
use crate::names::JOURNAL;
use crate::rows::{self, HeadRow, damaged, signed};
use crate::sessions::Sessions;
use crate::store::{read_events, read_head, row_limit, within_limit};

pub(crate) struct MongodbSnapshot {
    head: Head,
    /// What the head's document was. Each commit changes it.
    row: HeadRow,
    sessions: Arc<Sessions>,
    /// Sees at least what the head tells of.
    present: ClientSession,
    /// Sees what was there with this head, and nothing else.
    fixed: ClientSession,
    database: Database,
}

impl MongodbSnapshot {
    pub(crate) async fn new(sessions: Arc<Sessions>, database: Database) -> Result<Self, ReadError> {
        let mut present = sessions.begin().await?;
        read_head(&database, &mut present).await?;
        let mut fixed = sessions.at_one_time().await?;
        let row = read_head(&database, &mut fixed).await?;
        if let Some(time) = fixed.operation_time() {
            present.advance_operation_time(time);
        }
        Ok(Self {
            head: row.head()?,
            row,
            sessions,
            present,
            fixed,
            database,
        })
    }

    /// Reads as of now from here on, if nothing was committed since: then it is the same. Whether it is.
    async fn renew(&mut self) -> Result<bool, ReadError> {
        let mut fixed = self.sessions.at_one_time().await?;
        let is_same = read_head(&self.database, &mut fixed).await? == self.row;
        if is_same {
            self.fixed = fixed;
        }
        Ok(is_same)
    }

    async fn read_documents(
        &mut self,
        collection: &'static Collection,
        after: Option<&str>,
    ) -> Result<Vec<Carried>, ReadError> {
        let filter = after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": after } });
        let documents = self.database.collection::<Document>(collection.name);
        let find = documents.find(filter).sort(doc! { "_id": 1 });
        let find = find.limit(row_limit(PIECE_DOCUMENTS_MAX));
        let mut rows = find.session(&mut self.fixed).await?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while bytes < PIECE_BYTES_MAX && rows.advance(&mut self.fixed).await? {
            let row = rows.current();
            let columns = collection.columns.iter().map(|column| rows::column(row, column.name));
            let stored = rows::stored(row)?;
            bytes += stored.document.len();
            found.push(Carried {
                id: row.get_str("_id").map_err(damaged)?.into(),
                version: stored.version,
                document: stored.document,
                columns: columns.collect::<Result<_, _>>()?,
            });
        }
        Ok(found)
    }
}

#[async_trait]
impl Snapshot for MongodbSnapshot {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn events(&mut self, after: Position) -> Result<Vec<Recorded>, StoreError> {
        let journal = self.database.collection(JOURNAL);
        let find = journal
            .find(doc! { "_id": { "$gt": signed(after.0), "$lte": signed(self.head.position.0) } })
            .sort(doc! { "_id": 1 });
        within_limit(read_events(find, &mut self.present, PIECE_EVENTS_MAX, TAIL_BYTES_MAX)).await
    }

    async fn documents(
        &mut self,
        collection: &'static Collection,
        after: Option<&str>,
    ) -> Result<Vec<Carried>, StoreError> {
        within_limit(async {
            match self.read_documents(collection, after).await {
                Err(forgotten) if forgotten.is_forgotten() && self.renew().await? => {
                    self.read_documents(collection, after).await
                }
                read => read,
            }
        })
        .await
    }
}
