//! The ledger's file: JSON lines that are only ever appended.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::ledger::{Entry, Ledger};

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the ledger {} is in use by another process", .path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("the ledger {} cannot be opened: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line in the middle is damaged: what follows it was acknowledged, so nothing can be cut off.
    #[error("line {line} of the ledger {} is damaged: {reason}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why it cannot be read.
        reason: String,
    },
}

/// The open file, locked against other processes.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    file: File,
    /// Up to here it is good and on the disk.
    length: u64,
    /// How many entries were written since the ledger was read.
    pub(crate) entries: u64,
    #[cfg(test)]
    pub(crate) flushes: u64,
}

impl LedgerFile {
    pub(crate) fn open(path: &Path) -> Result<(Self, Ledger), OpenError> {
        let failed = |source| OpenError::Io {
            path: path.into(),
            source,
        };
        let file = Self::open_locked(path)?;
        // The file's name has to survive a power cut too.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        let mut file = Self {
            path: path.into(),
            file,
            length: 0,
            entries: 0,
            #[cfg(test)]
            flushes: 0,
        };
        let ledger = file.read()?;
        Ok((file, ledger))
    }

    fn open_locked(path: &Path) -> Result<File, OpenError> {
        let failed = |source| OpenError::Io {
            path: path.into(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { path: path.into() },
            TryLockError::Error(source) => failed(source),
        })?;
        Ok(file)
    }

    /// Appends whole lines, and returns when they are on the disk. After an error, read again.
    pub(crate) fn append(&mut self, lines: &[u8], entries: u64) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        #[cfg(test)]
        {
            self.flushes += 1;
        }
        self.length += lines.len() as u64;
        self.entries = entries;
        Ok(())
    }

    /// Goes back to what was good before an error.
    pub(crate) fn read_again(&mut self) -> Result<Ledger, OpenError> {
        // A handle that failed may stay useless.
        self.file.unlock().map_err(|source| OpenError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.file = Self::open_locked(&self.path)?;
        // What the failed write left behind was acknowledged to nobody.
        self.file.set_len(self.length).map_err(|source| OpenError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.entries = 0;
        self.read()
    }

    /// Reads the ledger, and cuts off a last line that a crash has torn: it was acknowledged to nobody.
    fn read(&mut self) -> Result<Ledger, OpenError> {
        let failed = |source| OpenError::Io {
            path: self.path.clone(),
            source,
        };
        let mut ledger = Ledger::default();
        let mut length = 0;
        let mut torn: Option<(usize, String)> = None;
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut lines = BufReader::new(&self.file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let bytes = lines.read_until(b'\n', &mut line).map_err(failed)?;
            if bytes == 0 {
                break;
            }
            let entry = match line.strip_suffix(b"\n") {
                Some(whole) => serde_json::from_slice::<Entry>(whole).map_err(|error| error.to_string()),
                None => Err("it does not end".to_owned()),
            };
            match (entry, torn.take()) {
                (Ok(entry), None) => {
                    ledger.apply(entry);
                    length += bytes as u64;
                }
                (Ok(_), Some((line, reason))) => {
                    return Err(OpenError::Damaged {
                        path: self.path.clone(),
                        line,
                        reason,
                    });
                }
                (Err(_), Some(first)) => torn = Some(first),
                (Err(reason), None) => torn = Some((number, reason)),
            }
        }
        if let Some((line, reason)) = torn {
            tracing::warn!(path = %self.path.display(), line, reason, "the ledger's torn end is cut off");
            self.file
                .set_len(length)
                .and_then(|()| self.file.sync_data())
                .map_err(failed)?;
        }
        self.file.seek(SeekFrom::Start(length)).map_err(failed)?;
        self.length = length;
        Ok(ledger)
    }
}

#[cfg(test)]
impl LedgerFile {
    /// From now on writing fails, until the file is opened again.
    pub(crate) fn break_for_test(&mut self) {
        self.file.unlock().unwrap();
        self.file = File::open(&self.path).unwrap();
    }
}
