//! Giving money back because an admin says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use contracts::Currency;
use contracts::Slug;
use contracts::order::OrderStatus;
use contracts::payment::{PaymentStatus, RefundStatus};
use payments::Error;
use payments::provider::{self, Authorisation, Capture, Charge, Held, Provider, Refund, Return, UnknownMethod, Void};
use payments::simulated::{Account, Fault, Simulated};
use serde_json::json;

use crate::shop::{Shop, back, usd};

#[tokio::test(start_paused = true)]
async fn refunds_sum_up_to_what_was_captured() {
    let shop = Shop::open().await;
    let payment = shop.pay(shop.confirmed().await).await.unwrap().id;
    let first = shop.refund(payment, Some(400)).await.unwrap();
    assert_eq!(
        (first.status, first.amount, first.payment_id),
        (RefundStatus::Succeeded, usd(400), payment)
    );
    assert_eq!(shop.status(payment).await, PaymentStatus::PartiallyRefunded);
    assert!(matches!(
        shop.refund(payment, Some(601)).await,
        Err(Error::RefundExceedsCaptured)
    ));
    assert_eq!(shop.refund(payment, None).await.unwrap().amount, usd(600));
    let refunded = shop.payment(payment).await;
    assert_eq!(
        (refunded.status, refunded.refunded),
        (PaymentStatus::Refunded, usd(1000))
    );
    assert!(matches!(
        shop.refund(payment, None).await,
        Err(Error::RefundExceedsCaptured)
    ));
    assert_eq!(
        shop.accounts(),
        [Account::Captured {
            amount: usd(1000),
            refunded: usd(1000)
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_was_captured_is_refunded() {
    let shop = Shop::open().await;
    let held = shop.pay(shop.placed().await).await.unwrap().id;
    assert!(matches!(shop.refund(held, None).await, Err(Error::NotRefundable)));
    let unknown = contracts::PaymentId::from_uuid(shop.harness.uuid());
    assert!(matches!(shop.refund(unknown, None).await, Err(Error::Unknown)));
    let payment = shop.pay(shop.confirmed().await).await.unwrap().id;
    let euro = json!({"amount": {"amount": 1, "currency": Currency::EUR.code()}});
    let euro = shop
        .payments
        .refund(payment, serde_json::from_value(euro).unwrap(), shop.context(shop.admin))
        .await;
    assert!(matches!(euro, Err(Error::OtherCurrency)), "{euro:?}");
}

#[tokio::test(start_paused = true)]
async fn refunds_that_come_together_do_not_exceed_it() {
    let shop = Shop::open().await;
    let payment = shop.pay(shop.confirmed().await).await.unwrap().id;
    let (a, b, c) = tokio::join!(
        shop.refund(payment, Some(500)),
        shop.refund(payment, Some(500)),
        shop.refund(payment, Some(500))
    );
    assert_eq!([a, b, c].iter().filter(|refund| refund.is_ok()).count(), 2);
    assert_eq!(shop.payment(payment).await.refunded, usd(1000));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_refund_is_given_once_and_answered_the_same() {
    let mut shop = Shop::open().await;
    let payment = shop.pay(shop.confirmed().await).await.unwrap().id;
    shop.provider.fail([Some(Fault::AnswerLost)]);
    let refund = async |shop: &Shop| {
        shop.payments
            .refund(payment, back(Some(100)), shop.keyed(shop.admin, "refund"))
            .await
            .unwrap()
    };
    let (first, second) = tokio::join!(refund(&shop), refund(&shop));
    shop.restart().await;
    assert_eq!([&second, &refund(&shop).await], [&first; 2]);
    assert_eq!(first.status, RefundStatus::Succeeded);
    assert_eq!(
        shop.accounts(),
        [Account::Captured {
            amount: usd(1000),
            refunded: usd(100)
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_order_refunds_what_remains() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let payment = shop.pay(order).await.unwrap().id;
    shop.refund(payment, Some(400)).await.unwrap();
    shop.provider.fail([Some(Fault::Silent)]);
    let pending = shop.refund(payment, Some(100)).await.unwrap();
    assert_eq!(pending.status, RefundStatus::Pending);
    shop.cancel(order, OrderStatus::Paid).await;
    shop.settle().await;
    assert_eq!(shop.status(payment).await, PaymentStatus::Refunded);
    assert_eq!(
        shop.accounts(),
        [Account::Captured {
            amount: usd(1000),
            refunded: usd(1000)
        }]
    );
}

/// A provider that refuses its first refunds for good.
#[derive(Debug)]
struct Stingy {
    provider: Simulated,
    refusals: AtomicUsize,
}

#[async_trait]
impl Provider for Stingy {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn method(&self, asked: Option<Slug>) -> Result<Option<Slug>, UnknownMethod> {
        self.provider.method(asked)
    }

    async fn authorise(&self, charge: &Charge, key: &str) -> Result<Authorisation, provider::Error> {
        self.provider.authorise(charge, key).await
    }

    async fn capture(&self, held: &Held, key: &str) -> Result<Capture, provider::Error> {
        self.provider.capture(held, key).await
    }

    async fn void(&self, held: &Held, key: &str) -> Result<Void, provider::Error> {
        self.provider.void(held, key).await
    }

    async fn refund(&self, held: &Held, refund: &Return, key: &str) -> Result<Refund, provider::Error> {
        let left = self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            return Ok(Refund::Refused {
                code: "charge_disputed".try_into().unwrap(),
            });
        }
        self.provider.refund(held, refund, key).await
    }
}

async fn stingy(refusals: usize) -> Shop {
    let provider = Simulated::in_memory();
    let stingy = Stingy {
        provider: provider.clone(),
        refusals: refusals.into(),
    };
    Shop::through(provider, Arc::new(stingy)).await
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_the_provider_refuses_can_be_asked_for_again() {
    let shop = stingy(1).await;
    let payment = shop.pay(shop.confirmed().await).await.unwrap().id;
    assert_eq!(shop.refund(payment, None).await.unwrap().status, RefundStatus::Failed);
    assert_eq!(shop.status(payment).await, PaymentStatus::Captured);
    assert_eq!(
        shop.refund(payment, None).await.unwrap().status,
        RefundStatus::Succeeded
    );
    assert_eq!(shop.status(payment).await, PaymentStatus::Refunded);
}

#[tokio::test(start_paused = true)]
async fn an_admins_refund_that_is_refused_after_the_order_ended_goes_back_all_the_same() {
    let shop = stingy(1).await;
    let order = shop.confirmed().await;
    let payment = shop.pay(order).await.unwrap().id;
    // The order ends while the admin's refund is under way.
    shop.provider.fail([Some(Fault::Lost), None]);
    let (_, ()) = tokio::join!(shop.refund(payment, None), shop.cancel(order, OrderStatus::Paid));
    shop.settle().await;
    assert_eq!(shop.status(payment).await, PaymentStatus::Refunded);
}

#[tokio::test(start_paused = true)]
async fn a_refund_for_an_ended_order_that_is_refused_waits_for_an_admin() {
    let shop = stingy(1).await;
    let order = shop.confirmed().await;
    let payment = shop.pay(order).await.unwrap().id;
    shop.cancel(order, OrderStatus::Paid).await;
    shop.settle().await;
    assert_eq!(shop.status(payment).await, PaymentStatus::Captured);
    assert_eq!(shop.journal().await.last().unwrap(), "refund_failed");
    shop.refund(payment, None).await.unwrap();
    assert_eq!(shop.status(payment).await, PaymentStatus::Refunded);
}
