//! P6 over random interleavings: whatever comes when, and whatever fails, an order is captured at most once, and the
//! money of an order that ended is back. A failing case prints its steps.

use std::collections::{BTreeMap, BTreeSet};

use contracts::order::{OrderStatus, PaidBy};
use contracts::payment::{CreatePayment, Payment, PaymentStatus};
use contracts::{EventData, OrderId, PaymentId, PublicEvent};
use kernel::event::Position;
use payments::Error;
use payments::simulated::{Account, Fault, Simulated};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::shop::{Shop, back, usd};

const ORDERS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next thing that happens to an order by itself.
    Confirm(usize),
    Reject(usize),
    Cancel(usize),
    Expire(usize),
    PayManually(usize),
    /// A client pays; the same method is the same request again.
    Pay(usize, &'static str),
    Refund(usize, i64),
    /// The payer does what was required, or does not.
    Act(usize, bool),
    Fail(Fault),
    Sleep(u64),
    /// Orders sees what payments said so far.
    OrdersCatchUp,
    Settle,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let order = 0..ORDERS;
    let method = prop::sample::select(vec![
        "pm_card_visa",
        "pm_card_mastercard",
        "pm_card_chargeDeclined",
        "pm_card_authenticationRequired",
    ]);
    let fault = prop::sample::select(vec![Fault::AnswerLost, Fault::Lost, Fault::Refused, Fault::Silent]);
    prop_oneof![
        6 => order.clone().prop_map(Step::Confirm),
        1 => order.clone().prop_map(Step::Reject),
        2 => order.clone().prop_map(Step::Cancel),
        1 => order.clone().prop_map(Step::Expire),
        1 => order.clone().prop_map(Step::PayManually),
        8 => (order.clone(), method).prop_map(|(order, method)| Step::Pay(order, method)),
        2 => (order.clone(), 1..=1000i64).prop_map(|(order, amount)| Step::Refund(order, amount)),
        2 => (order, any::<bool>()).prop_map(|(order, succeeds)| Step::Act(order, succeeds)),
        4 => fault.prop_map(Step::Fail),
        3 => (1..20_000u64).prop_map(Step::Sleep),
        3 => Just(Step::OrdersCatchUp),
        2 => Just(Step::Settle),
        1 => Just(Step::Restart),
    ]
}

/// What the client of a key was told.
type Told = (String, Result<Payment, Error>);

struct World {
    shop: Shop,
    orders: Vec<(OrderId, OrderStatus, Option<PaidBy>)>,
    /// How far orders has followed payments.
    followed: Position,
    clients: JoinSet<Told>,
    told: Vec<Told>,
}

impl World {
    async fn new(simulated: Simulated) -> Self {
        let shop = Shop::with(simulated).await;
        let mut orders = Vec::new();
        for _ in 0..ORDERS {
            orders.push((shop.placed().await, OrderStatus::Pending, None));
        }
        Self {
            shop,
            orders,
            followed: Position::START,
            clients: JoinSet::new(),
            told: Vec::new(),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Confirm(order) => {
                let (id, status, _) = &mut self.orders[order];
                if *status == OrderStatus::Pending {
                    *status = OrderStatus::Confirmed;
                    self.shop.confirm(*id).await;
                }
            }
            Step::Reject(order) => {
                let (id, status, _) = &mut self.orders[order];
                if *status == OrderStatus::Pending {
                    *status = OrderStatus::Rejected;
                    self.shop.reject(*id).await;
                }
            }
            Step::Cancel(order) => {
                let (id, status, _) = &mut self.orders[order];
                if !status.is_final() {
                    let was = std::mem::replace(status, OrderStatus::Cancelled);
                    self.shop.cancel(*id, was).await;
                }
            }
            Step::Expire(order) => {
                let (id, status, _) = &mut self.orders[order];
                if *status == OrderStatus::Confirmed {
                    *status = OrderStatus::Expired;
                    self.shop.expire(*id).await;
                }
            }
            Step::PayManually(order) => {
                let (id, status, paid_by) = &mut self.orders[order];
                if *status == OrderStatus::Confirmed {
                    (*status, *paid_by) = (
                        OrderStatus::Paid,
                        Some(PaidBy::Manual {
                            admin: self.shop.admin.id,
                        }),
                    );
                    self.shop.paid_manually(*id).await;
                }
            }
            Step::Pay(order, method) => self.pay(order, method),
            Step::Refund(order, amount) => self.refund(order, amount).await,
            Step::Act(order, succeeds) => self.act(order, succeeds).await,
            Step::Fail(fault) => self.shop.provider.fail([Some(fault)]),
            Step::Sleep(milliseconds) => self.shop.sleep(std::time::Duration::from_millis(milliseconds)).await,
            Step::OrdersCatchUp => {
                self.orders_catch_up().await;
            }
            Step::Settle => self.shop.settle().await,
            Step::Restart => self.shop.restart().await,
        }
    }

    fn pay(&mut self, order: usize, method: &'static str) {
        let key = format!("{order}/{method}");
        let request = CreatePayment {
            order_id: self.orders[order].0,
            payment_method: Some(method.try_into().unwrap()),
        };
        let (payments, owner) = (self.shop.payments.clone(), self.shop.owner);
        let context = self.shop.keyed(owner, &key);
        self.clients
            .spawn(async move { (key, payments.create(request, owner, context).await) });
    }

    /// An admin refunds any payment of the order that can be refunded.
    async fn refund(&mut self, order: usize, amount: i64) {
        let captured = self.payments().await.into_iter().find(|payment| {
            payment.order_id == self.orders[order].0
                && matches!(
                    payment.status,
                    PaymentStatus::Captured | PaymentStatus::PartiallyRefunded
                )
        });
        let Some(payment) = captured else { return };
        let (payments, context) = (self.shop.payments.clone(), self.shop.context(self.shop.admin));
        let given = async move { payments.refund(payment.id, back(Some(amount)), context).await };
        self.clients
            .spawn(async move { ("refund".into(), given.await.map(|_| payment)) });
    }

    /// The provider may know of the payer's act before the service knows that one is required.
    async fn act(&mut self, order: usize, succeeds: bool) {
        let accounts = self.shop.simulated.accounts();
        for payment in self
            .payments()
            .await
            .into_iter()
            .filter(|payment| payment.order_id == self.orders[order].0)
        {
            let requires_action = |(id, account): &(PaymentId, Account)| {
                *id == payment.id && matches!(account, Account::RequiresAction { .. })
            };
            if accounts.iter().any(requires_action) {
                let authorisation = self.shop.simulated.act(payment.id, succeeds).await.unwrap();
                let context = self.shop.context(self.shop.admin);
                self.shop
                    .payments
                    .note_authorisation(payment.id, authorisation, context)
                    .await
                    .unwrap();
            }
        }
    }

    /// What the orders service does with the events of payments. True if that was anything.
    async fn orders_catch_up(&mut self) -> bool {
        let mut anything = false;
        for event in self
            .events()
            .await
            .into_iter()
            .skip(usize::try_from(self.followed.0).unwrap())
        {
            self.followed = self.followed.plus(1);
            match event {
                Some(PublicEvent::PaymentCaptured(captured)) => {
                    let (id, status, paid_by) = self.order(captured.order_id);
                    if *status == OrderStatus::Confirmed {
                        let by = PaidBy::Payment {
                            payment_id: captured.payment_id,
                        };
                        (*status, *paid_by) = (OrderStatus::Paid, Some(by));
                        let id = *id;
                        self.shop.paid(id, by).await;
                        anything = true;
                    }
                }
                Some(PublicEvent::PaymentRefunded(refunded)) if refunded.full => {
                    let (id, status, paid_by) = self.order(refunded.order_id);
                    if *paid_by
                        == Some(PaidBy::Payment {
                            payment_id: refunded.payment_id,
                        })
                        && *status == OrderStatus::Paid
                    {
                        *status = OrderStatus::Refunded;
                        let id = *id;
                        self.shop.refunded(id, refunded.payment_id).await;
                        anything = true;
                    }
                }
                _ => {}
            }
        }
        anything
    }

    fn order(&mut self, id: OrderId) -> &mut (OrderId, OrderStatus, Option<PaidBy>) {
        self.orders.iter_mut().find(|(order, ..)| *order == id).unwrap()
    }

    /// The journal of payments; internal events are `None`.
    async fn events(&self) -> Vec<Option<PublicEvent>> {
        let tail = self
            .shop
            .engine
            .reader()
            .store()
            .tail(Position::START, 10_000)
            .await
            .unwrap();
        let decode = |event: kernel::event::Recorded| {
            PublicEvent::decode(&event.event_type, event.meta.schema, event.data.get()).ok()
        };
        tail.events.into_iter().map(decode).collect()
    }

    async fn payments(&self) -> Vec<Payment> {
        let (filter, paging) = (Default::default(), Default::default());
        self.shop
            .payments
            .payments(&filter, self.shop.admin, &paging)
            .await
            .unwrap()
            .data
    }

    /// No more faults; everything that was begun ends.
    async fn drain(&mut self) {
        while let Some(told) = self.clients.join_next().await {
            self.told.push(told.expect("no request panics"));
        }
        loop {
            self.shop.settle().await;
            if !self.orders_catch_up().await {
                break;
            }
        }
    }
}

async fn live(steps: Vec<Step>) {
    let directory = TempDir::new().unwrap();
    let ledger = directory.path().join("ledger.jsonl");
    let mut world = World::new(Simulated::open(&ledger).unwrap()).await;
    for step in steps {
        world.take(step).await;
    }
    world.drain().await;
    let events = world.events().await;
    let payments: BTreeMap<PaymentId, Payment> = world.payments().await.into_iter().map(|it| (it.id, it)).collect();

    let mut captured = BTreeSet::new();
    for event in events.iter().flatten() {
        if let PublicEvent::PaymentCaptured(it) = event {
            assert!(captured.insert(it.order_id), "{} was captured twice", it.order_id);
        }
    }
    for (id, status, paid_by) in &world.orders {
        let keeps = matches!(paid_by, Some(PaidBy::Payment { .. })) && !status.is_final();
        for payment in payments.values().filter(|payment| payment.order_id == *id) {
            let allowed = match status {
                OrderStatus::Pending | OrderStatus::Confirmed => true,
                _ if keeps => !payment.status.is_open(),
                _ => !payment.status.is_open() && payment.status != PaymentStatus::Captured,
            };
            assert!(allowed, "{status} with {payment:?}");
            assert!(
                payment.status != PaymentStatus::PartiallyRefunded || keeps,
                "{status} with {payment:?}"
            );
            let waits = *status == OrderStatus::Confirmed && payment.status == PaymentStatus::Authorized;
            assert!(!waits, "{payment:?} was not captured though its order is confirmed");
            assert!(payment.status != PaymentStatus::Initiated, "{payment:?}");
        }
        let paid = payments
            .values()
            .filter(|it| it.order_id == *id && it.status == PaymentStatus::Captured)
            .count();
        assert!(paid <= 1);
    }

    // The provider's ledger, as it is on the disk, says the same as the journal.
    let accounts = world.shop.simulated.accounts();
    assert_eq!(
        accounts.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        payments.keys().copied().collect::<Vec<_>>()
    );
    for (id, account) in &accounts {
        let payment = &payments[id];
        let expected = match account {
            Account::RequiresAction { .. } => PaymentStatus::RequiresAction,
            Account::Declined => PaymentStatus::Failed,
            Account::Held { .. } => PaymentStatus::Authorized,
            Account::Voided => PaymentStatus::Voided,
            Account::Captured { refunded, .. } if refunded.is_zero() => PaymentStatus::Captured,
            Account::Captured { refunded, .. } if *refunded == usd(1000) => PaymentStatus::Refunded,
            Account::Captured { .. } => PaymentStatus::PartiallyRefunded,
        };
        assert_eq!(payment.status, expected, "{account:?}");
        if let Account::Captured { refunded, .. } = account {
            assert_eq!(payment.refunded, *refunded);
        }
    }

    // A key had one answer, besides "not yet".
    let mut answers: BTreeMap<&str, (PaymentId, PaymentStatus)> = BTreeMap::new();
    for (key, told) in world.told.iter().filter(|(key, _)| key != "refund") {
        let answer = match told {
            Ok(payment) if payment.status == PaymentStatus::Initiated => continue,
            Ok(payment) => (payment.id, payment.status),
            Err(Error::Declined { payment_id, .. }) => (*payment_id, PaymentStatus::Failed),
            Err(_) => continue,
        };
        let first = *answers.entry(key).or_insert(answer);
        assert_eq!(first, answer, "{key}");
    }

    world.shop.engine.stop().await;
    // As another process finds it; the first one still has it open.
    assert_eq!(Simulated::open(&ledger).unwrap().accounts(), accounts);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn money_follows_its_order_whatever_happens(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(live(steps));
    }
}
