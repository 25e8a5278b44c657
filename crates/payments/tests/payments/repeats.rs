//! P11: the same key gives the same answer, over restarts and under concurrency.

use std::time::Duration;

use contracts::order::OrderStatus;
use contracts::payment::{CreatePayment, PaymentStatus};
use kernel::writer;
use payments::Error;
use payments::simulated::Fault;

use crate::shop::{Shop, order};

#[tokio::test(start_paused = true)]
async fn a_repetition_gets_the_first_answer_though_the_payment_has_moved_on() {
    let mut shop = Shop::open().await;
    let order = shop.placed().await;
    let first = shop.pay_keyed(order, "key").await.unwrap();
    assert_eq!(first.status, PaymentStatus::Authorized);
    shop.confirm(order).await;
    shop.settle().await;
    shop.restart().await;
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), first);
    shop.cancel(order, OrderStatus::Paid).await;
    shop.settle().await;
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), first);
    assert!(matches!(shop.pay_keyed(order, "other").await, Err(Error::NotPayable)));
}

#[tokio::test(start_paused = true)]
async fn repetitions_at_the_same_time_wait_for_the_one_payment() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    shop.provider.fail([Some(Fault::AnswerLost), Some(Fault::Lost)]);
    let (a, b, c) = tokio::join!(
        shop.pay_keyed(order, "key"),
        shop.pay_keyed(order, "key"),
        shop.pay_keyed(order, "key")
    );
    let [a, b, c] = [a, b, c].map(Result::unwrap);
    assert_eq!((a.status, &b, &c), (PaymentStatus::Captured, &a, &a));
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), a);
    assert_eq!(shop.accounts().len(), 1);
}

/// The first one was answered when it had waited long enough; the second one waits still when the payment moves on.
#[tokio::test(start_paused = true)]
async fn who_waits_longer_is_told_what_the_key_was_answered() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    // Its capture succeeds at the seventh try, after 13 to 19 s.
    let down = [Some(Fault::Lost); 6];
    shop.provider.fail([None].into_iter().chain(down));
    let second = async {
        shop.sleep(Duration::from_secs(9)).await;
        shop.pay_keyed(order, "key").await.unwrap()
    };
    let (first, second) = tokio::join!(shop.pay_keyed(order, "key"), second);
    let first = first.unwrap();
    assert_eq!(first.status, PaymentStatus::Authorized);
    assert_eq!(shop.status(first.id).await, PaymentStatus::Captured);
    assert_eq!(second, first);
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn a_decline_is_repeated_too() {
    let mut shop = Shop::open().await;
    let order = shop.confirmed().await;
    let request = CreatePayment {
        order_id: order,
        payment_method: Some("pm_card_chargeDeclined".try_into().unwrap()),
    };
    let pay = async |shop: &Shop| {
        let declined = shop
            .payments
            .create(request.clone(), shop.owner, shop.keyed(shop.owner, "key"))
            .await;
        let Err(Error::Declined { payment_id, code }) = declined else {
            panic!("{declined:?}")
        };
        (payment_id, code)
    };
    let (first, second) = tokio::join!(pay(&shop), pay(&shop));
    assert_eq!(first.1, "generic_decline");
    assert_eq!(second, first);
    // The order has another payment by now, and the old key still means the old one.
    shop.pay(order).await.unwrap();
    shop.restart().await;
    assert_eq!(pay(&shop).await, first);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_key_is_told_to_come_back_while_the_outcome_is_unknown() {
    let mut shop = Shop::open().await;
    let order = shop.confirmed().await;
    shop.provider.fail([Some(Fault::Silent)]);
    // Were the first one told that the payment is initiated, the key would have two answers in the end.
    for _ in 0..2 {
        let told = shop.pay_keyed(order, "key").await;
        assert!(matches!(told, Err(Error::Write(writer::Error::InProgress))), "{told:?}");
    }
    // The provider stays silent until another process asks again; the key then gets the outcome, and keeps it.
    shop.restart().await;
    let outcome = shop.pay_keyed(order, "key").await.unwrap();
    assert_eq!(outcome.status, PaymentStatus::Captured);
    shop.restart().await;
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), outcome);
    assert_eq!(shop.accounts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_while_a_capture_is_unknown_stays_the_answer() {
    let mut shop = Shop::open().await;
    let order = shop.confirmed().await;
    shop.provider.fail([None, Some(Fault::Silent)]);
    let (first, second) = tokio::join!(shop.pay_keyed(order, "key"), shop.pay_keyed(order, "key"));
    let first = first.unwrap();
    assert_eq!(
        (first.status, second.unwrap()),
        (PaymentStatus::Authorized, first.clone())
    );
    shop.restart().await;
    shop.settle().await;
    assert_eq!(shop.status(first.id).await, PaymentStatus::Captured);
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_of_one_body_and_a_refusal_is_decided_again() {
    let shop = Shop::open().await;
    let order_id = shop.confirmed().await;
    shop.pay_keyed(order_id, "key").await.unwrap();
    let mut context = shop.keyed(shop.owner, "key");
    context.claim.as_mut().unwrap().fingerprint = "another body".into();
    let reused = shop.payments.create(order(order_id), shop.owner, context).await;
    assert!(
        matches!(reused, Err(Error::Write(writer::Error::KeyReused))),
        "{reused:?}"
    );
    // A refusal changed nothing: the same key is free.
    let second = shop.placed().await;
    let open = shop.pay(second).await.unwrap().id;
    assert!(matches!(
        shop.pay_keyed(second, "second").await,
        Err(Error::PaymentOpen)
    ));
    let declined = shop.simulated_decline();
    shop.payments
        .note_authorisation(open, declined, shop.context(shop.admin))
        .await
        .unwrap();
    assert!(shop.pay_keyed(second, "second").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_order_ended_meanwhile_answers_as_voided() {
    let shop = Shop::open().await;
    let order = shop.placed().await;
    shop.provider.fail([Some(Fault::Lost), Some(Fault::Lost)]);
    let (payment, ()) = tokio::join!(shop.pay_keyed(order, "key"), shop.cancel(order, OrderStatus::Pending));
    let payment = payment.unwrap();
    assert_eq!(payment.status, PaymentStatus::Voided);
    assert_eq!(shop.pay_keyed(order, "key").await.unwrap(), payment);
}
