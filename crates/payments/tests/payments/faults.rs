//! A provider that fails, and processes that end at the wrong moment: money moves once.

use std::time::Duration;

use contracts::Service;
use contracts::order::OrderStatus;
use contracts::payment::PaymentStatus;
use kernel::clock::Ids;
use kernel::document::{Document, Kind};
use kernel::engine::schema;
use kernel::store::Query;
use payments::provider::{Held, Provider};
use payments::simulated::{Account, Fault, Simulated};
use payments::{COLLECTIONS, Error, Payment, fold};
use tempfile::TempDir;

use crate::shop::{Shop, usd};

fn captured(refunded: i64) -> Account {
    Account::Captured {
        amount: usd(1000),
        refunded: usd(refunded),
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_after_charging_charges_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ledger.jsonl");
    let shop = Shop::with(Simulated::open(&path).unwrap()).await;
    let order = shop.confirmed().await;
    let faults = [Fault::AnswerLost, Fault::Lost, Fault::Refused, Fault::AnswerLost].map(Some);
    shop.provider.fail(faults.into_iter().chain([None]).chain(faults));
    let payment = shop.pay(order).await.unwrap();
    shop.settle().await;
    assert_eq!(shop.status(payment.id).await, PaymentStatus::Captured);
    assert_eq!(shop.provider.calls(), 10);
    assert_eq!(
        shop.journal().await,
        ["initiated", "authorized", "capture_requested", "captured"]
    );
    assert_eq!(shop.accounts(), [captured(0)]);
    let ledger = std::fs::read_to_string(path).unwrap();
    assert_eq!(ledger.lines().count(), 2, "{ledger}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_silent_makes_nobody_wait_for_ever() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    shop.provider.fail([Some(Fault::Silent)]);
    let began = shop.engine.clock().monotonic();
    let payment = shop.pay(order).await.unwrap();
    assert_eq!(payment.status, PaymentStatus::Initiated);
    assert_eq!((shop.engine.clock().monotonic() - began).as_secs(), 10);
    shop.settle().await;
    assert_eq!(shop.status(payment.id).await, PaymentStatus::Captured);
    assert_eq!(shop.accounts(), [captured(0)]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_a_call_and_its_outcome_charges_once() {
    for silent_call in 0..2 {
        let mut shop = Shop::open().await;
        let order = shop.confirmed().await;
        shop.provider
            .fail(std::iter::repeat_n(None, silent_call).chain([Some(Fault::Silent)]));
        let payment = shop.pay(order).await.unwrap().id;
        assert_eq!(
            shop.status(payment).await,
            [PaymentStatus::Initiated, PaymentStatus::Authorized][silent_call]
        );
        shop.restart().await;
        shop.settle().await;
        assert_eq!(shop.status(payment).await, PaymentStatus::Captured);
        assert_eq!(
            shop.journal().await,
            ["initiated", "authorized", "capture_requested", "captured"]
        );
        assert_eq!(shop.accounts(), [captured(0)]);
        assert_eq!(shop.provider.calls(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorisation_unknown_when_the_order_ends_is_voided_once_it_is_known() {
    let shop = Shop::open().await;
    let order = shop.placed().await;
    shop.provider.fail([Some(Fault::Silent)]);
    let payment = shop.pay(order).await.unwrap().id;
    shop.cancel(order, OrderStatus::Pending).await;
    shop.settle().await;
    assert_eq!(shop.status(payment).await, PaymentStatus::Voided);
    assert_eq!(
        shop.journal().await,
        ["initiated", "authorized", "void_requested", "voided"]
    );
    assert_eq!(shop.accounts(), [Account::Voided]);
}

#[tokio::test(start_paused = true)]
async fn a_capture_unknown_when_the_order_ends_is_refunded_once_it_is_known() {
    let mut shop = Shop::open().await;
    let order = shop.confirmed().await;
    shop.provider.fail([None, Some(Fault::Silent)]);
    let payment = shop.pay(order).await.unwrap().id;
    assert_eq!(shop.status(payment).await, PaymentStatus::Authorized);
    shop.cancel(order, OrderStatus::Confirmed).await;
    shop.harness.settle(shop.payments.consumers()).await;
    shop.restart().await;
    shop.settle().await;
    assert_eq!(shop.status(payment).await, PaymentStatus::Refunded);
    assert_eq!(shop.accounts(), [captured(1000)]);
    // That the order is now refunded, or says so again, changes nothing.
    let events = shop.journal().await.len();
    shop.refunded(order, payment).await;
    shop.settle().await;
    assert_eq!(shop.journal().await.len(), events);
}

/// Somebody does it at the provider, behind our back.
async fn behind_our_back(shop: &Shop, payment: contracts::PaymentId) -> Held {
    shop.settle().await;
    Held {
        payment_id: payment,
        reference: payment.to_string().try_into().unwrap(),
        amount: usd(1000),
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_is_refused_fails_the_payment_and_another_may_follow() {
    let shop = Shop::open().await;
    let order = shop.placed().await;
    let payment = shop.pay(order).await.unwrap().id;
    let held = behind_our_back(&shop, payment).await;
    shop.simulated.void(&held, "dashboard").await.unwrap();
    shop.confirm(order).await;
    shop.settle().await;
    let failed = shop.payment(payment).await;
    assert_eq!(
        (failed.status, failed.decline_code.as_deref()),
        (PaymentStatus::Failed, Some("payment_voided"))
    );
    assert_eq!(shop.pay(order).await.unwrap().status, PaymentStatus::Captured);
}

#[tokio::test(start_paused = true)]
async fn what_was_captured_when_it_should_be_voided_is_refunded() {
    let shop = Shop::open().await;
    let order = shop.placed().await;
    let payment = shop.pay(order).await.unwrap().id;
    let held = behind_our_back(&shop, payment).await;
    shop.simulated.capture(&held, "dashboard").await.unwrap();
    shop.cancel(order, OrderStatus::Pending).await;
    shop.settle().await;
    assert_eq!(shop.status(payment).await, PaymentStatus::Refunded);
    assert_eq!(shop.accounts(), [captured(1000)]);
}

#[tokio::test(start_paused = true)]
async fn a_refund_whose_answer_is_lost_is_given_once() {
    let mut shop = Shop::open().await;
    let order = shop.confirmed().await;
    let payment = shop.pay(order).await.unwrap().id;
    shop.provider.fail([Some(Fault::AnswerLost), Some(Fault::Silent)]);
    let pending = shop.refund(payment, Some(300)).await.unwrap();
    assert_eq!(pending.status, contracts::payment::RefundStatus::Pending);
    assert!(matches!(
        shop.refund(payment, Some(701)).await,
        Err(Error::RefundExceedsCaptured)
    ));
    shop.restart().await;
    shop.settle().await;
    assert_eq!(shop.payment(payment).await.refunded, usd(300));
    assert_eq!(shop.accounts(), [captured(300)]);
}

/// P8: the views are what the journal folds to, byte for byte.
#[tokio::test(start_paused = true)]
async fn the_views_equal_the_fold_of_the_journal() {
    let shop = Shop::open().await;
    let [first, second, third] = [shop.confirmed().await, shop.placed().await, shop.confirmed().await];
    let paid = shop.pay(first).await.unwrap().id;
    shop.pay(second).await.unwrap();
    let _ = shop.pay_with(third, "pm_card_chargeDeclined").await;
    shop.pay(third).await.unwrap();
    shop.refund(paid, Some(10)).await.unwrap();
    shop.reject(second).await;
    shop.cancel(first, OrderStatus::Paid).await;
    shop.settle().await;
    shop.engine.stop().await;
    let store = shop.engine.reader().store();
    let views = async || {
        let mut views = Vec::new();
        for collection in COLLECTIONS.iter().filter(|collection| collection.kind == Kind::View) {
            let found = store.query(&Query::all(collection, 1000)).await.unwrap();
            views.extend(
                found
                    .into_iter()
                    .map(|found| (collection.name, found.id, found.stored.document)),
            );
        }
        views
    };
    let before = views().await;
    assert!(before.len() >= 8, "{before:?}");
    kernel::rebuild::rebuild(
        store,
        &schema(COLLECTIONS).collections,
        fold,
        &Ids::from_seed(3),
        |_, _| {},
    )
    .await
    .unwrap();
    assert_eq!(views().await, before);
    assert_eq!(Payment::COLLECTION.kind, Kind::View);
}

#[tokio::test(start_paused = true)]
async fn an_erased_person_leaves_no_reasons_behind() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let payment = shop.pay(order).await.unwrap().id;
    let refund = shop.refund(payment, Some(10)).await.unwrap();
    let stored = async || {
        let all = shop
            .engine
            .reader()
            .store()
            .query(&Query::all(collection("refund_records"), 10))
            .await
            .unwrap();
        all.into_iter()
            .map(|found| found.stored.document.to_string())
            .collect::<String>()
    };
    assert!(stored().await.contains("It broke."));
    shop.harness
        .publish(
            Service::Users,
            shop.owner.id,
            contracts::user::Erased { user_id: shop.owner.id },
        )
        .await;
    shop.settle().await;
    shop.sleep(Duration::from_secs(2)).await;
    assert!(!stored().await.contains("It broke."));
    assert_eq!(shop.payment(payment).await.refunded, refund.amount);
}

fn collection(name: &str) -> &'static kernel::document::Collection {
    COLLECTIONS.iter().find(|collection| collection.name == name).unwrap()
}
