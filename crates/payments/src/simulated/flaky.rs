//! A provider on a bad line, for tests: faults happen at the calls that a test says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use contracts::Slug;

use crate::provider::{Authorisation, Capture, Charge, Error, Held, Provider, Refund, Return, UnknownMethod, Void};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call does not reach the provider, and that is known.
    Refused,
    /// The call does not reach the provider, and nobody knows.
    Lost,
    /// The call has its effect, and its answer is lost.
    AnswerLost,
    /// The call has its effect, and no answer ever comes.
    Silent,
}

/// Any provider, behind a line that fails as told.
#[derive(Debug)]
pub struct Flaky {
    provider: Arc<dyn Provider>,
    faults: Mutex<VecDeque<Option<Fault>>>,
    calls: AtomicUsize,
}

impl Flaky {
    /// A line without faults so far.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            faults: Mutex::default(),
            calls: AtomicUsize::new(0),
        }
    }

    /// What happens to the next calls, in this order; `None` is nothing.
    pub fn fail(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(faults);
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .flatten();
        match fault {
            None => call.await,
            Some(Fault::Refused) => Err(Error::Unavailable {
                reason: "refused".into(),
                after: None,
            }),
            Some(Fault::Lost) => Err(Error::Unknown("lost".into())),
            Some(Fault::AnswerLost) => {
                call.await?;
                Err(Error::Unknown("the answer was lost".into()))
            }
            Some(Fault::Silent) => {
                call.await?;
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Provider for Flaky {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn method(&self, asked: Option<Slug>) -> Result<Option<Slug>, UnknownMethod> {
        self.provider.method(asked)
    }

    async fn authorise(&self, charge: &Charge, key: &str) -> Result<Authorisation, Error> {
        self.through(self.provider.authorise(charge, key)).await
    }

    async fn capture(&self, held: &Held, key: &str) -> Result<Capture, Error> {
        self.through(self.provider.capture(held, key)).await
    }

    async fn void(&self, held: &Held, key: &str) -> Result<Void, Error> {
        self.through(self.provider.void(held, key)).await
    }

    async fn refund(&self, held: &Held, refund: &Return, key: &str) -> Result<Refund, Error> {
        self.through(self.provider.refund(held, refund, key)).await
    }
}
