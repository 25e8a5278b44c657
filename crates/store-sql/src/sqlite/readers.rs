//! The pool of reading connections, and reading documents.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::document::{Key, Value};
use kernel::store::{Found, Query, StoreError, Stored};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::Semaphore;

use crate::rows;
use crate::sqlite::SQLITE;
use crate::sqlite::failure::unavailable;
use crate::statements::{self, Page, Parameter, Section};

/// Connections that are not reading at the moment, and a permit for each.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    size: u32,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let size = u32::try_from(connections.len()).expect("the number of readers is small");
        Self {
            permits: Semaphore::new(connections.len()),
            idle: Mutex::new(connections),
            size,
        }
    }

    /// Runs `work` on the blocking pool with a connection of its own.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| StoreError::new("the store is closed"))?;
        // The loan gives the permit back: it must not be free before the connection is, or when the caller goes away.
        permit.forget();
        let mut loan = Loan {
            connection: self.idle().pop(),
            readers: Arc::clone(self),
        };
        let read = tokio::task::spawn_blocking(move || {
            let connection = loan.connection.as_mut().expect("there is a permit for each connection");
            work(connection)
        });
        read.await
            .map_err(|error| StoreError::new(format_args!("a read did not finish: {error}")))?
    }

    /// Waits for the reads that run, and closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(self.size).await {
            all.forget();
            self.permits.close();
            self.idle().clear();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan, which goes back even if the read panics.
#[derive(Debug)]
struct Loan {
    connection: Option<Connection>,
    readers: Arc<Readers>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.readers.idle().extend(self.connection.take());
        self.readers.permits.add_permits(1);
    }
}

/// All in one snapshot, so that documents that were committed together are seen together.
pub(super) fn get(connection: &mut Connection, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
    snapshot(connection, keys.len() > 1, |connection| {
        let document = |key: &Key| {
            let mut select = connection.prepare_cached(&statements::get(key.collection))?;
            select.query_row([&*key.id], |row| stored(row, 0)).optional()
        };
        keys.iter().map(document).collect()
    })
}

pub(super) fn query(connection: &mut Connection, query: &Query) -> Result<Vec<Found>, StoreError> {
    let sections = Section::of(query);
    snapshot(connection, sections.len() > 1, |connection| {
        let mut found = Vec::new();
        for &section in sections {
            read_section(connection, query, section, &mut found)?;
        }
        Ok(found)
    })
}

fn read_section(
    connection: &Connection,
    query: &Query,
    section: Section,
    found: &mut Vec<Found>,
) -> rusqlite::Result<()> {
    let missing = query.limit - found.len();
    let mut bytes: usize = found.iter().map(|found| found.stored.document.len()).sum();
    if missing == 0 || (bytes >= query.bytes_max && !found.is_empty()) {
        return Ok(());
    }
    let page = Page::new(&SQLITE, query, section);
    let mut select = connection.prepare_cached(&page.text)?;
    let mut place = 0;
    for parameter in &page.parameters {
        place += 1;
        match parameter {
            Parameter::Text(text) => select.raw_bind_parameter(place, text)?,
            Parameter::Value(Value::Text(text)) => select.raw_bind_parameter(place, &**text)?,
            Parameter::Value(Value::Integer(number)) => select.raw_bind_parameter(place, number)?,
            Parameter::Value(Value::Null) => select.raw_bind_parameter(place, rusqlite::types::Null)?,
        }
    }
    select.raw_bind_parameter(place + 1, rows::limit(missing))?;
    let sorted_by_column = query.sort_column().is_some();
    let mut rows = select.raw_query();
    while let Some(row) = rows.next()? {
        let sort = if sorted_by_column {
            Some(value(row.get_ref(3)?)?)
        } else {
            None
        };
        let stored = stored(row, 1)?;
        bytes += stored.document.len();
        found.push(Found {
            id: row.get_ref(0)?.as_str()?.into(),
            sort,
            stored,
        });
        if bytes >= query.bytes_max {
            break;
        }
    }
    Ok(())
}

fn snapshot<T>(
    connection: &mut Connection,
    needed: bool,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let result = if needed {
        // Dropping the transaction ends it; there is nothing to commit.
        connection.transaction().and_then(|transaction| read(&transaction))
    } else {
        read(connection)
    };
    result.map_err(|error| unavailable(&error))
}

/// `version` and `doc`, from this column on.
fn stored(row: &Row<'_>, first: usize) -> rusqlite::Result<Stored> {
    Ok(Stored {
        version: row.get(first)?,
        document: row.get_ref(first + 1)?.as_str()?.into(),
    })
}

pub(super) fn value(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        other => Value::Text(other.as_str()?.into()),
    })
}
