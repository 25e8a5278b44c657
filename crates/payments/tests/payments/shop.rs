//! A shop with one service in it: payments on the harness, with orders' events in the test's hand.

use std::sync::Arc;
use std::time::Duration;

use contracts::order::{
    Cancelled, Canceller, Confirmed, Expired, OrderStatus, Paid, PaidBy, Placed, Refunded, Rejected,
};
use contracts::payment::{CreatePayment, Payment, PaymentStatus, Refund, RefundPayment};
use contracts::{Currency, Money, OrderId, PaymentId, Role, Service, SessionId, UserId};
use kernel::auth::User;
use kernel::context::{Claim, Context};
use kernel::document::Document;
use kernel::effect::EffectRecord;
use kernel::engine::{Engine, Parts};
use kernel::store::Query;
use payments::simulated::{Account, Flaky, Simulated};
use payments::{COLLECTIONS, Error, Payments, Provider};
use serde_json::json;
use testkit::harness::Harness;
use uuid::Uuid;

pub(crate) struct Shop {
    pub(crate) harness: Harness,
    pub(crate) engine: Engine,
    pub(crate) payments: Payments,
    pub(crate) simulated: Simulated,
    pub(crate) provider: Arc<Flaky>,
    pub(crate) owner: User,
    pub(crate) admin: User,
}

pub(crate) fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}

pub(crate) fn user(number: u128, role: Role) -> User {
    User {
        id: UserId::from_uuid(Uuid::from_u128(number)),
        role,
        session: SessionId::from_uuid(Uuid::from_u128(number)),
    }
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(Simulated::in_memory()).await
    }

    pub(crate) async fn with(simulated: Simulated) -> Self {
        Self::through(simulated.clone(), Arc::new(simulated)).await
    }

    /// With another provider in front of the simulated one.
    pub(crate) async fn through(simulated: Simulated, provider: Arc<dyn Provider>) -> Self {
        let harness = Harness::new(Service::Payments, COLLECTIONS).await;
        let provider = Arc::new(Flaky::new(provider));
        let engine = harness.engine();
        let payments = start(&harness, &engine, &provider).await;
        let (owner, admin) = (user(1, Role::Customer), user(9, Role::Admin));
        Self {
            harness,
            engine,
            payments,
            simulated,
            provider,
            owner,
            admin,
        }
    }

    /// The process ends, whatever it was about to do, and another starts on the same store.
    pub(crate) async fn restart(&mut self) {
        self.engine.stop().await;
        // A process does not start in the microsecond in which another has ended.
        self.sleep(Duration::from_millis(1)).await;
        let parts = Parts {
            store: Arc::clone(self.engine.reader().store()),
            replica: None,
            clock: Arc::clone(self.engine.clock()),
            ids: Arc::clone(self.engine.ids()),
        };
        self.engine = Engine::start(Service::Payments, parts).await.unwrap();
        self.payments = start(&self.harness, &self.engine, &self.provider).await;
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.engine.clock().sleep(duration).await;
    }

    /// Waits until everything published was handled and every call of the provider has its outcome.
    pub(crate) async fn settle(&self) {
        for _ in 0..6000 {
            self.harness.settle(self.payments.consumers()).await;
            let open = self
                .engine
                .reader()
                .ids(&Query::all(EffectRecord::COLLECTION, 10))
                .await
                .unwrap();
            if open.is_empty() {
                return;
            }
            self.sleep(Duration::from_millis(100)).await;
        }
        panic!("some calls have no outcome after ten minutes");
    }

    pub(crate) async fn journal(&self) -> Vec<String> {
        let journal = self.harness.journal().await;
        journal
            .into_iter()
            .map(|name| name.trim_start_matches("payment.").to_owned())
            .collect()
    }

    // Orders' part.

    pub(crate) async fn placed(&self) -> OrderId {
        let order_id = OrderId::from_uuid(self.harness.uuid());
        self.place(order_id).await;
        self.harness.settle(self.payments.consumers()).await;
        order_id
    }

    pub(crate) async fn place(&self, order_id: OrderId) {
        let (user_id, total) = (self.owner.id, usd(1000));
        let placed = Placed {
            order_id,
            user_id,
            lines: Vec::new(),
            total,
            details: Vec::new(),
        };
        self.harness.publish(Service::Orders, order_id, placed).await;
    }

    pub(crate) async fn confirmed(&self) -> OrderId {
        let order_id = self.placed().await;
        self.confirm(order_id).await;
        self.harness.settle(self.payments.consumers()).await;
        order_id
    }

    pub(crate) async fn confirm(&self, order_id: OrderId) {
        let expires_at = "2026-01-01T12:30:00Z".parse().unwrap();
        let confirmed = Confirmed {
            order_id,
            user_id: self.owner.id,
            total: usd(1000),
            expires_at,
        };
        self.harness.publish(Service::Orders, order_id, confirmed).await;
    }

    pub(crate) async fn reject(&self, order_id: OrderId) {
        let rejected = Rejected {
            order_id,
            user_id: self.owner.id,
            shortages: Vec::new(),
        };
        self.harness.publish(Service::Orders, order_id, rejected).await;
    }

    pub(crate) async fn cancel(&self, order_id: OrderId, was: OrderStatus) {
        let (user_id, by) = (self.owner.id, Canceller::Customer);
        let cancelled = Cancelled {
            order_id,
            user_id,
            was,
            by,
            details: Vec::new(),
        };
        self.harness.publish(Service::Orders, order_id, cancelled).await;
    }

    pub(crate) async fn expire(&self, order_id: OrderId) {
        self.harness
            .publish(
                Service::Orders,
                order_id,
                Expired {
                    order_id,
                    user_id: self.owner.id,
                },
            )
            .await;
    }

    pub(crate) async fn paid(&self, order_id: OrderId, paid_by: PaidBy) {
        let paid = Paid {
            order_id,
            user_id: self.owner.id,
            amount: usd(1000),
            paid_by,
        };
        self.harness.publish(Service::Orders, order_id, paid).await;
    }

    pub(crate) async fn paid_manually(&self, order_id: OrderId) {
        self.paid(order_id, PaidBy::Manual { admin: self.admin.id }).await;
    }

    pub(crate) async fn refunded(&self, order_id: OrderId, payment_id: PaymentId) {
        let (user_id, amount, was) = (self.owner.id, usd(1000), OrderStatus::Paid);
        self.harness
            .publish(
                Service::Orders,
                order_id,
                Refunded {
                    order_id,
                    user_id,
                    payment_id,
                    amount,
                    was,
                },
            )
            .await;
    }

    // The client's part.

    pub(crate) fn context(&self, user: User) -> Context {
        self.harness.context(user.id)
    }

    /// The context of a request with an idempotency key.
    pub(crate) fn keyed(&self, user: User, key: &str) -> Context {
        let claim = Claim {
            id: key.into(),
            principal: user.id.to_string().into(),
            fingerprint: "body".into(),
        };
        Context {
            claim: Some(claim),
            ..self.context(user)
        }
    }

    pub(crate) async fn pay(&self, order_id: OrderId) -> Result<Payment, Error> {
        self.payments
            .create(order(order_id), self.owner, self.context(self.owner))
            .await
    }

    pub(crate) async fn pay_with(&self, order_id: OrderId, method: &str) -> Result<Payment, Error> {
        let request = CreatePayment {
            payment_method: Some(method.try_into().unwrap()),
            ..order(order_id)
        };
        self.payments
            .create(request, self.owner, self.context(self.owner))
            .await
    }

    pub(crate) async fn pay_keyed(&self, order_id: OrderId, key: &str) -> Result<Payment, Error> {
        self.payments
            .create(order(order_id), self.owner, self.keyed(self.owner, key))
            .await
    }

    pub(crate) async fn refund(&self, payment: PaymentId, amount: Option<i64>) -> Result<Refund, Error> {
        self.payments
            .refund(payment, back(amount), self.context(self.admin))
            .await
    }

    pub(crate) async fn payment(&self, id: PaymentId) -> Payment {
        self.payments.payment(id, self.admin).await.unwrap()
    }

    pub(crate) async fn status(&self, id: PaymentId) -> PaymentStatus {
        self.payment(id).await.status
    }

    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.simulated
            .accounts()
            .into_iter()
            .map(|(_, account)| account)
            .collect()
    }
}

pub(crate) fn order(order_id: OrderId) -> CreatePayment {
    CreatePayment {
        order_id,
        payment_method: None,
    }
}

pub(crate) fn back(amount: Option<i64>) -> RefundPayment {
    match amount {
        Some(amount) => {
            serde_json::from_value(json!({"amount": {"amount": amount, "currency": "USD"}, "reason": "It broke."}))
                .unwrap()
        }
        None => RefundPayment::default(),
    }
}

async fn start(harness: &Harness, engine: &Engine, provider: &Arc<Flaky>) -> Payments {
    let provider = Arc::clone(provider);
    Payments::start(engine.clone(), harness.bus(), harness.verifier(), provider)
        .await
        .unwrap()
}

impl Shop {
    /// What a provider says when an authorisation has lapsed.
    pub(crate) fn simulated_decline(&self) -> payments::provider::Authorisation {
        payments::provider::Authorisation::Declined {
            code: "expired".try_into().unwrap(),
        }
    }
}
