//! The data directory: one SQLite file per service, the payment ledger, and a lock that keeps a second process out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use contracts::Service;
use kernel::clock::{Clock, Ids};
use uuid::Uuid;

/// The directory, held by this process until it is dropped, unless it was only looked at.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: Option<File>,
}

impl DataDirectory {
    /// Makes the directory if need be, and locks it. Refused while another process holds it.
    pub fn lock(path: &Path) -> Result<Self> {
        // The directory holds keys, passwords' hashes and people's addresses: nobody else on the machine may look.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data directory {}; set TRADEWIND_DATA", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"));
        let lock = lock.with_context(|| format!("cannot write to {}; set TRADEWIND_DATA", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path,
                _lock: Some(lock),
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another tradewind process; stop that one first, or set TRADEWIND_DATA to another directory",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock the data directory {}", path.display()))
            }
        }
    }

    /// The directory as it is or would be, whoever has locked it.
    pub fn imagine(path: &Path) -> Result<Self> {
        let there = path.canonicalize().or_else(|_| std::path::absolute(path));
        let path = there.with_context(|| format!("cannot find {}", path.display()))?;
        Ok(Self { path, _lock: None })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a service's store.
    #[must_use]
    pub fn store(&self, service: Service) -> PathBuf {
        self.path.join(format!("{service}.sqlite"))
    }

    /// The ledger of the simulated payment provider, unless it is elsewhere.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.path.join("payment-ledger.jsonl")
    }

    /// The name of whoever runs on this directory, among the replicas that share a database. Made at the first start.
    pub fn replica(&self, ids: &Ids, clock: &dyn Clock) -> Result<Uuid> {
        let path = self.path.join("replica");
        let named = || -> Result<Uuid> {
            match std::fs::read_to_string(&path) {
                Ok(name) => Ok(name.trim().parse()?),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let name = ids.uuid(clock.now());
                    write_private(&path, &name.to_string())?;
                    Ok(name)
                }
                Err(error) => Err(error.into()),
            }
        };
        named().with_context(|| format!("{} is not readable; if it is damaged, remove it", path.display()))
    }

    /// Keeps the first admin's password, readable by its owner alone.
    pub fn write_admin_password(&self, password: &str) -> Result<PathBuf> {
        let path = self.path.join("admin-password");
        write_private(&path, password).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A file of one line, readable by its owner alone and on the disk when this returns.
fn write_private(path: &Path, line: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{line}")?;
    file.sync_all()
}
