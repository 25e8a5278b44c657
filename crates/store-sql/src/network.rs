//! What the adapters of databases behind a network share: they speak to them through sqlx, and commit by
//! [`kernel::store::serial`].

mod held;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use kernel::document::{Collection, ColumnType, Key, Value};
use kernel::event::Position;
use kernel::store::carry::{Carried, Load};
use kernel::store::serial::{self, Keys, Latest, Written};
use kernel::store::{Batch, CommitError, Committed, Found, Head, Query, Schema, StoreError, Stored};
use tokio::time::{Instant, timeout};

pub(crate) use crate::network::held::{BEGIN, Held, pool};
use crate::open::OpenError;
use crate::rows::{self, Cells};
use crate::schema;

/// How long a read may take; longer than servers are told that a statement may, since their answer says more.
pub(crate) const READ_MAX: Duration = Duration::from_secs(20);
/// How long a batch may take up to its COMMIT; longer than the servers let it wait for the head row.
const WRITE_MAX: Duration = Duration::from_secs(20);
/// How long a COMMIT may take. The writer asks for its outcome by committing again.
const COMMIT_MAX: Duration = Duration::from_secs(5);
/// How often a batch is written while the server rolls it back for others' sake: a deadlock, a lock that nobody let go of.
const ATTEMPTS_MAX: usize = 3;
/// How long a piece of a snapshot may take, of a store of any size.
pub(crate) const PIECE_MAX: Duration = Duration::from_secs(120);

/// A transaction that can be ended.
#[async_trait]
pub(crate) trait Transaction: serial::Transaction + Sized {
    async fn commit(&mut self) -> Result<(), CommitError>;

    /// Whether what failed may go well when it is begun again.
    fn is_to_begin_again(&self) -> bool;

    /// Ends with its connection, which it rolls back to nothing. One that is dropped instead closes it.
    fn give_back(self);
}

/// Gives up on a call that a database does not answer, perhaps because its host is gone.
pub(crate) async fn within<T, E: From<StoreError>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let silent = |_| Err(StoreError::new(format_args!("the database did not answer in time ({limit:?})")).into());
    timeout(limit, call).await.unwrap_or_else(silent)
}

/// Runs a read in a task of its own: whoever stops waiting for it must not leave it half way.
pub(crate) async fn read<T: Send + 'static>(
    read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(within(READ_MAX, read))
        .await
        .unwrap_or_else(|error| Err(StoreError::new(format_args!("the read did not finish: {error}"))))
}

/// Runs a write in a task of its own, likewise.
pub(crate) async fn write<T: Send + 'static>(
    write: impl Future<Output = Result<T, CommitError>> + Send + 'static,
) -> Result<T, CommitError> {
    tokio::spawn(write)
        .await
        .unwrap_or_else(|error| Err(CommitError::Unknown(format!("the commit did not finish: {error}"))))
}

/// Writes a batch in one transaction.
pub(crate) async fn commit<T: Transaction, B>(begin: impl Fn() -> B, batch: &Batch) -> Result<Committed, CommitError>
where
    B: Future<Output = Result<T, StoreError>>,
{
    let give_up = Instant::now() + WRITE_MAX;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let written = async {
            let mut transaction = begin().await?;
            let written = Box::pin(serial::write(&mut transaction, batch)).await;
            Ok::<_, CommitError>((transaction, written))
        };
        let left = give_up.saturating_duration_since(Instant::now());
        let (mut transaction, written) = within(left, written).await?;
        let done = match written {
            Ok(Written::Now(committed)) => end(&mut transaction).await.map(|()| committed),
            Ok(Written::Before(committed)) => Ok(committed),
            Err(error) => Err(error),
        };
        let again = done.is_err() && transaction.is_to_begin_again() && attempts < ATTEMPTS_MAX;
        // After a COMMIT without an answer the connection is of no more use.
        if !matches!(done, Err(CommitError::Unknown(_))) {
            transaction.give_back();
        }
        if !again {
            return done;
        }
    }
}

/// Commits what was written.
async fn end(transaction: &mut impl Transaction) -> Result<(), CommitError> {
    let silent = |_| Err(CommitError::Unknown(format!("no answer within {COMMIT_MAX:?}")));
    timeout(COMMIT_MAX, transaction.commit()).await.unwrap_or_else(silent)
}

/// Inserts the rows of a batch in one transaction, and says what comes after them.
pub(crate) async fn insert(
    mut transaction: impl Transaction,
    batch: &Batch,
    after: Position,
) -> Result<Position, CommitError> {
    serial::insert(&mut transaction, batch, after).await?;
    transaction.commit().await?;
    transaction.give_back();
    Ok(after.plus(batch.events.len() as u64))
}

/// Writes a part of another store in one transaction.
pub(crate) async fn load<T: Transaction>(
    begin: impl Future<Output = Result<T, StoreError>>,
    load: &Load,
) -> Result<(), CommitError> {
    let loaded = async {
        let mut transaction = begin.await?;
        serial::load(&mut transaction, load).await?;
        Ok::<_, CommitError>(transaction)
    };
    let mut transaction = within(WRITE_MAX, loaded).await?;
    end(&mut transaction).await?;
    transaction.give_back();
    Ok(())
}

/// Makes the snapshot of an sqlx driver: a connection of its own, whose transaction keeps what it saw first.
macro_rules! snapshot {
    ($name:ident, $connection:ty, $events:expr) => {
        pub(super) struct $name {
            head: kernel::store::Head,
            connection: $connection,
            dialect: &'static crate::dialect::Dialect,
        }

        impl $name {
            /// Of a connection that has begun its transaction.
            pub(super) async fn of(
                mut connection: $connection,
                dialect: &'static crate::dialect::Dialect,
                head: &'static str,
            ) -> Result<Self, sqlx::Error> {
                let row = sqlx::query(head).fetch_one(&mut connection).await?;
                let head = crate::rows::head(&row).map_err(|error| sqlx::Error::Decode(error.into()))?;
                Ok(Self {
                    head,
                    connection,
                    dialect,
                })
            }

            async fn read_documents(
                &mut self,
                collection: &kernel::document::Collection,
                after: Option<&str>,
            ) -> Result<Vec<kernel::store::carry::Carried>, kernel::store::StoreError> {
                use futures::TryStreamExt as _;
                let text = crate::statements::carried(self.dialect, collection, after.is_some());
                let select = sqlx::query(sqlx::AssertSqlSafe(text));
                let select = match after {
                    Some(after) => select.bind(after),
                    None => select,
                };
                let mut rows = select.fetch(&mut self.connection);
                let (mut found, mut bytes) = (Vec::new(), 0);
                while bytes < kernel::store::carry::PIECE_BYTES_MAX
                    && let Some(row) = rows
                        .try_next()
                        .await
                        .map_err(|error| crate::network::unavailable(&error))?
                {
                    let carried = crate::network::carried(&row, collection)?;
                    bytes += carried.document.len();
                    found.push(carried);
                }
                Ok(found)
            }
        }

        #[async_trait::async_trait]
        impl kernel::store::carry::Snapshot for $name {
            fn head(&self) -> &kernel::store::Head {
                &self.head
            }

            async fn events(
                &mut self,
                after: kernel::event::Position,
            ) -> Result<Vec<kernel::event::Recorded>, kernel::store::StoreError> {
                let select = sqlx::query($events)
                    .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
                    .bind(crate::rows::limit(kernel::store::carry::PIECE_EVENTS_MAX))
                    .bind(crate::rows::limit(kernel::store::TAIL_BYTES_MAX));
                let rows = crate::network::within(crate::network::PIECE_MAX, async {
                    let rows = select.fetch_all(&mut self.connection).await;
                    rows.map_err(|error| crate::network::unavailable(&error))
                });
                let rows = rows.await?;
                rows.iter().map(crate::rows::event).collect()
            }

            async fn documents(
                &mut self,
                collection: &'static kernel::document::Collection,
                after: Option<&str>,
            ) -> Result<Vec<kernel::store::carry::Carried>, kernel::store::StoreError> {
                crate::network::within(crate::network::PIECE_MAX, self.read_documents(collection, after)).await
            }
        }
    };
}
pub(crate) use snapshot;

/// `id, version, doc` and the columns.
pub(crate) fn carried(row: &impl Columns, collection: &Collection) -> Result<Carried, StoreError> {
    let columns = (3..).zip(collection.columns);
    let columns = columns.map(|(place, column)| row.value(place, column.column_type));
    let Stored { version, document } = stored(row, 1)?;
    Ok(Carried {
        id: row.text(0)?.into(),
        version,
        document,
        columns: columns.collect::<Result<_, _>>()?,
    })
}

/// A row with values of declared columns.
pub(crate) trait Columns: Cells {
    fn value(&self, place: usize, column_type: ColumnType) -> Result<Value, StoreError>;
}

/// Lets the rows of an sqlx driver be read.
macro_rules! readable {
    ($row:ty) => {
        impl $crate::rows::Cells for $row {
            fn number(&self, place: usize) -> Result<i64, kernel::store::StoreError> {
                sqlx::Row::try_get(self, place).map_err($crate::rows::damaged)
            }

            fn text(&self, place: usize) -> Result<&str, kernel::store::StoreError> {
                sqlx::Row::try_get(self, place).map_err($crate::rows::damaged)
            }
        }

        impl $crate::network::Columns for $row {
            fn value(
                &self,
                place: usize,
                column_type: kernel::document::ColumnType,
            ) -> Result<kernel::document::Value, kernel::store::StoreError> {
                use kernel::document::{ColumnType, Value};
                let value = match column_type {
                    ColumnType::Integer => sqlx::Row::try_get::<Option<i64>, _>(self, place).map(Value::from),
                    ColumnType::Text => sqlx::Row::try_get::<Option<&str>, _>(self, place).map(Value::from),
                };
                value.map_err($crate::rows::damaged)
            }
        }
    };
}
pub(crate) use readable;

/// Whether the schema has the collections of all keys.
pub(crate) fn check(schema: &Schema, keys: &[Key]) -> Result<(), StoreError> {
    match keys.iter().find(|key| schema.collection(key.collection).is_none()) {
        Some(Key { collection, .. }) => Err(StoreError::new(format_args!(
            "the schema has no collection {collection}"
        ))),
        None => Ok(()),
    }
}

/// Ids by collection.
pub(crate) fn by_collection(keys: &[Key]) -> Keys<'_> {
    let mut wanted = Keys::new();
    for key in keys {
        wanted.entry(key.collection).or_default().push(&key.id);
    }
    wanted
}

/// What rows say of documents: the place of the collection among those asked for, the id, and what is wanted of it.
pub(crate) fn by_key<R: Cells, T>(
    rows: &[R],
    asked: &Keys<'_>,
    of: impl Fn(&R) -> Result<T, StoreError>,
) -> Result<HashMap<Key, T>, StoreError> {
    let collections: Vec<&'static str> = asked.keys().copied().collect();
    let found = rows.iter().map(|row| {
        let collection = collections[usize::try_from(row.number(0)?).map_err(rows::damaged)?];
        let id = row.text(1)?.into();
        Ok((Key { collection, id }, of(row)?))
    });
    found.collect()
}

/// `version` and `doc`, from this column on.
pub(crate) fn stored(row: &impl Cells, first: usize) -> Result<Stored, StoreError> {
    Ok(Stored {
        version: rows::count(row, first)?,
        document: row.text(first + 1)?.into(),
    })
}

/// Begins, takes the head row and reads a writer's latest batch. The last is a statement of its own: the one before may have
/// waited, and sees of other tables what was there before.
pub(crate) fn take_head(writer: &str) -> String {
    let writer = schema::literal(writer);
    format!(
        "{BEGIN}; SELECT epoch, position, time, lanes FROM head WHERE one = 1 FOR UPDATE; \
         SELECT id, last FROM batches WHERE writer = {writer}"
    )
}

/// What that gave.
pub(crate) fn head_and_latest(rows: &[impl Cells]) -> Result<(Head, Option<Latest>), CommitError> {
    let [head, latest @ ..] = rows else {
        return Err(rows::damaged("the head is missing").into());
    };
    Ok((rows::head(head)?, latest.first().map(self::latest).transpose()?))
}

/// `id, last` of a writer's batch.
fn latest(row: &impl Cells) -> Result<Latest, StoreError> {
    Ok(Latest {
        batch: row.text(0)?.parse().map_err(rows::damaged)?,
        last: Position(rows::count(row, 1)?),
    })
}

/// A page as far as it is read, section by section.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    query: &'a Query,
    /// Of the column that the page is ordered by.
    sort: Option<ColumnType>,
    found: Vec<Found>,
    bytes: usize,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(query: &'a Query) -> Self {
        let sort = query.sort_column().and_then(|name| query.collection.column(name));
        Self {
            query,
            sort: sort.map(|place| query.collection.columns[place].column_type),
            found: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        let enough = self.bytes >= self.query.bytes_max && !self.found.is_empty();
        enough || self.found.len() >= self.query.limit
    }

    /// How many documents it takes at most.
    pub(crate) fn missing(&self) -> i64 {
        rows::limit(self.query.limit - self.found.len())
    }

    /// Takes a row of a section.
    pub(crate) fn take(&mut self, row: &impl Columns) -> Result<(), StoreError> {
        let sort = self.sort.map(|column_type| row.value(3, column_type));
        let stored = stored(row, 1)?;
        self.bytes += stored.document.len();
        self.found.push(Found {
            id: row.text(0)?.into(),
            sort: sort.transpose()?,
            stored,
        });
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<Found> {
        self.found
    }
}

/// A read that failed, or a write before its COMMIT, which rolls back.
pub(crate) fn unavailable(error: &sqlx::Error) -> StoreError {
    StoreError::new(error)
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Versions and positions count one by one from 1, so a larger number than the database has is one that nothing has.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}
