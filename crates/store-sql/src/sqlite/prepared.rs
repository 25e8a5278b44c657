//! The writer's statements, prepared once and kept for as long as its connection.

use std::collections::BTreeMap;

use kernel::document::Value;
use kernel::store::Schema;
use rusqlite::{Connection, OptionalExtension, Result, Statement};

use crate::statements::{self, Writes};

/// Every statement that a commit needs.
pub(super) struct Prepared<'c> {
    pub(super) begin: Statement<'c>,
    pub(super) commit: Statement<'c>,
    pub(super) head: Statement<'c>,
    pub(super) advance: Statement<'c>,
    pub(super) batch: Statement<'c>,
    pub(super) leave_batch: Statement<'c>,
    pub(super) append_first: Statement<'c>,
    pub(super) append_next: Statement<'c>,
    collections: BTreeMap<&'static str, Collection<'c>>,
}

/// The statements of one collection.
pub(super) struct Collection<'c> {
    insert: Statement<'c>,
    update: Statement<'c>,
    upsert: Statement<'c>,
    delete_version: Statement<'c>,
    delete: Statement<'c>,
    version: Statement<'c>,
}

impl<'c> Prepared<'c> {
    pub(super) fn new(connection: &'c Connection, schema: &Schema) -> Result<Self> {
        let collections = schema.collections.iter().map(|declared| {
            let texts = Writes::of(declared);
            let collection = Collection {
                insert: connection.prepare(&texts.insert)?,
                update: connection.prepare(&texts.update)?,
                upsert: connection.prepare(&texts.upsert)?,
                delete_version: connection.prepare(&texts.delete_version)?,
                delete: connection.prepare(&texts.delete)?,
                version: connection.prepare(&texts.version)?,
            };
            Ok((declared.name, collection))
        });
        Ok(Self {
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            head: connection.prepare(statements::HEAD)?,
            advance: connection.prepare(statements::ADVANCE)?,
            batch: connection.prepare(statements::BATCH)?,
            leave_batch: connection.prepare(statements::LEAVE_BATCH)?,
            append_first: connection.prepare(statements::APPEND_FIRST)?,
            append_next: connection.prepare(statements::APPEND_NEXT)?,
            collections: collections.collect::<Result<_>>()?,
        })
    }

    pub(super) fn collection(&mut self, name: &str) -> &mut Collection<'c> {
        self.collections
            .get_mut(name)
            .expect("the batch was checked against the schema")
    }
}

impl Collection<'_> {
    /// The version that is there.
    pub(super) fn version(&mut self, id: &str) -> Result<Option<i64>> {
        self.version.query_row([id], |row| row.get(0)).optional()
    }

    /// Each of these gives whether the condition held.
    pub(super) fn insert(&mut self, id: &str, document: &str, columns: &[Value]) -> Result<bool> {
        bind(&mut self.insert, id, document, columns)?;
        Ok(self.insert.raw_execute()? == 1)
    }

    pub(super) fn upsert(&mut self, id: &str, document: &str, columns: &[Value]) -> Result<bool> {
        bind(&mut self.upsert, id, document, columns)?;
        Ok(self.upsert.raw_execute()? == 1)
    }

    pub(super) fn update(&mut self, id: &str, document: &str, columns: &[Value], version: i64) -> Result<bool> {
        bind(&mut self.update, id, document, columns)?;
        self.update.raw_bind_parameter(columns.len() + 3, version)?;
        Ok(self.update.raw_execute()? == 1)
    }

    pub(super) fn delete(&mut self, id: &str) -> Result<()> {
        self.delete.execute([id]).map(|_| ())
    }

    pub(super) fn delete_version(&mut self, id: &str, version: i64) -> Result<bool> {
        Ok(self.delete_version.execute((id, version))? == 1)
    }
}

/// Binds without a list in between: this runs for every document of every batch.
fn bind(statement: &mut Statement<'_>, id: &str, document: &str, columns: &[Value]) -> Result<()> {
    statement.raw_bind_parameter(1, id)?;
    statement.raw_bind_parameter(2, document)?;
    for (place, value) in (3..).zip(columns) {
        match value {
            Value::Null => statement.raw_bind_parameter(place, rusqlite::types::Null)?,
            Value::Integer(number) => statement.raw_bind_parameter(place, number)?,
            Value::Text(text) => statement.raw_bind_parameter(place, &**text)?,
        }
    }
    Ok(())
}
