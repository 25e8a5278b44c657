//! The thread that writes: it takes batches off a queue and commits them one after another.

use std::fmt::Write;
use std::sync::Arc;

use kernel::event::{Meta, NewEvent, Position, Recorded};
use kernel::store::carry::Load;
use kernel::store::{Batch, CommitError, Committed, Conflict, Delete, Expect, Head, Put, Schema, StoreError};
use rusqlite::{Connection, OptionalExtension, Result, params};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::rows;
use crate::sqlite::carry;
use crate::sqlite::checkpoint::{self, Checkpoints, Passes};
use crate::sqlite::failure::{of_commit, of_statement, unavailable};
use crate::sqlite::latest::Latest;
use crate::sqlite::prepared::Prepared;

/// Something for the writer to do, and where to answer. An answer that nobody waits for is dropped.
#[derive(Debug)]
pub(super) enum Job {
    /// Commit a batch that fits the schema.
    Commit(Arc<Batch>, oneshot::Sender<Result<Committed, CommitError>>),
    /// Write a part of another store.
    Load(Load, oneshot::Sender<Result<(), CommitError>>),
    /// Write the rows of a batch after this position, and nothing else.
    Insert(Arc<Batch>, Position, oneshot::Sender<Result<(), CommitError>>),
    /// Declare the collections that are rebuilding whole again.
    FinishRebuild(oneshot::Sender<Result<(), StoreError>>),
    /// Empty the log.
    Scrub(oneshot::Sender<Result<(), StoreError>>),
    /// Take nothing more after what is queued.
    Close(oneshot::Sender<()>),
}

/// Works until the queue is closed and empty, then writes the log back into the file.
pub(super) fn run(
    connection: Connection,
    schema: &Schema,
    latest: &Latest,
    passes: Passes,
    mut queue: mpsc::Receiver<Job>,
    ready: &std::sync::mpsc::Sender<Result<()>>,
) {
    let mut closing = Vec::new();
    match Writer::new(&connection, schema, latest)
        .and_then(|writer| Ok((writer, Checkpoints::new(&connection, passes)?)))
    {
        Ok((mut writer, mut checkpoints)) => {
            let _ = ready.send(Ok(()));
            while let Some(job) = queue.blocking_recv() {
                match job {
                    Job::Commit(batch, answer) => {
                        let _ = answer.send(writer.commit(&batch));
                        checkpoints.advance();
                    }
                    Job::Load(load, answer) => {
                        latest.forget();
                        let _ = answer.send(carry::load(&connection, &load));
                        checkpoints.advance();
                    }
                    Job::Insert(batch, after, answer) => {
                        latest.forget();
                        let _ = answer.send(writer.insert(&batch, after));
                        checkpoints.advance();
                    }
                    Job::FinishRebuild(answer) => drop(answer.send(writer.finish_rebuild())),
                    Job::Scrub(answer) => drop(answer.send(checkpoints.scrub())),
                    Job::Close(done) => {
                        queue.close();
                        closing.push(done);
                    }
                }
            }
        }
        Err(error) => drop(ready.send(Err(error))),
    }
    checkpoint::finish(&connection);
    drop(connection);
    for done in closing {
        let _ = done.send(());
    }
}

pub(super) struct Writer<'c> {
    connection: &'c Connection,
    prepared: Prepared<'c>,
    /// Told what was committed.
    latest: &'c Latest,
    /// The batch's events, as they are in the journal once it is committed.
    appended: Vec<Recorded>,
    conflicts: Vec<Conflict>,
    /// Room for an event's id as text.
    event_id: String,
    /// An event's metadata as JSON.
    meta: String,
}

impl<'c> Writer<'c> {
    pub(super) fn new(connection: &'c Connection, schema: &Schema, latest: &'c Latest) -> Result<Self> {
        let prepared = Prepared::new(connection, schema)?;
        Ok(Self {
            connection,
            prepared,
            latest,
            appended: Vec::new(),
            conflicts: Vec::new(),
            event_id: String::new(),
            meta: String::new(),
        })
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Committed, CommitError> {
        self.prepared.begin.execute([]).map_err(|error| unavailable(&error))?;
        let outcome = match self.write(batch) {
            Ok(Outcome::Written(head)) => match self.prepared.commit.execute([]) {
                Ok(_) => {
                    let last = head.position;
                    self.latest.extend(head, self.appended.drain(..));
                    return Ok(Committed { last });
                }
                Err(error) => {
                    self.latest.forget();
                    Err(of_commit(&error))
                }
            },
            Ok(Outcome::Already(committed)) => Ok(committed),
            Err(error) => Err(error),
        };
        self.roll_back();
        outcome
    }

    pub(super) fn insert(&mut self, batch: &Batch, after: Position) -> Result<(), CommitError> {
        self.prepared.begin.execute([]).map_err(|error| unavailable(&error))?;
        self.appended.clear();
        let inserted = self.insert_rows(batch, after).map_err(|error| of_statement(&error));
        let inserted = inserted.and_then(|()| {
            let committed = self.prepared.commit.execute([]);
            committed.map(drop).map_err(|error| of_commit(&error))
        });
        self.roll_back();
        inserted
    }

    fn insert_rows(&mut self, batch: &Batch, after: Position) -> Result<()> {
        for Put {
            key, document, columns, ..
        } in &batch.puts
        {
            self.prepared
                .collection(key.collection)
                .upsert(&key.id, document, columns)?;
        }
        let positions = (1..).map(|number| (after.plus(number), Position::START));
        self.append_rows(&batch.events, positions)
    }

    /// Gives the positions back with everything else. SQLite itself rolls back after some errors.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcome, CommitError> {
        let mut room = Uuid::encode_buffer();
        let batch_id = &*batch.id.hyphenated().encode_lower(&mut room);
        if let Some(last) = self.latest(batch, batch_id).map_err(|error| of_statement(&error))? {
            return Ok(Outcome::Already(Committed { last: Position(last) }));
        }
        let head = self.prepared.head.query_row([], |row| Ok(rows::head(row)));
        let mut head = head.map_err(|error| unavailable(&error))??;
        if batch.time < head.time {
            return Err(CommitError::Conflict(vec![Conflict::Time(head.time)]));
        }

        self.conflicts.clear();
        self.appended.clear();
        self.write_parts(batch, batch_id, &mut head)
            .map_err(|error| of_statement(&error))?;
        if self.conflicts.is_empty() {
            Ok(Outcome::Written(head))
        } else {
            Err(CommitError::Conflict(std::mem::take(&mut self.conflicts)))
        }
    }

    /// Where the writer's latest batch ended, if it is this one.
    fn latest(&mut self, batch: &Batch, batch_id: &str) -> Result<Option<u64>> {
        let latest = self.prepared.batch.query_row([&*batch.writer], |row| {
            let same = row.get_ref(0)?.as_str()? == batch_id;
            let last: u64 = row.get(1)?;
            Ok(same.then_some(last))
        });
        latest.optional().map(Option::flatten)
    }

    /// Goes on after a conflict, so that all of them are named.
    fn write_parts(&mut self, batch: &Batch, batch_id: &str, head: &mut Head) -> Result<()> {
        for (key, seen) in &batch.reads {
            let found = self.prepared.collection(key.collection).version(&key.id)?;
            if found != seen.map(signed) {
                self.conflict(Conflict::Document(key.clone()));
            }
        }
        for put in &batch.puts {
            self.put(put)?;
        }
        for delete in &batch.deletes {
            self.delete(delete)?;
        }
        if !batch.events.is_empty() {
            self.append(&batch.events, head)?;
        }
        self.prepared
            .leave_batch
            .execute(params![&*batch.writer, batch_id, signed(head.position.0)])?;
        Ok(())
    }

    fn put(&mut self, put: &Put) -> Result<()> {
        let collection = self.prepared.collection(put.key.collection);
        let held = match put.expect {
            Expect::Any => collection.upsert(&put.key.id, &put.document, &put.columns)?,
            Expect::Absent => collection.insert(&put.key.id, &put.document, &put.columns)?,
            Expect::Version(version) => collection.update(&put.key.id, &put.document, &put.columns, signed(version))?,
        };
        if !held {
            self.conflict(Conflict::Document(put.key.clone()));
        }
        Ok(())
    }

    fn delete(&mut self, delete: &Delete) -> Result<()> {
        let collection = self.prepared.collection(delete.key.collection);
        let held = match delete.expect {
            Expect::Any => collection.delete(&delete.key.id).map(|()| true)?,
            Expect::Absent => collection.version(&delete.key.id)?.is_none(),
            Expect::Version(version) => collection.delete_version(&delete.key.id, signed(version))?,
        };
        if !held {
            self.conflict(Conflict::Document(delete.key.clone()));
        }
        Ok(())
    }

    fn append(&mut self, events: &[NewEvent], head: &mut Head) -> Result<()> {
        let mut lanes = std::mem::take(&mut head.lanes);
        let places = events.iter().map(|event| {
            head.position = head.position.plus(1);
            head.time = event.time;
            let prev = std::mem::replace(&mut lanes[event.lane.index()], head.position);
            (head.position, prev)
        });
        self.append_rows(events, places)?;
        head.lanes = lanes;
        let lanes = serde_json::to_string(&head.lanes).expect("a list of numbers is JSON");
        self.prepared
            .advance
            .execute(params![signed(head.position.0), head.time.as_microsecond(), lanes])?;
        Ok(())
    }

    /// Each at its position, with its `prev`.
    fn append_rows(&mut self, events: &[NewEvent], places: impl Iterator<Item = (Position, Position)>) -> Result<()> {
        let mut written: Option<&Arc<Meta>> = None;
        for (event, (position, prev)) in events.iter().zip(places) {
            // The events of one command share their metadata.
            if !written.is_some_and(|meta| Arc::ptr_eq(meta, &event.meta)) {
                self.meta = serde_json::to_string(&event.meta).expect("metadata is plain text and numbers");
                written = Some(&event.meta);
            }
            self.event_id.clear();
            write!(self.event_id, "{}", event.id).expect("a String takes what is written");
            let append = match event.version {
                1 => &mut self.prepared.append_first,
                _ => &mut self.prepared.append_next,
            };
            let rows = append.execute(params![
                signed(position.0),
                signed(prev.0),
                event.stream.as_str(),
                signed(event.version),
                event.lane.0,
                self.event_id,
                event.event_type,
                event.time.as_microsecond(),
                event.data.get(),
                self.meta,
            ])?;
            if rows == 0 {
                self.conflict(Conflict::Stream(event.stream.clone()));
            }
            self.appended.push(event.recorded(position, prev));
        }
        Ok(())
    }

    /// Names each thing once, however many parts of the batch fell over it.
    fn conflict(&mut self, conflict: Conflict) {
        if !self.conflicts.contains(&conflict) {
            self.conflicts.push(conflict);
        }
    }

    fn finish_rebuild(&self) -> Result<(), StoreError> {
        let done = self.connection.execute("UPDATE head SET rebuilding = NULL", []);
        done.map(|_| ()).map_err(|error| unavailable(&error))
    }
}

enum Outcome {
    /// The journal ends there once it is committed.
    Written(Head),
    /// The same batch was committed before.
    Already(Committed),
}

/// Versions and positions count one by one from 1, so a larger number than SQLite has is one that nothing has.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

#[cfg(test)]
mod tests;
