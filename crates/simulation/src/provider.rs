//! The payment service's way to the provider, and the provider's own log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contracts::{PaymentId, Slug};
use payments::provider::{Authorisation, Capture, Charge, Error, Held, Provider, Refund, Return, UnknownMethod, Void};
use payments::simulated::Simulated;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::line::Line;

/// How long a call takes.
const CALL_MAX: Duration = Duration::from_millis(400);

/// The provider itself: it outlives the service, and keeps a log of what it did, by the caller's key.
#[derive(Clone, Debug)]
pub(crate) struct House {
    simulated: Simulated,
    log: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            simulated: Simulated::in_memory(),
            log: Arc::default(),
        }
    }

    /// The payer does what was required, or does not. `None` if it is too late for that.
    pub(crate) async fn act(&self, payment: PaymentId, succeeds: bool) -> Option<Authorisation> {
        let authorisation = self.simulated.act(payment, succeeds).await.ok()?;
        let answer = authorisation_word(&authorisation);
        let entry = json!({"request": "act", "payment": payment, "answer": answer});
        self.log().insert(format!("act/{payment}"), entry);
        Some(authorisation)
    }

    /// What it did, once each.
    pub(crate) fn log(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The provider at the end of a bad line.
#[derive(Debug)]
pub(crate) struct RemoteProvider {
    pub(crate) house: House,
    pub(crate) line: Line,
}

impl RemoteProvider {
    async fn call<T>(
        &self,
        key: &str,
        entry: Value,
        call: impl Future<Output = Result<T, Error>> + Send,
        word: impl Fn(&T) -> &'static str + Send,
    ) -> Result<T, Error> {
        let line = &self.line;
        line.may_die(Fault::CrashBeforeCall).await;
        line.clock.sleep(line.dice.up_to(CALL_MAX)).await;
        line.alive().await;
        if line.strikes(Fault::ProviderDown) {
            return Err(Error::Unavailable {
                reason: "the line is down".to_owned(),
                after: None,
            });
        }
        if line.strikes(Fault::ProviderLost) {
            return Err(Error::Unknown("no answer came".to_owned()));
        }
        let answer = call.await;
        line.note(|| {
            let answer = answer.as_ref().map(&word);
            format!("the provider was asked for {entry} under {key}: {answer:?}")
        });
        let answer = answer?;
        let mut entry = entry;
        entry["answer"] = word(&answer).into();
        let before = self.house.log().insert(key.to_owned(), entry.clone());
        assert!(
            before.as_ref().is_none_or(|before| *before == entry),
            "the provider did {before:?} and then {entry} under {key}"
        );
        line.may_die(Fault::CrashAfterCall).await;
        if line.strikes(Fault::ProviderTimesOut) {
            return Err(Error::Unknown("no answer came".to_owned()));
        }
        if line.strikes(Fault::ProviderSilent) {
            std::future::pending::<()>().await;
        }
        line.clock.sleep(line.dice.up_to(CALL_MAX)).await;
        line.alive().await;
        Ok(answer)
    }
}

#[async_trait]
impl Provider for RemoteProvider {
    fn name(&self) -> &'static str {
        self.house.simulated.name()
    }

    fn method(&self, asked: Option<Slug>) -> Result<Option<Slug>, UnknownMethod> {
        self.house.simulated.method(asked)
    }

    async fn authorise(&self, charge: &Charge, key: &str) -> Result<Authorisation, Error> {
        let entry = json!({"request": "authorise", "payment": charge.payment_id, "amount": charge.amount});
        let call = self.house.simulated.authorise(charge, key);
        self.call(key, entry, call, authorisation_word).await
    }

    async fn capture(&self, held: &Held, key: &str) -> Result<Capture, Error> {
        let entry = json!({"request": "capture", "payment": held.payment_id, "amount": held.amount});
        let call = self.house.simulated.capture(held, key);
        self.call(key, entry, call, |answer| match answer {
            Capture::Captured => "captured",
            Capture::Refused { .. } => "refused",
        })
        .await
    }

    async fn void(&self, held: &Held, key: &str) -> Result<Void, Error> {
        let entry = json!({"request": "void", "payment": held.payment_id, "amount": held.amount});
        let call = self.house.simulated.void(held, key);
        self.call(key, entry, call, |answer| match answer {
            Void::Voided => "voided",
            Void::Captured => "captured",
        })
        .await
    }

    async fn refund(&self, held: &Held, refund: &Return, key: &str) -> Result<Refund, Error> {
        let entry = json!({"request": "refund", "payment": held.payment_id, "amount": refund.amount});
        let call = self.house.simulated.refund(held, refund, key);
        self.call(key, entry, call, |answer| match answer {
            Refund::Given => "refunded",
            Refund::Refused { .. } => "refused",
        })
        .await
    }
}

fn authorisation_word(authorisation: &Authorisation) -> &'static str {
    match authorisation {
        Authorisation::Authorised { .. } => "authorised",
        Authorisation::RequiresAction { .. } => "requires_action",
        Authorisation::Declined { .. } => "declined",
    }
}
