//! The calls of the provider: made with the intent as idempotency key, their outcome committed with the intent's end.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::{PaymentId, RefundId, payment};
use kernel::effect::{Attempt, Effect, Postponed, backoff};
use kernel::store::StoreError;
use kernel::unit::Unit;
use kernel::writer::{self, Priority};

use crate::cashier::Cashier;
use crate::payment::Command;
use crate::process::{self, kind};
use crate::provider::{self, Capture, Charge, Held, Return, Void};
use crate::record::{Answer, PaymentRecord};
use crate::views::Refund;
use crate::{Error, Payment};

/// A call that takes longer counts as unknown; the provider's client should have given up before.
const CALL_MAX: Duration = Duration::from_secs(30);
/// When a contradiction is looked at again.
const CONTRADICTION_PAUSE: Duration = Duration::from_secs(60);

/// The effects, one per kind of call.
pub(crate) fn all(cashier: &Arc<Cashier>) -> Vec<Arc<dyn Effect>> {
    vec![
        Arc::new(Authorise(Arc::clone(cashier))),
        Arc::new(CaptureHeld(Arc::clone(cashier))),
        Arc::new(VoidHeld(Arc::clone(cashier))),
        Arc::new(GiveBack(Arc::clone(cashier))),
    ]
}

struct Authorise(Arc<Cashier>);
struct CaptureHeld(Arc<Cashier>);
struct VoidHeld(Arc<Cashier>);
struct GiveBack(Arc<Cashier>);

#[async_trait]
impl Effect for Authorise {
    fn kind(&self) -> &'static str {
        kind::AUTHORISE
    }

    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed> {
        let Self(cashier) = self;
        let id: PaymentId = subject(attempt)?;
        let payment = cashier.payment(attempt, id).await?;
        let charge = Charge {
            payment_id: id,
            order_id: payment.order_id,
            amount: payment.amount,
            method: payment.payment_method.clone(),
        };
        let called = cashier
            .call(attempt, cashier.provider.authorise(&charge, &attempt.intent.id()))
            .await?;
        cashier
            .conclude(attempt, id, move |unit| process::note_authorisation(unit, id, &called))
            .await
    }
}

#[async_trait]
impl Effect for CaptureHeld {
    fn kind(&self) -> &'static str {
        kind::CAPTURE
    }

    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed> {
        let Self(cashier) = self;
        let id: PaymentId = subject(attempt)?;
        let held = cashier.held(attempt, id).await?;
        let called = cashier
            .call(attempt, cashier.provider.capture(&held, &attempt.intent.id()))
            .await?;
        let note = move |unit: &mut Unit<'_>| {
            let command = match called.clone() {
                Capture::Captured => Command::NoteCaptured,
                Capture::Refused { code } => Command::NoteCaptureRefused { code },
            };
            process::note(unit, id, command)
        };
        cashier.conclude(attempt, id, note).await
    }
}

#[async_trait]
impl Effect for VoidHeld {
    fn kind(&self) -> &'static str {
        kind::VOID
    }

    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed> {
        let Self(cashier) = self;
        let id: PaymentId = subject(attempt)?;
        let held = cashier.held(attempt, id).await?;
        let called = cashier
            .call(attempt, cashier.provider.void(&held, &attempt.intent.id()))
            .await?;
        let note = move |unit: &mut Unit<'_>| {
            let command = match called {
                Void::Voided => Command::NoteVoided,
                Void::Captured => Command::NoteCaptured,
            };
            process::note(unit, id, command)
        };
        cashier.conclude(attempt, id, note).await
    }
}

#[async_trait]
impl Effect for GiveBack {
    fn kind(&self) -> &'static str {
        kind::REFUND
    }

    async fn perform(&self, attempt: &Attempt) -> Result<(), Postponed> {
        let Self(cashier) = self;
        let refund_id: RefundId = subject(attempt)?;
        let refund = cashier.engine.reader().get::<Refund>(refund_id).await.map_err(unread)?;
        let Refund { payment_id, amount, .. } = *refund.ok_or_else(|| absent(attempt))?;
        let held = cashier.held(attempt, payment_id).await?;
        let asked = Return { refund_id, amount };
        let called = cashier
            .call(attempt, cashier.provider.refund(&held, &asked, &attempt.intent.id()))
            .await?;
        let note = move |unit: &mut Unit<'_>| {
            let command = match called.clone() {
                provider::Refund::Given => Command::NoteRefundGiven { refund_id },
                provider::Refund::Refused { code } => Command::NoteRefundRefused { refund_id, code },
            };
            process::note_refund(unit, refund_id, payment_id, command)
        };
        if let Some(answer) = cashier.commit(attempt, note).await? {
            if answer.status == payment::RefundStatus::Failed {
                tracing::error!(refund.id = %refund_id, payment.id = %payment_id, "the provider refuses a refund");
            }
            cashier.refunds.tell(&refund_id.to_string(), answer);
        }
        Ok(())
    }
}

impl Cashier {
    async fn payment(&self, attempt: &Attempt, id: PaymentId) -> Result<Arc<Payment>, Postponed> {
        self.engine
            .reader()
            .get(id)
            .await
            .map_err(unread)?
            .ok_or_else(|| absent(attempt))
    }

    /// The payment as the provider knows it.
    async fn held(&self, attempt: &Attempt, id: PaymentId) -> Result<Held, Postponed> {
        let amount = self.payment(attempt, id).await?.amount;
        let record = self.engine.reader().get::<PaymentRecord>(id).await.map_err(unread)?;
        let reference = record
            .and_then(|record| record.reference.clone())
            .ok_or_else(|| absent(attempt))?;
        Ok(Held {
            payment_id: id,
            reference,
            amount,
        })
    }

    /// Calls the provider. Whatever is not an outcome is asked for again, with the same key.
    async fn call<T>(
        &self,
        attempt: &Attempt,
        call: impl Future<Output = Result<T, provider::Error>>,
    ) -> Result<T, Postponed> {
        let answered = tokio::select! {
            biased;
            answered = call => answered,
            () = self.engine.clock().sleep(CALL_MAX) => Err(provider::Error::Unknown("no answer in time".into())),
        };
        answered.map_err(|error| {
            let after = match &error {
                provider::Error::Unknown(_) | provider::Error::Unavailable { after: None, .. } => {
                    backoff(attempt.number)
                }
                provider::Error::Unavailable { after: Some(after), .. } => *after,
                provider::Error::Contradiction(_) => {
                    tracing::error!(intent = %attempt.intent, %error, "somebody has to look at the provider's account");
                    CONTRADICTION_PAUSE
                }
            };
            Postponed {
                after,
                reason: error.to_string(),
            }
        })
    }

    /// Commits a payment's outcome, and tells those who wait for it.
    async fn conclude<N>(&self, attempt: &Attempt, id: PaymentId, note: N) -> Result<(), Postponed>
    where
        N: FnMut(&mut Unit<'_>) -> Result<Option<Answer>, Error> + Send + 'static,
    {
        if let Some(answer) = self.commit(attempt, note).await? {
            self.payments.tell(&id.to_string(), answer);
        }
        Ok(())
    }

    /// Commits an outcome together with the intent's end, unless somebody else did: a lease can lapse.
    async fn commit<A, N>(&self, attempt: &Attempt, mut note: N) -> Result<Option<A>, Postponed>
    where
        A: Send + 'static,
        N: FnMut(&mut Unit<'_>) -> Result<Option<A>, Error> + Send + 'static,
    {
        let intent = attempt.intent.clone();
        let decide = move |unit: &mut Unit<'_>| if unit.finish(&intent) { note(unit) } else { Ok(None) };
        let committed = self
            .engine
            .writer()
            .execute(Priority::Background, attempt.context.clone(), decide);
        committed.await.map_err(|error| match error {
            Error::Write(error) => error.into(),
            error => {
                tracing::error!(intent = %attempt.intent, %error, "an outcome does not fit");
                Postponed {
                    after: CONTRADICTION_PAUSE,
                    reason: error.to_string(),
                }
            }
        })
    }
}

fn subject<I: FromStr<Err: Display>>(attempt: &Attempt) -> Result<I, Postponed> {
    attempt.intent.subject.parse().map_err(|_| absent(attempt))
}

/// An intent is committed together with what it is for, so this is a fault of ours; it must not be lost.
fn absent(attempt: &Attempt) -> Postponed {
    tracing::error!(intent = %attempt.intent, "what the call is for is not there");
    Postponed {
        after: CONTRADICTION_PAUSE,
        reason: "what the call is for is not there".into(),
    }
}

fn unread(error: StoreError) -> Postponed {
    writer::Error::from(error).into()
}
