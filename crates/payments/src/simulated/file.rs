//! The ledger's file: JSON lines that are only ever appended, by one process at a time.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ledger::{Entry, Ledger};

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
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
    /// What others rely upon is gone.
    #[error("the ledger {} was removed or cut short while it was in use", .path.display())]
    Lost {
        /// Which file.
        path: PathBuf,
    },
}

/// The open file, and the ledger as far as it was read. Other processes may append to it whenever it is not locked.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    file: File,
    pub(crate) ledger: Ledger,
    /// Up to here it was read, or written here.
    length: u64,
    lines: usize,
    /// Whether some of that may not be on the disk: whoever wrote it may have been killed before its flush.
    is_unflushed: bool,
    #[cfg(test)]
    pub(crate) flushes: u64,
    #[cfg(test)]
    pub(crate) fails_to_flush: bool,
}

impl LedgerFile {
    /// Makes the file if need be, and reads it.
    pub(crate) fn create(path: &Path) -> Result<Self, OpenError> {
        let file = Self::open_with(path, OpenOptions::new().create(true).truncate(false).mode(0o600))?;
        // The file's name has to survive a power cut too.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| file.failed(source))?;
        let mut file = file.lock()?;
        file.catch_up()?;
        file.unlock().map_err(|source| file.failed(source))?;
        Ok(file)
    }

    /// Opens what was made before. Nothing is read yet.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, &mut OpenOptions::new())
    }

    fn open_with(path: &Path, options: &mut OpenOptions) -> Result<Self, OpenError> {
        let path = PathBuf::from(path);
        match options.read(true).write(true).open(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                ledger: Ledger::default(),
                length: 0,
                lines: 0,
                is_unflushed: false,
                #[cfg(test)]
                flushes: 0,
                #[cfg(test)]
                fails_to_flush: false,
            }),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    /// Waits for the file. It is locked until it is unlocked, or closed, or the process ends.
    pub(crate) fn lock(self) -> Result<Self, OpenError> {
        match self.file.lock() {
            Ok(()) => Ok(self),
            Err(source) => Err(self.failed(source)),
        }
    }

    pub(crate) fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Reads what others have added. To be called with the file locked, as all that follows.
    pub(crate) fn catch_up(&mut self) -> Result<(), OpenError> {
        let metadata = self.file.metadata().map_err(|source| self.failed(source))?;
        let path = || self.path.clone();
        match metadata.len().cmp(&self.length) {
            _ if metadata.nlink() == 0 => Err(OpenError::Lost { path: path() }),
            Ordering::Less => Err(OpenError::Lost { path: path() }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => self.read(),
        }
    }

    /// Reads from where it was read to, and cuts off a last line that a crash has torn: it was acknowledged to nobody.
    fn read(&mut self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io {
            path: self.path.clone(),
            source,
        };
        let mut torn: Option<String> = None;
        let mut lines = BufReader::new(&self.file);
        lines.seek(SeekFrom::Start(self.length)).map_err(failed)?;
        let mut line = Vec::new();
        loop {
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
                    self.ledger.apply(entry);
                    self.length += bytes as u64;
                    self.lines += 1;
                }
                (Ok(_), Some(reason)) => {
                    return Err(OpenError::Damaged {
                        path: self.path.clone(),
                        line: self.lines + 1,
                        reason,
                    });
                }
                (Err(_), Some(first)) => torn = Some(first),
                (Err(reason), None) => torn = Some(reason),
            }
        }
        if let Some(reason) = torn {
            tracing::warn!(path = %self.path.display(), line = self.lines + 1, reason, "the ledger's torn end is cut off");
            self.file.set_len(self.length).map_err(failed)?;
        }
        self.is_unflushed = true;
        Ok(())
    }

    /// Appends whole lines, and returns when they and all that was read are on the disk. After an error the file is to be
    /// closed, and read anew.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() && !self.is_unflushed {
            return Ok(());
        }
        let written = self.file.write_all_at(lines, self.length);
        if let Err(error) = written.and_then(|()| self.flush()) {
            // Nobody was told of it, and what a flush has failed on may be in memory only. Should this fail too, others take
            // what is whole of it for what it says: the callers are told that the outcome is unknown.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += lines.len() as u64;
        self.lines += lines.iter().filter(|&&byte| byte == b'\n').count();
        self.is_unflushed = false;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(test)]
        {
            self.flushes += 1;
            if self.fails_to_flush {
                return Err(io::ErrorKind::Other.into());
            }
        }
        self.file.sync_data()
    }

    fn failed(&self, source: io::Error) -> OpenError {
        OpenError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
impl LedgerFile {
    /// From now on writing fails, until the file is opened again.
    pub(crate) fn break_for_test(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}
