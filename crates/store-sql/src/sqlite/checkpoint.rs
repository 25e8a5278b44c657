//! Writing the log back into the file: beside the commits, on a thread and a connection of its own.
//!
//! SQLite by itself does this within the commit that fills the log, which then takes ten times as long as others. The
//! pass beside the commits never catches up with a busy writer, though, and the log starts anew only once all of it
//! is written back. So the writer copies the short rest between two commits, when the pass is through.

use std::sync::mpsc;
use std::thread::JoinHandle;

use kernel::store::StoreError;
use rusqlite::{Connection, Row, Statement};

use crate::sqlite::failure::unavailable;

/// A pass begins when so many pages of the log are not in the file yet.
const LOG_PAGES: u64 = 4096;

/// Writes the whole log back and empties it: nobody else uses the store any more.
pub(super) fn finish(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "a store's log could not be written back; the next start does it");
    }
}

/// The writer's side.
pub(super) struct Checkpoints<'c> {
    progress: Statement<'c>,
    rest: Statement<'c>,
    whole: Statement<'c>,
    passes: Passes,
}

impl<'c> Checkpoints<'c> {
    pub(super) fn new(connection: &'c Connection, passes: Passes) -> rusqlite::Result<Self> {
        let progress = connection.prepare("PRAGMA wal_checkpoint(NOOP)")?;
        let rest = connection.prepare("PRAGMA wal_checkpoint(PASSIVE)")?;
        let whole = connection.prepare("PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(Self {
            progress,
            rest,
            whole,
            passes,
        })
    }

    /// Begins a pass if it is time, and ends it. Called between two commits.
    pub(super) fn advance(&mut self) {
        let pages = |row: &Row<'_>| Ok((row.get::<_, u64>(1)?, row.get::<_, u64>(2)?));
        let outcome = if self.passes.running {
            if !self.passes.is_through() {
                return;
            }
            self.rest.query_row([], |_| Ok(()))
        } else {
            self.progress.query_row([], pages).map(|(log, written_back)| {
                if log.saturating_sub(written_back) >= LOG_PAGES {
                    self.passes.begin();
                }
            })
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "a store's log could not be written back yet");
        }
    }

    /// Writes the whole log back and empties its file, so that nothing overwritten is left in it. Waits for reads that
    /// have begun; those that begin meanwhile need no log.
    pub(super) fn scrub(&mut self) -> Result<(), StoreError> {
        self.passes.wait();
        let busy = self.whole.query_row([], |row| row.get::<_, bool>(0));
        match busy {
            Ok(false) => Ok(()),
            Ok(true) => Err(StoreError::new("a read has taken too long for the log to be emptied")),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

/// The thread beside the commits.
pub(super) struct Passes {
    running: bool,
    begin: Option<mpsc::Sender<()>>,
    through: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Passes {
    /// `connection` is for the passes alone.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (begin, begun) = mpsc::channel();
        let (ended, through) = mpsc::channel();
        let work = move || {
            for () in begun {
                let pass = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                if let Err(error) = pass {
                    tracing::warn!(%error, "a store's log could not be written back yet");
                }
                if ended.send(()).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("sqlite-checkpoint".into())
            .spawn(work)?;
        Ok(Self {
            running: false,
            begin: Some(begin),
            through,
            thread: Some(thread),
        })
    }

    fn begin(&mut self) {
        self.running = self.begin.as_ref().is_some_and(|begin| begin.send(()).is_ok());
    }

    fn wait(&mut self) {
        if self.running {
            // An error means that the thread has gone, and with it the pass.
            let _ = self.through.recv();
            self.running = false;
        }
    }

    fn is_through(&mut self) -> bool {
        self.running = matches!(self.through.try_recv(), Err(mpsc::TryRecvError::Empty));
        !self.running
    }
}

impl Drop for Passes {
    /// Waits for a pass that runs, so that nobody else has the file when the log is emptied.
    fn drop(&mut self) {
        self.begin = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes a store's log back panicked");
        }
    }
}
