//! What a batch of decisions has read and changed in memory, before its commit.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::{Cache, Cached};
use crate::document::{Collection, Document, Key, Value};
use crate::effect::Attempt;
use crate::event::NewEvent;
use crate::store::{Delete, Expect, Put, Stored};

/// A document in memory: as it came from the store, or as its type.
#[derive(Clone)]
pub(crate) enum Body {
    Raw(Arc<str>),
    Typed(Arc<dyn Any + Send + Sync>, &'static Codec),
}

/// A document as the store takes it: JSON, and the values of its columns.
type Encoded = Result<(Arc<str>, Vec<Value>), serde_json::Error>;

/// How a typed body becomes JSON and columns again.
pub(crate) struct Codec {
    encode: fn(&(dyn Any + Send + Sync)) -> Encoded,
}

impl Body {
    pub(crate) fn typed<D: Document>(document: Arc<D>) -> Self {
        Self::Typed(document, &Codec { encode: encode::<D> })
    }

    /// The document as `D`, decoding it if it is still JSON.
    pub(crate) fn decode<D: Document>(&self) -> Result<Arc<D>, serde_json::Error> {
        match self {
            Self::Raw(json) => serde_json::from_str(json).map(Arc::new),
            Self::Typed(any, _) => {
                let typed = Arc::clone(any).downcast::<D>();
                Ok(typed.unwrap_or_else(|_| panic!("collection {} holds two types", D::COLLECTION.name)))
            }
        }
    }

    fn encode(&self) -> Encoded {
        match self {
            Self::Raw(json) => Ok((Arc::clone(json), Vec::new())),
            Self::Typed(any, codec) => (codec.encode)(any.as_ref()),
        }
    }
}

fn encode<D: Document>(any: &(dyn Any + Send + Sync)) -> Encoded {
    let document = any.downcast_ref::<D>().expect("a body's codec is made with its type");
    Ok((serde_json::to_string(document)?.into(), document.columns()))
}

/// What is known of a document in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    /// Never read: an id just drawn, which nothing else can have.
    Fresh,
    /// Read, with this version; `None` is absent.
    Read(Option<u64>),
}

struct Slot {
    key: Key,
    base: Base,
    body: Option<Body>,
    /// Size of the body as JSON, as it was read or is to be written.
    bytes: usize,
    written: bool,
}

/// Where to go back to when a command is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint {
    undo: usize,
    events: usize,
    effects: usize,
}

struct Undo {
    slot: usize,
    body: Option<Body>,
    written: bool,
}

/// What a batch before this one writes, whose commit is on its way: newer than the cache.
pub(crate) type Beneath = ByKey<Cached>;

/// Keys are asked for several times by each decision; the hash is fast, and seeded so that nobody can choose collisions.
type ByKey<T> = HashMap<Key, T, foldhash::fast::RandomState>;

/// The state of one batch: a view of the store through the cache, with the changes of its commands on top.
pub(crate) struct Overlay {
    cache: Cache,
    beneath: Option<Arc<Beneath>>,
    slots: Vec<Slot>,
    by_key: ByKey<usize>,
    undo: Vec<Undo>,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) effects: Vec<Attempt>,
    pub(crate) missing: Vec<Key>,
    /// Collections of which the highest id is not known.
    pub(crate) unknown: Vec<&'static Collection>,
    pub(crate) fault: Option<Fault>,
}

/// Why a command cannot be carried out although its decision was made.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    EventTooLarge { bytes: usize },
    Corrupt(String),
}

impl Overlay {
    pub(crate) fn new(cache: Cache, beneath: Option<Arc<Beneath>>) -> Self {
        Self {
            cache,
            beneath,
            slots: Vec::new(),
            by_key: ByKey::default(),
            undo: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
            missing: Vec::new(),
            unknown: Vec::new(),
            fault: None,
        }
    }

    /// The document, or `None` if it is absent, or missing from memory (which is noted: the decision will run again).
    pub(crate) fn get<D: Document>(&mut self, id: Arc<str>) -> Option<Arc<D>> {
        let index = self.slot(Key::of::<D>(id), D::COLLECTION)?;
        let slot = &mut self.slots[index];
        match slot.body.as_ref()?.decode::<D>() {
            Ok(document) => {
                if matches!(slot.body, Some(Body::Raw(_))) {
                    slot.body = Some(Body::typed(Arc::clone(&document)));
                }
                Some(document)
            }
            Err(error) => {
                self.fault = Some(Fault::Corrupt(format!("{:?}: {error}", slot.key)));
                None
            }
        }
    }

    /// Notes that `id` was just drawn, so that nothing needs to be read.
    pub(crate) fn fresh<D: Document>(&mut self, id: Arc<str>) {
        let key = Key::of::<D>(id);
        if !self.by_key.contains_key(&key) {
            self.insert(key, Base::Fresh, None, 0);
        }
    }

    /// Makes sure that the document is in memory, or notes that it is missing.
    pub(crate) fn load<D: Document>(&mut self, id: Arc<str>) {
        let _ = self.slot(Key::of::<D>(id), D::COLLECTION);
    }

    pub(crate) fn write<D: Document>(&mut self, id: Arc<str>, document: Option<D>) {
        let Some(index) = self.slot(Key::of::<D>(id), D::COLLECTION) else {
            return;
        };
        let body = document.map(|document| Body::typed(Arc::new(document)));
        self.replace(index, body);
    }

    /// Changes a copy of the document; the one before it is kept until the command is done.
    pub(crate) fn update<D: Document>(&mut self, id: Arc<str>, change: impl FnOnce(&mut Option<D>)) {
        let Some(index) = self.slot(Key::of::<D>(Arc::clone(&id)), D::COLLECTION) else {
            return;
        };
        let mut document = self.get::<D>(id).map(|document| D::clone(&document));
        change(&mut document);
        let body = document.map(|document| Body::typed(Arc::new(document)));
        self.replace(index, body);
    }

    fn replace(&mut self, index: usize, body: Option<Body>) {
        let slot = &mut self.slots[index];
        let before = std::mem::replace(&mut slot.body, body);
        self.undo.push(Undo {
            slot: index,
            body: before,
            written: slot.written,
        });
        slot.written = true;
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint {
            undo: self.undo.len(),
            events: self.events.len(),
            effects: self.effects.len(),
        }
    }

    /// Takes back every change since the savepoint; what was read stays known.
    pub(crate) fn roll_back(&mut self, to: Savepoint) {
        for Undo { slot, body, written } in self.undo.drain(to.undo..).rev() {
            self.slots[slot].body = body;
            self.slots[slot].written = written;
        }
        self.events.truncate(to.events);
        self.effects.truncate(to.effects);
    }

    /// Adds what a read of the store brought, so that the waiting decisions can run.
    pub(crate) fn fill(&mut self, key: Key, stored: Option<Stored>) {
        if self.by_key.contains_key(&key) {
            return;
        }
        let version = stored.as_ref().map(|stored| stored.version);
        let bytes = stored.as_ref().map_or(0, |stored| stored.document.len());
        let body = stored.map(|stored| Body::Raw(stored.document));
        self.insert(key, Base::Read(version), body, bytes);
    }

    fn slot(&mut self, key: Key, collection: &'static Collection) -> Option<usize> {
        if let Some(&index) = self.by_key.get(&key) {
            return Some(index);
        }
        let beneath = self.beneath.as_ref().and_then(|beneath| beneath.get(&key).cloned());
        if let Some(Cached { version, body, bytes }) = beneath.or_else(|| self.cache.get(&key)) {
            return Some(self.insert(key, Base::Read(version), body, bytes));
        }
        match self.cache.lies_beyond(&key) {
            Some(true) => return Some(self.insert(key, Base::Read(None), None, 0)),
            Some(false) => {}
            None => self.unknown.push(collection),
        }
        self.missing.push(key);
        None
    }

    fn insert(&mut self, key: Key, base: Base, body: Option<Body>, bytes: usize) -> usize {
        let index = self.slots.len();
        self.by_key.insert(key.clone(), index);
        self.slots.push(Slot {
            key,
            base,
            body,
            bytes,
            written: false,
        });
        index
    }

    /// Whether a commit would change anything.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.events.is_empty() && self.slots.iter().all(|slot| !slot.written)
    }

    /// The batch's document writes, and what was only read.
    pub(crate) fn writes(&mut self) -> Result<Writes, serde_json::Error> {
        let mut writes = Writes::default();
        for Slot {
            key,
            base,
            body,
            bytes,
            written,
        } in &mut self.slots
        {
            let expect = match base {
                Base::Fresh | Base::Read(None) => Expect::Absent,
                Base::Read(Some(version)) => Expect::Version(*version),
            };
            match (written, body, base) {
                (true, Some(body), _) => {
                    let (document, columns) = body.encode()?;
                    *bytes = document.len();
                    writes.puts.push(Put {
                        key: key.clone(),
                        document,
                        columns,
                        expect,
                    });
                }
                (true, None, Base::Read(Some(_))) => writes.deletes.push(Delete {
                    key: key.clone(),
                    expect,
                }),
                (false, _, Base::Read(version)) | (true, None, Base::Read(version @ None)) => {
                    writes.reads.push((key.clone(), *version));
                }
                (_, None, Base::Fresh) | (false, Some(_), Base::Fresh) => {}
            }
        }
        Ok(writes)
    }

    /// What the documents will be that are written, for who decides before that is committed.
    pub(crate) fn written(&self) -> Beneath {
        let written = self.slots.iter().filter(|slot| slot.written);
        written.map(|slot| (slot.key.clone(), slot.after())).collect()
    }

    /// After the commit: what the documents are now, for the cache.
    pub(crate) fn publish(self) {
        let known = |slot: &Slot| slot.written || slot.base != Base::Fresh;
        for slot in self.slots.into_iter().filter(known) {
            let after = slot.after();
            self.cache.insert(slot.key, after);
        }
    }
}

impl Slot {
    /// The document once its batch is committed.
    fn after(&self) -> Cached {
        let before = match self.base {
            Base::Fresh => None,
            Base::Read(version) => version,
        };
        let version = match (self.written, &self.body) {
            (false, _) => before,
            (true, Some(_)) => Some(before.unwrap_or(0) + 1),
            (true, None) => None,
        };
        let bytes = if self.body.is_some() { self.bytes } else { 0 };
        Cached {
            version,
            body: self.body.clone(),
            bytes,
        }
    }
}

/// The documents' part of a [`crate::store::Batch`].
#[derive(Default)]
pub(crate) struct Writes {
    pub(crate) puts: Vec<Put>,
    pub(crate) deletes: Vec<Delete>,
    pub(crate) reads: Vec<(Key, Option<u64>)>,
}
