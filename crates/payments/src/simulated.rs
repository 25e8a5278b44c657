//! A provider for development, tests and demonstrations. It takes nobody's money, and is as strict as a real one.
//!
//! Its ledger is its own, in a file of JSON lines that are only ever appended. Several processes may use one file at once:
//! whoever answers has it locked, and reads what the others have added first. Nothing is answered before it is on the
//! disk. Calls that come together share one lock and one flush.

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
mod note;
mod queue;

pub use file::OpenError;
pub use flaky::{Fault, Flaky};
pub use ledger::Account;
pub use note::StartError;

use ledger::{Answer, Ledger, Request};
pub(crate) use note::Noted;
use queue::Queue;

/// What is held where none is named.
const METHOD_DEFAULT: &str = "pm_card_visa";

/// The simulated provider; cheap to clone.
#[derive(Clone)]
pub struct Simulated {
    keeping: Keeping,
}

/// Where the ledger is.
#[derive(Clone)]
enum Keeping {
    Memory(Arc<Mutex<Ledger>>),
    File(Arc<Queue>),
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated")
            .field("durable", &matches!(self.keeping, Keeping::File(_)))
            .finish_non_exhaustive()
    }
}

impl Simulated {
    /// With the ledger in this file, which is made if need be; other processes may use it too. Blocks while it is read.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            keeping: Keeping::File(Arc::new(Queue::open(path)?)),
        })
    }

    /// With a ledger that is forgotten with the last clone.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            keeping: Keeping::Memory(Arc::default()),
        }
    }

    /// What the ledger says of every payment, in the order of their ids; what other processes have added since the last call
    /// through this one is not among it.
    #[must_use]
    pub fn accounts(&self) -> Vec<(PaymentId, Account)> {
        match &self.keeping {
            Keeping::Memory(ledger) => locked(ledger).accounts(),
            Keeping::File(queue) => queue.accounts(),
        }
    }

    /// The payer does, or does not, what was required; to be told to the service, as a real provider does by a webhook.
    pub async fn act(&self, payment: PaymentId, succeeds: bool) -> Result<Authorisation, Error> {
        let answer = self
            .enter(&format!("act/{payment}"), Request::Act { payment, succeeds })
            .await?;
        authorisation(payment, answer)
    }

    /// Enters a request under its key, once, and answers when that is durable.
    async fn enter(&self, key: &str, request: Request) -> Result<Answer, Error> {
        match &self.keeping {
            Keeping::Memory(ledger) => {
                let answered = locked(ledger).answer(key, request, &mut Vec::new());
                answered.map_err(Error::Contradiction)
            }
            Keeping::File(queue) => queue.ask(key, request).await,
        }
    }
}

/// What a panic has left behind is sound: each change is made at once, or read anew.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
