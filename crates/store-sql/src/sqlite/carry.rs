//! Reading a whole file at one moment, and writing what was read elsewhere.

use std::path::Path;

use async_trait::async_trait;
use kernel::document::{Collection, Value};
use kernel::event::{Position, Recorded};
use kernel::store::carry::{Carried, Load, PIECE_BYTES_MAX, PIECE_EVENTS_MAX, Snapshot};
use kernel::store::{CommitError, Head, StoreError};
use rusqlite::types::{Null, ToSqlOutput};
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};

use crate::rows;
use crate::sqlite::failure::{of_commit, of_statement, unavailable};
use crate::sqlite::{SQLITE, journal, open, readers};
use crate::statements;

/// A connection whose transaction keeps what it saw first.
pub(super) struct SqliteSnapshot {
    head: Head,
    /// Away only while it reads.
    connection: Option<Connection>,
}

impl SqliteSnapshot {
    /// Blocks while it opens the file.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let connection = open::reader(path).map_err(StoreError::new)?;
        connection.execute_batch("BEGIN").map_err(|error| unavailable(&error))?;
        let head = connection.query_row(statements::HEAD, [], |row| Ok(rows::head(row)));
        let head = head.map_err(|error| unavailable(&error))??;
        Ok(Self {
            head,
            connection: Some(connection),
        })
    }

    async fn read<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.take();
        let connection = connection.ok_or_else(|| StoreError::new("an earlier read was dropped"))?;
        let read = tokio::task::spawn_blocking(move || {
            let outcome = work(&connection);
            (connection, outcome)
        });
        let (connection, outcome) = read.await.map_err(StoreError::new)?;
        self.connection = Some(connection);
        outcome
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn events(&mut self, after: Position) -> Result<Vec<Recorded>, StoreError> {
        self.read(move |connection| journal::after(connection, after, PIECE_EVENTS_MAX))
            .await
    }

    async fn documents(
        &mut self,
        collection: &'static Collection,
        after: Option<&str>,
    ) -> Result<Vec<Carried>, StoreError> {
        let after = after.map(str::to_owned);
        self.read(move |connection| documents(connection, collection, after).map_err(|error| unavailable(&error)))
            .await
    }
}

fn documents(
    connection: &Connection,
    collection: &Collection,
    after: Option<String>,
) -> rusqlite::Result<Vec<Carried>> {
    let mut select = connection.prepare_cached(&statements::carried(&SQLITE, collection, after.is_some()))?;
    let mut rows = select.query(params_from_iter(after))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let carried = carried(row, collection)?;
        bytes += carried.document.len();
        found.push(carried);
    }
    Ok(found)
}

fn carried(row: &Row<'_>, collection: &Collection) -> rusqlite::Result<Carried> {
    let columns = (3..3 + collection.columns.len()).map(|place| readers::value(row.get_ref(place)?));
    Ok(Carried {
        id: row.get_ref(0)?.as_str()?.into(),
        version: row.get(1)?,
        document: row.get_ref(2)?.as_str()?.into(),
        columns: columns.collect::<rusqlite::Result<_>>()?,
    })
}

/// Writes a part of another store in one transaction.
pub(super) fn load(connection: &Connection, load: &Load) -> Result<(), CommitError> {
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| unavailable(&error))?;
    write(&transaction, load).map_err(|error| of_statement(&error))?;
    transaction.commit().map_err(|error| of_commit(&error))
}

fn write(
    connection: &Connection,
    Load {
        head,
        events,
        documents,
    }: &Load,
) -> rusqlite::Result<()> {
    let mut append = connection.prepare_cached(statements::APPEND)?;
    for event in events {
        let meta = serde_json::to_string(&event.meta).expect("metadata is plain text and numbers");
        append.execute(params![
            event.position.0,
            event.prev.0,
            event.stream.as_str(),
            event.version,
            event.lane.0,
            event.id.to_string(),
            &*event.event_type,
            event.time.as_microsecond(),
            event.data.get(),
            meta,
        ])?;
    }
    if let Some((collection, documents)) = documents {
        let mut put = connection.prepare_cached(&statements::put_carried(collection))?;
        for it in documents {
            let version = i64::try_from(it.version).unwrap_or(i64::MAX);
            let fixed: [&dyn ToSql; 3] = [&&*it.id, &version, &&*it.document];
            let columns: Vec<Bound<'_>> = it.columns.iter().map(Bound).collect();
            put.execute(params_from_iter(
                fixed
                    .into_iter()
                    .chain(columns.iter().map(|column| column as &dyn ToSql)),
            ))?;
        }
    }
    let lanes = serde_json::to_string(&head.lanes).expect("a list of numbers is JSON");
    let epoch = head.epoch.0.to_string();
    let time = head.time.as_microsecond();
    connection.execute(statements::LEAVE_HEAD, params![epoch, head.position.0, time, lanes])?;
    Ok(())
}

/// A column's value, as SQLite takes it.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self.0 {
            Value::Null => Ok(Null.into()),
            Value::Integer(number) => Ok((*number).into()),
            Value::Text(text) => Ok((&**text).into()),
        }
    }
}
