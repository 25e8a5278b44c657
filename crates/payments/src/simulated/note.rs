//! That payments has a ledger, as its store says.
//!
//! Replicas on one store with a ledger each would contradict each other, and nobody would see it. So the first that starts
//! notes that there is a ledger, and from then on none is begun.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kernel::context::Context;
use kernel::document::{Collection, Document, Kind};
use kernel::engine::Engine;
use kernel::event::Position;
use kernel::store::StoreError;
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};

use super::{OpenError, Simulated};

const SIMULATED: &str = "simulated";

/// The note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// Where the file was for whoever noted it, for a person to find it by.
    path: PathBuf,
    /// Tells it from another that is begun at the same time. Means nothing later: it may be copied to another place.
    inode: u64,
}

impl Document for Noted {
    const COLLECTION: &'static Collection = &Collection {
        name: "provider_ledgers",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// Why payments does not start with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has had one, and here is none.
    #[error(
        "there is no {}, and payments on this store has a ledger already (it was begun as {}): replicas of payments share one, \
         which TRADEWIND_SIMULATED_LEDGER names; if it is lost, make an empty file there to go on without it",
        .path.display(),
        .begun.display()
    )]
    Elsewhere {
        /// Where it was looked for.
        path: PathBuf,
        /// Where it was when it was begun.
        begun: PathBuf,
    },
    /// There were payments before the store came here, and so a ledger.
    #[error(
        "there is no {}, and payments on this store has a history: take payment-ledger.jsonl along from the data directory where it \
         was, or refunds of older payments fail; TRADEWIND_SIMULATED_LEDGER names another place; if it is lost, make an empty file \
         there to go on without it",
        .path.display()
    )]
    Left {
        /// Where it was looked for.
        path: PathBuf,
    },
}

impl Simulated {
    /// With the ledger that all replicas on this store have, in this file. It is made if the store has had none.
    pub async fn open_for(engine: &Engine, path: &Path) -> Result<Self, StartError> {
        let elsewhere = |noted: &Noted| StartError::Elsewhere {
            path: path.into(),
            begun: noted.path.clone(),
        };
        if let Some(noted) = engine.reader().get::<Noted>(SIMULATED).await? {
            return match path.exists() {
                true => Ok(Self::open(path)?),
                false => Err(elsewhere(&noted)),
            };
        }
        let head = engine.reader().store().tail(Position::START, 0).await?.head;
        if head.position > Position::START && !path.exists() {
            return Err(StartError::Left { path: path.into() });
        }
        let opened = Self::open(path)?;
        let found = path.canonicalize().and_then(|path| Ok((fs::metadata(&path)?, path)));
        let (metadata, canonical) = found.map_err(|source| failed(path, source))?;
        let here = Noted {
            path: canonical,
            inode: metadata.ino(),
        };
        let noted = note(engine, here.clone()).await?;
        if noted.inode == here.inode {
            return Ok(opened);
        }
        // Somebody else has begun another meanwhile. What was made in vain would be taken for the ledger at the next start.
        if metadata.len() == 0 {
            fs::remove_file(path).map_err(|source| failed(path, source))?;
        }
        Err(elsewhere(&noted))
    }
}

/// Notes it, unless there is a note already; gives the one that holds.
async fn note(engine: &Engine, here: Noted) -> Result<Noted, StoreError> {
    let noted = engine
        .writer()
        .execute(Priority::Client, Context::system("ledger"), move |unit| {
            if let Some(noted) = unit.get::<Noted>(SIMULATED) {
                return Ok(Noted::clone(&noted));
            }
            unit.put(SIMULATED, here.clone());
            Ok::<_, writer::Error>(here.clone())
        });
    noted.await.map_err(StoreError::new)
}

fn failed(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.into(),
        source,
    }
}
