//! Calls wait in a queue, and are answered together: one lock, one write and one flush for all of them.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use contracts::PaymentId;
use tokio::sync::oneshot;

use super::file::{LedgerFile, OpenError};
use super::ledger::{Account, Answer, Request};
use super::locked;
use crate::provider::Error;

/// The way to a ledger in a file.
pub(super) struct Queue {
    path: PathBuf,
    waiting: Mutex<Vec<Call>>,
    /// Held by whoever answers. `None` after a failure; then it is opened and read anew.
    pub(super) file: Mutex<Option<LedgerFile>>,
}

struct Call {
    key: Box<str>,
    request: Request,
    answer: oneshot::Sender<Result<Answer, Error>>,
}

impl Queue {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            path: path.into(),
            waiting: Mutex::default(),
            file: Mutex::new(Some(LedgerFile::create(path)?)),
        })
    }

    pub(super) fn accounts(&self) -> Vec<(PaymentId, Account)> {
        let file = locked(&self.file);
        file.as_ref().map(|file| file.ledger.accounts()).unwrap_or_default()
    }

    /// Whoever finds the queue empty takes it to the file, with all that has come by then. In a task of its own, which goes
    /// on when the caller is dropped.
    pub(super) async fn ask(self: &Arc<Self>, key: &str, request: Request) -> Result<Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let call = Call {
            key: key.into(),
            request,
            answer,
        };
        let is_first = {
            let mut waiting = locked(&self.waiting);
            waiting.push(call);
            waiting.len() == 1
        };
        if is_first {
            let queue = Arc::clone(self);
            tokio::task::spawn_blocking(move || queue.take_turn());
        }
        let ended = |_| Err(Error::Unknown("whoever had the ledger has ended".into()));
        answered.await.unwrap_or_else(ended)
    }

    fn take_turn(&self) {
        let mut place = locked(&self.file);
        let file = match place.take() {
            Some(file) => Ok(file),
            None => LedgerFile::open(&self.path),
        };
        let file = file.and_then(LedgerFile::lock);
        // Who comes from now on finds it empty, and begins the next turn.
        let calls = mem::take(&mut *locked(&self.waiting));
        match file.map_err(unavailable).and_then(|file| answer(file, &calls)) {
            Ok((file, answers)) => {
                *place = Some(file);
                for (call, answer) in calls.into_iter().zip(answers) {
                    // The caller may be gone.
                    let _ = call.answer.send(answer);
                }
            }
            Err(error) => {
                for call in calls {
                    let _ = call.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

type Answered = (LedgerFile, Vec<Result<Answer, Error>>);

/// Answers the calls from the locked file, which is unlocked when all is on the disk. After a failure it is closed, which
/// unlocks it too.
fn answer(mut file: LedgerFile, calls: &[Call]) -> Result<Answered, Error> {
    file.catch_up().map_err(unavailable)?;
    let mut lines = Vec::new();
    let mut enter = |call: &Call| {
        let answered = file.ledger.answer(&call.key, call.request.clone(), &mut lines);
        answered.map_err(Error::Contradiction)
    };
    let answers = calls.iter().map(&mut enter).collect();
    let written = file.append(&lines).and_then(|()| file.unlock());
    written.map_err(|error| Error::Unknown(format!("the ledger could not be written: {error}")))?;
    Ok((file, answers))
}

fn unavailable(error: OpenError) -> Error {
    Error::Unavailable {
        reason: error.to_string(),
        after: None,
    }
}
