//! Messages that a consumer cannot read for a while, and the dead letters that come of it [P10].
//!
//! What is unreadable is the reader, as after a faulty release: the event in the source's journal is as it was. So a dead
//! letter is put right on its way to the store, and whoever is started anew from there can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::Service;
use kernel::bus::{Group, Message};
use kernel::document::Document as _;
use kernel::event::{Lane, Position, Recorded};
use kernel::reaction::DeadLetter;
use kernel::store::{Batch, Put};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::line::Line;

/// How long a message stays unreadable: now and then for less than a consumer waits before it parks one.
const UNREADABLE_MAX: Duration = Duration::from_secs(8);
/// Why a letter was parked that can be read.
const BEHIND: &str = "it waits behind an earlier event of its stream";

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// A consumer gave up on it.
    Parked,
    /// It was tried again, and handled.
    Retried,
    /// It was tried again, and failed again.
    FailedAgain,
    /// An admin gave it up.
    Discarded,
}

impl Fate {
    /// All there are.
    pub const ALL: &'static [Self] = &[Self::Parked, Self::Retried, Self::FailedAgain, Self::Discarded];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Retried => "retried",
            Self::FailedAgain => "failed again",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// All poison of a run; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poison(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Until when a group cannot read a message.
    unreadable: BTreeMap<(Group, Lane, Position), Duration>,
    /// What stands in the place of each message's data, and the data.
    originals: BTreeMap<String, String>,
    /// Whose letters are to be expected: service, consumer, source and stream.
    expected: BTreeSet<(Service, String, Service, String)>,
    /// Letters, by what became of them.
    letters: BTreeMap<Fate, BTreeSet<String>>,
    strangers: Vec<String>,
}

impl Poison {
    /// The message as the group reads it now.
    pub(crate) fn read(&self, line: &Line, group: &Group, message: Message) -> Message {
        // The log copies what it does not read.
        if group.service == Service::Events {
            return message;
        }
        let now = line.clock.monotonic();
        let place = (group.clone(), message.event.lane, message.event.position);
        let strikes = line.strikes(Fault::Unreadable);
        let mut inner = self.locked();
        if strikes {
            let until = now + line.dice.up_to(UNREADABLE_MAX);
            inner.unreadable.entry(place.clone()).or_insert(until);
        }
        let is_unreadable = inner.unreadable.get(&place).is_some_and(|until| now < *until);
        match is_unreadable && line.faults.are_active() {
            true => inner.spoil(group, &message),
            false => message,
        }
    }

    /// The batch as it is to be stored: its dead letters hold the events as they are in their journals.
    pub(crate) fn put_right(&self, service: Service, batch: Arc<Batch>) -> Arc<Batch> {
        if !batch.puts.iter().any(is_letter) {
            return batch;
        }
        let mut inner = self.locked();
        let puts: Vec<Put> = batch.puts.iter().map(|put| inner.put_right(service, put)).collect();
        Arc::new(Batch {
            id: batch.id,
            writer: Arc::clone(&batch.writer),
            time: batch.time,
            events: batch.events.clone(),
            puts,
            deletes: batch.deletes.iter().map(again).collect(),
            reads: batch.reads.clone(),
        })
    }

    /// Counts the letters of a batch that was committed.
    pub(crate) fn count(&self, batch: &Batch) {
        let put = batch.puts.iter().filter(|put| is_letter(put));
        let put = put.map(|put| {
            let letter = letter(put);
            let fate = match (&letter.discarded, letter.retries) {
                (Some(_), _) => Fate::Discarded,
                (None, 0) => Fate::Parked,
                (None, _) => Fate::FailedAgain,
            };
            (fate, letter.id.to_string())
        });
        let is_letter = |delete: &&kernel::store::Delete| delete.key.collection == DeadLetter::COLLECTION.name;
        let deleted = batch.deletes.iter().filter(is_letter);
        let deleted = deleted.map(|delete| (Fate::Retried, delete.key.id.to_string()));
        for (fate, id) in put.chain(deleted) {
            self.locked().letters.entry(fate).or_default().insert(id);
        }
    }

    /// How many letters had each fate.
    pub(crate) fn counted(&self) -> BTreeMap<Fate, u64> {
        let inner = self.locked();
        let counted = inner
            .letters
            .iter()
            .map(|(fate, letters)| (*fate, letters.len() as u64));
        counted.collect()
    }

    /// Dead letters that are not of the simulation's making.
    pub(crate) fn strangers(&self) -> Vec<String> {
        self.locked().strangers.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn spoil(&mut self, group: &Group, message: &Message) -> Message {
        let event = &message.event;
        let spoilt = format!("{{\"unreadable\":\"{}\"}}", event.id);
        self.originals.insert(spoilt.clone(), event.data.get().to_owned());
        self.expected.insert((
            group.service,
            group.consumer.to_owned(),
            group.source,
            event.stream.to_string(),
        ));
        let data = RawValue::from_string(spoilt).expect("an object of one word is JSON");
        Message {
            event: Arc::new(Recorded {
                data,
                ..Recorded::clone(event)
            }),
            ..message.clone()
        }
    }

    fn put_right(&mut self, service: Service, put: &Put) -> Put {
        let mut document = Arc::clone(&put.document);
        if is_letter(put) {
            let letter = letter(put);
            if letter.retries == 0 && letter.discarded.is_none() && !self.is_expected(service, &letter) {
                self.strangers.push(format!("{service}: {document}"));
            }
            let data = letter.event.data.get();
            if let Some(original) = self.originals.get(data) {
                document = document.replace(data, original).into();
            }
        }
        Put {
            key: put.key.clone(),
            document,
            columns: put.columns.clone(),
            expect: put.expect,
        }
    }

    fn is_expected(&self, service: Service, letter: &DeadLetter) -> bool {
        let stream = letter.event.stream.to_string();
        let key = (service, letter.consumer.to_string(), letter.source, stream);
        let is_spoilt = self.originals.contains_key(letter.event.data.get());
        self.expected.contains(&key) && (is_spoilt || letter.reason == BEHIND)
    }
}

fn is_letter(put: &Put) -> bool {
    put.key.collection == DeadLetter::COLLECTION.name
}

fn letter(put: &Put) -> DeadLetter {
    serde_json::from_str(&put.document).expect("a dead letter is read as it was written")
}

fn again(delete: &kernel::store::Delete) -> kernel::store::Delete {
    kernel::store::Delete {
        key: delete.key.clone(),
        expect: delete.expect,
    }
}
