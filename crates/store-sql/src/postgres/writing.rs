//! All that a commit writes, as one statement.

use kernel::document::{ColumnType, Value};
use kernel::event::Recorded;
use kernel::store::Head;
use kernel::store::serial::{Latest, Row};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Error, Postgres, Type};

use crate::network::signed;
use crate::postgres::statements::{self, Writes};

/// Statements for one `WITH`, and their arguments.
#[derive(Default)]
pub(super) struct Writing {
    parts: Vec<String>,
    arguments: PgArguments,
}

impl Writing {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Documents of one collection.
    pub(super) fn put(&mut self, writes: &Writes, rows: &[Row<'_>]) -> Result<(), Error> {
        let put = writes.put(self.next());
        self.bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())?;
        self.bind(rows.iter().map(|row| signed(row.version)).collect::<Vec<_>>())?;
        self.bind(rows.iter().map(|row| row.document).collect::<Vec<_>>())?;
        for (place, column_type) in writes.columns.iter().enumerate() {
            let values = rows.iter().map(|row| &row.columns[place]);
            match column_type {
                ColumnType::Integer => self.bind(values.map(number).collect::<Vec<_>>())?,
                ColumnType::Text => self.bind(values.map(text).collect::<Vec<_>>())?,
            }
        }
        self.also(&put);
        Ok(())
    }

    /// No documents of these ids any more.
    pub(super) fn delete(&mut self, writes: &Writes, ids: &[&str]) -> Result<(), Error> {
        let delete = writes.delete(self.next());
        self.bind(ids)?;
        self.also(&delete);
        Ok(())
    }

    /// Events, a list for each of their columns.
    pub(super) fn append(&mut self, events: &[Recorded]) -> Result<(), Error> {
        let append = statements::append(self.next());
        let numbers = |of: fn(&Recorded) -> u64| -> Vec<i64> { events.iter().map(|event| signed(of(event))).collect() };
        let meta = events
            .iter()
            .map(|event| serde_json::to_string(&event.meta).expect("metadata is plain text and numbers"));
        self.bind(numbers(|event| event.position.0))?;
        self.bind(numbers(|event| event.prev.0))?;
        self.bind(events.iter().map(|event| event.stream.as_str()).collect::<Vec<_>>())?;
        self.bind(numbers(|event| event.version))?;
        self.bind(numbers(|event| u64::from(event.lane.0)))?;
        self.bind(events.iter().map(|event| event.id.to_string()).collect::<Vec<_>>())?;
        self.bind(events.iter().map(|event| &*event.event_type).collect::<Vec<_>>())?;
        self.bind(
            events
                .iter()
                .map(|event| event.time.as_microsecond())
                .collect::<Vec<_>>(),
        )?;
        self.bind(events.iter().map(|event| event.data.get()).collect::<Vec<_>>())?;
        self.bind(meta.collect::<Vec<_>>())?;
        self.also(&append);
        Ok(())
    }

    /// The head as it is now, and the writer's batch.
    pub(super) fn leave(&mut self, head: &Head, writer: &str, latest: Latest) -> Result<(), Error> {
        let first = self.next();
        self.bind(head.epoch.0.to_string())?;
        self.bind(signed(head.position.0))?;
        self.bind(head.time.as_microsecond())?;
        self.bind(serde_json::to_string(&head.lanes).expect("a list of numbers is JSON"))?;
        self.also(&statements::move_head(first));
        let first = self.next();
        self.bind(writer)?;
        self.bind(latest.batch.to_string())?;
        self.bind(signed(latest.last.0))?;
        self.also(&statements::note_batch(first));
        Ok(())
    }

    /// The statement.
    pub(super) fn finish(self) -> Query<'static, Postgres, PgArguments> {
        let Self { parts, arguments } = self;
        sqlx::query_with(AssertSqlSafe(format!("WITH {} SELECT 1", parts.join(", "))), arguments)
    }

    /// The place of the next argument.
    fn next(&self) -> usize {
        self.arguments.len() + 1
    }

    fn bind<'a>(&mut self, value: impl Encode<'a, Postgres> + Type<Postgres>) -> Result<(), Error> {
        self.arguments.add(value).map_err(Error::Encode)
    }

    fn also(&mut self, statement: &str) {
        self.parts.push(format!("w{} AS ({statement})", self.parts.len()));
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
