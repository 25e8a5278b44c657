//! The store as it was at one time. The server keeps that for five minutes, unless `minSnapshotHistoryWindowInSeconds` says
//! otherwise.

use async_trait::async_trait;
use bson::{Document, doc};
use kernel::document::Collection;
use kernel::event::{Position, Recorded};
use kernel::store::carry::{Carried, PIECE_BYTES_MAX, PIECE_DOCUMENTS_MAX, PIECE_EVENTS_MAX, Snapshot};
use kernel::store::{Head, StoreError, TAIL_BYTES_MAX};
use mongodb::{ClientSession, Database};

use crate::failure::ReadError;
use crate::names::JOURNAL;
use crate::rows::{self, damaged, signed};
use crate::store::{read_events, read_head, row_limit};

pub(crate) struct MongodbSnapshot {
    head: Head,
    /// What it reads is of the time of its first read.
    session: ClientSession,
    database: Database,
}

impl MongodbSnapshot {
    pub(crate) async fn of(mut session: ClientSession, database: Database) -> Result<Self, ReadError> {
        Ok(Self {
            head: read_head(&database, &mut session).await?,
            session,
            database,
        })
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
        let mut rows = find.session(&mut self.session).await?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while bytes < PIECE_BYTES_MAX && rows.advance(&mut self.session).await? {
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
            .find(doc! { "_id": { "$gt": signed(after.0) } })
            .sort(doc! { "_id": 1 });
        let events = read_events(find, &mut self.session, PIECE_EVENTS_MAX, TAIL_BYTES_MAX).await;
        Ok(events?)
    }

    async fn documents(
        &mut self,
        collection: &'static Collection,
        after: Option<&str>,
    ) -> Result<Vec<Carried>, StoreError> {
        Ok(self.read_documents(collection, after).await?)
    }
}
