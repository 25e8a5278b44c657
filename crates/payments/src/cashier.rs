//! Who calls the provider, and tells the outcome to those who wait for it.

use std::sync::Arc;

use contracts::payment::{self, RefundStatus};
use contracts::{PaymentId, RefundId};
use kernel::context::Context;
use kernel::engine::Engine;
use kernel::idempotency::{self, Known};
use kernel::unit::Unit;
use kernel::writer::Priority;
use serde::de::DeserializeOwned;

use crate::payment::{Call, State};
use crate::process;
use crate::provider::{Authorisation, Provider};
use crate::record::{Answer, PaymentRecord};
use crate::views::Refund;
use crate::waiters::Waiters;
use crate::{Error, Payment};

#[derive(Debug)]
pub(crate) struct Cashier {
    pub(crate) engine: Engine,
    pub(crate) provider: Arc<dyn Provider>,
    /// Those who wait for payments.
    pub(crate) payments: Waiters<Answer>,
    /// Those who wait for refunds.
    pub(crate) refunds: Waiters<payment::Refund>,
}

impl Cashier {
    pub(crate) fn new(engine: Engine, provider: Arc<dyn Provider>) -> Self {
        Self {
            engine,
            provider,
            payments: Waiters::default(),
            refunds: Waiters::default(),
        }
    }

    /// The answer of a payment that was begun, once it is at rest. If that takes too long it is the payment as it is, or
    /// `None` while nothing is known of the authorisation.
    pub(crate) async fn payment_outcome(&self, id: PaymentId, context: &Context) -> Result<Option<Answer>, Error> {
        let look = || async {
            let payment = self.engine.reader().get::<Payment>(id).await?;
            let Some(payment) = payment.filter(|payment| payment.is_at_rest()) else {
                return Ok(None);
            };
            Ok(Some(Answer::of(self.shown(&payment).await?)))
        };
        let clock = self.engine.clock().as_ref();
        match self.payments.outcome(clock, &id.to_string(), look).await? {
            // What is told is how it is now; another request under the key may have been answered before.
            Some(told) => Ok(Some(self.recorded(context).await?.unwrap_or(told))),
            None => self.meanwhile(id, context).await,
        }
    }

    /// What is answered when waiting takes too long; recorded, so that a repetition is told the same.
    async fn meanwhile(&self, id: PaymentId, context: &Context) -> Result<Option<Answer>, Error> {
        let decide = move |unit: &mut Unit<'_>| match idempotency::look_up::<Answer>(unit)? {
            Known::Answered(answer) => Ok(Some(answer)),
            Known::New | Known::Pending(_) => process::answer(unit, id),
        };
        let writer = self.engine.writer();
        writer.execute(Priority::Background, context.clone(), decide).await
    }

    /// The answer of a refund that was begun, once the provider gave it; `None` if it takes too long.
    pub(crate) async fn refund_outcome(
        &self,
        id: RefundId,
        context: &Context,
    ) -> Result<Option<payment::Refund>, Error> {
        let look = || async {
            let refund = self
                .refund(id)
                .await?
                .filter(|refund| refund.status != RefundStatus::Pending);
            Ok(refund)
        };
        let clock = self.engine.clock().as_ref();
        match self.refunds.outcome(clock, &id.to_string(), look).await? {
            Some(told) => Ok(Some(self.recorded(context).await?.unwrap_or(told))),
            None => Ok(None),
        }
    }

    /// What a repetition would be answered; `None` without a key. A payment may have moved on since.
    async fn recorded<R: DeserializeOwned + Send + 'static>(&self, context: &Context) -> Result<Option<R>, Error> {
        if context.claim.is_none() {
            return Ok(None);
        }
        let look_up = |unit: &mut Unit<'_>| idempotency::look_up::<R>(unit).map_err(Error::from);
        let writer = self.engine.writer();
        Ok(
            match writer.execute(Priority::Background, context.clone(), look_up).await? {
                Known::Answered(answer) => Some(answer),
                Known::New | Known::Pending(_) => None,
            },
        )
    }

    /// Notes what the provider says by itself. A call that is under way finds its work done.
    pub(crate) async fn note_authorisation(
        &self,
        id: PaymentId,
        authorisation: Authorisation,
        context: Context,
    ) -> Result<(), Error> {
        let note = move |unit: &mut Unit<'_>| {
            unit.finish(&Call::Authorise(id).intent());
            process::note_authorisation(unit, id, &authorisation)
        };
        let noted = self.engine.writer().execute(Priority::Background, context, note);
        if let Some(answer) = noted.await? {
            self.payments.tell(&id.to_string(), answer);
        }
        Ok(())
    }

    /// A payment as clients see it.
    pub(crate) async fn shown(&self, payment: &Payment) -> Result<payment::Payment, Error> {
        let client_secret = match payment.state {
            State::RequiresAction => {
                let record = self.engine.reader().get::<PaymentRecord>(payment.id).await?;
                record.and_then(|record| record.client_secret.clone())
            }
            _ => None,
        };
        Ok(payment.shown(client_secret))
    }

    /// A refund as clients see it.
    pub(crate) async fn refund(&self, id: RefundId) -> Result<Option<payment::Refund>, Error> {
        let refund = self.engine.reader().get::<Refund>(id).await?;
        Ok(refund.map(|refund| refund.shown(id)))
    }
}
