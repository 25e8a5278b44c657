//! Payments: an order is charged through a provider, at most once, and money goes back when the order does.
//!
//! A request to pay journals the intent and waits, holding nothing, for what the provider says. If the order is
//! confirmed by then it waits for the capture too, which follows by itself. So the answer is the payment as it comes to
//! rest: authorized (the order is not confirmed yet), captured, requires_action, declined, or voided (the order ended
//! meanwhile). After ten seconds the answer is the payment as it is, and the provider is asked on.

use std::sync::Arc;

use contracts::payment::{CreatePayment, ListPayments, RefundPayment};
use contracts::{Page, PaymentId, Problem, Service};
use kernel::auth::{User, Verifier};
use kernel::bus::Bus;
use kernel::context::Context;
use kernel::document::{Collection, Document};
use kernel::engine::Engine;
use kernel::erasure::Erasure;
use kernel::http::{Kit, Paging};
use kernel::reaction::Consumers;
use kernel::store::Query;
use kernel::writer::{self, Priority};
use kernel::{erasure, freshness};

mod cashier;
mod effects;
mod error;
mod events;
mod http;
mod order;
mod payment;
mod process;
pub mod provider;
mod purge;
mod record;
mod request;
pub mod simulated;
mod views;
mod waiters;

pub use error::Error;
pub use events::Event;
pub use order::Standing;
pub use payment::{Command, Payment, PendingRefund, Refunds, State};
pub use provider::Provider;
pub use views::fold;

use cashier::Cashier;
use order::{FollowOrders, OrderSummary};
use record::PaymentRecord;
use request::Begun;

/// What payments keeps besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[
    Payment::COLLECTION,
    views::Refund::COLLECTION,
    views::OrderPayments::COLLECTION,
    OrderSummary::COLLECTION,
    PaymentRecord::COLLECTION,
    record::RefundRecord::COLLECTION,
    simulated::Noted::COLLECTION,
];

/// The use cases of payments.
#[derive(Clone, Debug)]
pub struct Payments {
    engine: Engine,
    consumers: Consumers,
    kit: Kit,
    cashier: Arc<Cashier>,
}

impl Payments {
    /// Starts consuming and calling the provider, and is ready to answer.
    pub async fn start(
        engine: Engine,
        bus: &Arc<dyn Bus>,
        verifier: &Arc<Verifier>,
        provider: Arc<dyn Provider>,
    ) -> Result<Self, writer::Error> {
        let kit = Kit::of(&engine, verifier).await?;
        erasure::start(&engine, verifier, Arc::new(purge::Reasons { engine: engine.clone() })).await?;
        let cashier = Arc::new(Cashier::new(engine.clone(), provider));
        engine.perform(effects::all(&cashier));
        let consumers = Consumers::start(&engine, bus, vec![Arc::new(FollowOrders), Arc::new(Erasure)]);
        Ok(Self {
            engine,
            consumers,
            kit,
            cashier,
        })
    }

    /// How its consumers are doing.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Pays an order: the whole of it, once. Answers when the payment is at rest, or after ten seconds; then a request with
    /// an idempotency key is asked to come back, since its answer must not be another one later.
    pub async fn create(
        &self,
        request: CreatePayment,
        user: User,
        context: Context,
    ) -> Result<contracts::payment::Payment, Error> {
        let CreatePayment {
            order_id,
            payment_method,
        } = request;
        let method = self
            .cashier
            .provider
            .method(payment_method)
            .map_err(|_| Error::UnknownMethod)?;
        let reader = self.engine.reader();
        let order = freshness::wait_for(&self.engine, || reader.get::<OrderSummary>(order_id)).await?;
        if order.is_none() {
            let made_at = Some(order_id.created_at());
            return Err(freshness::missing(&self.engine, &self.consumers, Service::Orders, made_at).into());
        }
        let provider = self.cashier.provider.name();
        let begin = request::Pay {
            order_id,
            method,
            provider,
            user,
        };
        let begun = self
            .engine
            .writer()
            .execute(Priority::Client, context.clone(), move |unit| begin.decide(unit));
        match begun.await? {
            Begun::Answered(answer) => answer.given(),
            Begun::UnderWay(id) => match self.cashier.payment_outcome(id, &context).await? {
                Some(answer) => answer.given(),
                None if context.claim.is_some() => Err(writer::Error::InProgress.into()),
                None => self.payment(id, user).await,
            },
        }
    }

    /// Gives an amount back, or all that is left. Answers when the provider has, or after ten seconds; then as a payment.
    pub async fn refund(
        &self,
        payment_id: PaymentId,
        request: RefundPayment,
        context: Context,
    ) -> Result<contracts::payment::Refund, Error> {
        let begin = request::GiveBack { payment_id, request };
        let begun = self
            .engine
            .writer()
            .execute(Priority::Client, context.clone(), move |unit| begin.decide(unit));
        match begun.await? {
            Begun::Answered(refund) => Ok(refund),
            Begun::UnderWay(id) => match self.cashier.refund_outcome(id, &context).await? {
                Some(refund) => Ok(refund),
                None if context.claim.is_some() => Err(writer::Error::InProgress.into()),
                None => self.cashier.refund(id).await?.ok_or(Error::Unknown),
            },
        }
    }

    /// Notes what the provider says by itself about an authorisation: that the payer has confirmed, or will not, or that it
    /// has lapsed. What is known already changes nothing.
    pub async fn note_authorisation(
        &self,
        id: PaymentId,
        authorisation: provider::Authorisation,
        context: Context,
    ) -> Result<(), Error> {
        self.cashier.note_authorisation(id, authorisation, context).await
    }

    /// A payment, if it is the user's or the user is an admin.
    pub async fn payment(&self, id: PaymentId, user: User) -> Result<contracts::payment::Payment, Error> {
        let payment = self.engine.reader().get::<Payment>(id).await?;
        let payment = payment
            .filter(|payment| user.may_access(payment.user_id))
            .ok_or(Error::Unknown)?;
        self.cashier.shown(&payment).await
    }

    /// Payments, newest first: the user's own, an admin's all. The client secret is in none of them.
    pub async fn payments(
        &self,
        filter: &ListPayments,
        user: User,
        paging: &Paging,
    ) -> Result<Page<contracts::payment::Payment>, Problem> {
        let own = (!user.is_admin()).then(|| user.id.to_string());
        let mut query = match (filter.order_id, &own) {
            (Some(order), _) => Query::by(Payment::COLLECTION, "by_order", vec![order.to_string().into()], 0),
            (None, Some(own)) => Query::by(Payment::COLLECTION, "by_user", vec![own.as_str().into()], 0),
            (None, None) => Query::all(Payment::COLLECTION, 0),
        };
        query.filters = own.map(|own| ("user_id", own.into())).into_iter().collect();
        query.descending = true;
        let found = self.engine.reader().find(&paging.apply(query)?).await?;
        Ok(paging.page(found, |found| {
            self.engine
                .reader()
                .document::<Payment>(&found)
                .map(|payment| payment.shown(None))
        })?)
    }
}
