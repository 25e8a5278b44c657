//! A provider for development, tests and demonstrations. It takes nobody's money, and is as strict as a real one.
//!
//! Its ledger is its own, in a file of JSON lines that are only ever appended; nothing is answered before it is on the
//! disk. Calls that come together share one flush.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contracts::{PaymentId, Secret, Slug};

use crate::provider::{Authorisation, Capture, Charge, Error, Held, Provider, Refund, Return, UnknownMethod, Void};

mod file;
mod flaky;
mod ledger;
mod method;

pub use file::OpenError;
pub use flaky::{Fault, Flaky};
pub use ledger::Account;

use file::LedgerFile;
use ledger::{Answer, Entry, Ledger, Request};

/// What is held where none is named.
const METHOD_DEFAULT: &str = "pm_card_visa";

/// The simulated provider; cheap to clone.
#[derive(Clone)]
pub struct Simulated {
    book: Arc<Mutex<Book>>,
    /// Held by whoever flushes; `None` if the ledger is in memory only.
    file: Option<Arc<tokio::sync::Mutex<LedgerFile>>>,
}

/// The ledger, and what of it is not on the disk yet.
struct Book {
    /// `None` after a failed write, until it is read again.
    ledger: Option<Ledger>,
    unwritten: Vec<u8>,
    /// How many entries were made, in this era.
    entries: u64,
    /// One more with each failed write, which forgets the entries that it was about.
    era: u64,
}

/// An entry's place: it is durable when the file has come so far in the same era.
#[derive(Clone, Copy)]
struct Place {
    entries: u64,
    era: u64,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated")
            .field("durable", &self.file.is_some())
            .finish_non_exhaustive()
    }
}

impl Simulated {
    /// With the ledger in this file, which is made if need be. Blocks while the ledger is read.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (file, ledger) = LedgerFile::open(path)?;
        Ok(Self {
            book: Arc::new(Mutex::new(Book::new(ledger))),
            file: Some(Arc::new(tokio::sync::Mutex::new(file))),
        })
    }

    /// With a ledger that is forgotten with the last clone.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            book: Arc::new(Mutex::new(Book::new(Ledger::default()))),
            file: None,
        }
    }

    /// What the ledger says of every payment, in the order of their ids.
    #[must_use]
    pub fn accounts(&self) -> Vec<(PaymentId, Account)> {
        self.book().ledger.as_ref().map(Ledger::accounts).unwrap_or_default()
    }

    /// The payer does, or does not, what was required; to be told to the service, as a real provider does by a webhook.
    pub async fn act(&self, payment: PaymentId, succeeds: bool) -> Result<Authorisation, Error> {
        let answer = self
            .enter(&format!("act/{payment}"), Request::Act { payment, succeeds })
            .await?;
        authorisation(payment, answer)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request under its key, once, and answers when that is durable.
    async fn enter(&self, key: &str, request: Request) -> Result<Answer, Error> {
        if self.book().ledger.is_none() {
            self.read_again().await?;
        }
        let (answer, place) = self.book().enter(key, request)?;
        self.flush(place).await?;
        Ok(answer)
    }

    /// Waits for the file, and writes everything that has gathered meanwhile unless somebody else did.
    async fn flush(&self, place: Place) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = Arc::clone(file).lock_owned().await;
        {
            let book = self.book();
            if book.era != place.era {
                return Err(Error::Unknown("the ledger could not be written".into()));
            }
            if file.entries >= place.entries {
                return Ok(());
            }
        }
        let book = Arc::clone(&self.book);
        // In a task of its own, which goes on when the caller is dropped: the file is never left half written.
        let written = tokio::task::spawn_blocking(move || {
            let (lines, entries) = {
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                (std::mem::take(&mut book.unwritten), book.entries)
            };
            let written = file.append(&lines, entries);
            if written.is_err() {
                book.lock().unwrap_or_else(PoisonError::into_inner).forget();
                file.entries = 0;
            }
            written
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Unknown(format!("the ledger could not be written: {error}"))),
            Err(error) => Err(Error::Unknown(format!("the ledger's writer ended: {error}"))),
        }
    }

    async fn read_again(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = Arc::clone(file).lock_owned().await;
        let book = Arc::clone(&self.book);
        let read = tokio::task::spawn_blocking(move || {
            let is_read = || book.lock().unwrap_or_else(PoisonError::into_inner).ledger.is_some();
            // Whoever had the file before may have done it.
            if !is_read() {
                let ledger = file.read_again()?;
                book.lock().unwrap_or_else(PoisonError::into_inner).ledger = Some(ledger);
            }
            Ok::<(), OpenError>(())
        });
        let unavailable = |reason| Error::Unavailable { reason, after: None };
        match read.await {
            Ok(read) => read.map_err(|error| unavailable(error.to_string())),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

impl Book {
    fn new(ledger: Ledger) -> Self {
        Self {
            ledger: Some(ledger),
            unwritten: Vec::new(),
            entries: 0,
            era: 0,
        }
    }

    fn enter(&mut self, key: &str, request: Request) -> Result<(Answer, Place), Error> {
        let Some(ledger) = &mut self.ledger else {
            return Err(Error::Unavailable {
                reason: "the ledger is being read".into(),
                after: None,
            });
        };
        let answer = match ledger.find(key, &request).map_err(Error::Contradiction)? {
            Some(answer) => answer,
            None => {
                let answer = ledger.decide(&request).map_err(Error::Contradiction)?;
                let entry = Entry {
                    key: key.into(),
                    request,
                    answer: answer.clone(),
                };
                let line = serde_json::to_vec(&entry).expect("an entry serialises");
                ledger.apply(entry);
                self.unwritten.extend_from_slice(&line);
                self.unwritten.push(b'\n');
                self.entries += 1;
                answer
            }
        };
        Ok((
            answer,
            Place {
                entries: self.entries,
                era: self.era,
            },
        ))
    }

    /// What was entered since the last good write has not happened.
    fn forget(&mut self) {
        *self = Self {
            ledger: None,
            unwritten: Vec::new(),
            entries: 0,
            era: self.era + 1,
        };
    }
}

#[async_trait]
impl Provider for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn method(&self, asked: Option<Slug>) -> Result<Option<Slug>, UnknownMethod> {
        let method = asked.unwrap_or_else(|| METHOD_DEFAULT.try_into().expect("a constant word"));
        method::behaviour(method.as_str())
            .map(|_| Some(method))
            .ok_or(UnknownMethod)
    }

    async fn authorise(&self, charge: &Charge, key: &str) -> Result<Authorisation, Error> {
        let Charge {
            payment_id: payment,
            amount,
            ..
        } = *charge;
        let method = self.method(charge.method.clone()).unwrap_or_default();
        let method = method.ok_or_else(|| Error::Contradiction(UnknownMethod.to_string()))?;
        let answer = self
            .enter(
                key,
                Request::Authorise {
                    payment,
                    amount,
                    method,
                },
            )
            .await?;
        authorisation(payment, answer)
    }

    async fn capture(&self, held: &Held, key: &str) -> Result<Capture, Error> {
        match self
            .enter(
                key,
                Request::Capture {
                    payment: held.payment_id,
                },
            )
            .await?
        {
            Answer::Captured => Ok(Capture::Captured),
            Answer::Refused { code } => Ok(Capture::Refused { code }),
            other => Err(strange(&other)),
        }
    }

    async fn void(&self, held: &Held, key: &str) -> Result<Void, Error> {
        match self
            .enter(
                key,
                Request::Void {
                    payment: held.payment_id,
                },
            )
            .await?
        {
            Answer::Voided => Ok(Void::Voided),
            Answer::Captured => Ok(Void::Captured),
            other => Err(strange(&other)),
        }
    }

    async fn refund(&self, held: &Held, refund: &Return, key: &str) -> Result<Refund, Error> {
        let Return {
            refund_id: refund,
            amount,
        } = *refund;
        match self
            .enter(
                key,
                Request::Refund {
                    payment: held.payment_id,
                    refund,
                    amount,
                },
            )
            .await?
        {
            Answer::Refunded => Ok(Refund::Given),
            Answer::Refused { code } => Ok(Refund::Refused { code }),
            other => Err(strange(&other)),
        }
    }
}

fn authorisation(payment: PaymentId, answer: Answer) -> Result<Authorisation, Error> {
    // The provider's own name for a payment is ours.
    let reference = Slug::try_from(payment.to_string()).expect("an id is a word");
    match answer {
        Answer::Authorised => Ok(Authorisation::Authorised { reference }),
        Answer::RequiresAction => {
            let client_secret = Secret::try_from(format!("{payment}_secret_simulated")).expect("a short text");
            Ok(Authorisation::RequiresAction {
                reference,
                client_secret,
            })
        }
        Answer::Declined { code } => Ok(Authorisation::Declined { code }),
        other => Err(strange(&other)),
    }
}

fn strange(answer: &Answer) -> Error {
    Error::Contradiction(format!("the ledger answers {answer:?}"))
}

#[cfg(test)]
mod tests;
