//! Paying, from the request to the captured money, and back when the order ends.

use std::time::Duration;

use contracts::OrderId;
use contracts::order::OrderStatus;
use contracts::payment::{ListPayments, PaymentStatus};
use kernel::freshness::Missing;
use kernel::http::Paging;
use payments::Error;
use payments::simulated::Account;

use crate::shop::{Shop, usd};

const CAPTURED: Account = Account::Captured {
    amount: CAPTURED_AMOUNT,
    refunded: NOTHING,
};
const CAPTURED_AMOUNT: contracts::Money = match contracts::Money::new(1000, contracts::Currency::USD) {
    Ok(money) => money,
    Err(_) => panic!("a constant amount"),
};
const NOTHING: contracts::Money = contracts::Money::zero(contracts::Currency::USD);

#[tokio::test(start_paused = true)]
async fn a_confirmed_order_is_captured_within_the_request() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let payment = shop.pay(order).await.unwrap();
    assert_eq!(
        (payment.status, payment.amount, &*payment.provider),
        (PaymentStatus::Captured, usd(1000), "simulated")
    );
    assert_eq!(payment.payment_method.unwrap().as_str(), "pm_card_visa");
    assert_eq!(
        shop.journal().await,
        ["initiated", "authorized", "capture_requested", "captured"]
    );
    assert_eq!(shop.accounts(), [CAPTURED]);
}

#[tokio::test(start_paused = true)]
async fn money_is_taken_only_after_the_order_is_confirmed() {
    let shop = Shop::open().await;
    let order = shop.placed().await;
    let payment = shop.pay(order).await.unwrap();
    shop.settle().await;
    assert_eq!(shop.status(payment.id).await, PaymentStatus::Authorized);
    assert_eq!(shop.accounts(), [Account::Held { amount: usd(1000) }]);
    shop.confirm(order).await;
    shop.settle().await;
    assert_eq!(shop.status(payment.id).await, PaymentStatus::Captured);
}

#[tokio::test(start_paused = true)]
async fn an_order_has_one_open_payment_and_is_paid_once() {
    let shop = Shop::open().await;
    let order = shop.placed().await;
    let first = shop.pay(order).await.unwrap();
    assert!(matches!(shop.pay(order).await, Err(Error::PaymentOpen)));
    shop.confirm(order).await;
    shop.settle().await;
    assert!(matches!(shop.pay(order).await, Err(Error::AlreadyPaid)));
    shop.paid(order, contracts::order::PaidBy::Payment { payment_id: first.id })
        .await;
    shop.settle().await;
    assert!(matches!(shop.pay(order).await, Err(Error::AlreadyPaid)));
    shop.cancel(order, OrderStatus::Paid).await;
    shop.settle().await;
    assert!(matches!(shop.pay(order).await, Err(Error::NotPayable)));
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_make_one_payment() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let (first, second) = tokio::join!(shop.pay(order), shop.pay(order));
    assert!(matches!(
        (&first, &second),
        (Ok(_), Err(Error::PaymentOpen)) | (Err(Error::PaymentOpen), Ok(_))
    ));
    assert_eq!(shop.accounts(), [CAPTURED]);
}

#[tokio::test(start_paused = true)]
async fn after_a_decline_another_method_may_be_tried() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let declined = shop.pay_with(order, "pm_card_chargeDeclinedInsufficientFunds").await;
    let Err(Error::Declined { payment_id, code }) = declined else {
        panic!("{declined:?}")
    };
    assert_eq!(code, "insufficient_funds");
    let failed = shop.payment(payment_id).await;
    assert_eq!(
        (failed.status, failed.decline_code.as_deref()),
        (PaymentStatus::Failed, Some("insufficient_funds"))
    );
    assert_eq!(shop.pay(order).await.unwrap().status, PaymentStatus::Captured);
    assert_eq!(shop.accounts(), [Account::Declined, CAPTURED]);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_the_provider_does_not_know_is_refused_before_anything_is_stored() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    assert!(matches!(
        shop.pay_with(order, "pm_card_gold").await,
        Err(Error::UnknownMethod)
    ));
    assert_eq!(shop.journal().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_on_its_way_is_waited_for() {
    let shop = Shop::open().await;
    let order = OrderId::from_uuid(shop.harness.uuid());
    let later = async {
        shop.sleep(Duration::from_millis(100)).await;
        shop.place(order).await;
    };
    let (payment, ()) = tokio::join!(shop.pay(order), later);
    assert_eq!(payment.unwrap().status, PaymentStatus::Authorized);
    let young = OrderId::from_uuid(shop.harness.uuid());
    assert!(matches!(
        shop.pay(young).await,
        Err(Error::OrderMissing(Missing::CatchingUp))
    ));
    shop.sleep(Duration::from_secs(61)).await;
    assert!(matches!(
        shop.pay(young).await,
        Err(Error::OrderMissing(Missing::Unknown))
    ));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_for_an_order_that_ends_is_let_go() {
    let shop = Shop::open().await;
    for end in 0..4 {
        let order = shop.placed().await;
        let payment = shop.pay(order).await.unwrap().id;
        match end {
            0 => shop.reject(order).await,
            1 => shop.cancel(order, OrderStatus::Pending).await,
            2 => shop.expire(order).await,
            _ => shop.paid_manually(order).await,
        }
        shop.settle().await;
        assert_eq!(shop.status(payment).await, PaymentStatus::Voided);
    }
    assert_eq!(shop.accounts(), [Account::Voided; 4]);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_for_an_order_that_ends_is_given_back() {
    let shop = Shop::open().await;
    for end in 0..3 {
        let order = shop.confirmed().await;
        let payment = shop.pay(order).await.unwrap().id;
        match end {
            0 => shop.cancel(order, OrderStatus::Paid).await,
            1 => shop.expire(order).await,
            _ => shop.paid_manually(order).await,
        }
        shop.settle().await;
        let refunded = shop.payment(payment).await;
        assert_eq!(
            (refunded.status, refunded.refunded),
            (PaymentStatus::Refunded, usd(1000))
        );
    }
    assert_eq!(
        shop.accounts(),
        [Account::Captured {
            amount: usd(1000),
            refunded: usd(1000)
        }; 3]
    );
}

#[tokio::test(start_paused = true)]
async fn a_payer_who_has_to_confirm_is_waited_for() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let payment = shop.pay_with(order, "pm_card_authenticationRequired").await.unwrap();
    assert_eq!(payment.status, PaymentStatus::RequiresAction);
    assert!(payment.client_secret.is_some());
    assert!(matches!(shop.pay(order).await, Err(Error::PaymentOpen)));
    let authorisation = shop.simulated.act(payment.id, true).await.unwrap();
    for _ in 0..2 {
        let context = shop.context(shop.owner);
        shop.payments
            .note_authorisation(payment.id, authorisation.clone(), context)
            .await
            .unwrap();
    }
    shop.settle().await;
    let captured = shop.payment(payment.id).await;
    assert_eq!(
        (captured.status, captured.client_secret),
        (PaymentStatus::Captured, None)
    );
    let journal = [
        "initiated",
        "action_required",
        "authorized",
        "capture_requested",
        "captured",
    ];
    assert_eq!(shop.journal().await, journal);
}

#[tokio::test(start_paused = true)]
async fn a_payer_who_does_not_confirm_pays_otherwise_or_the_order_ends() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let first = shop.pay_with(order, "pm_card_authenticationRequired").await.unwrap().id;
    let declined = shop.simulated.act(first, false).await.unwrap();
    shop.payments
        .note_authorisation(first, declined, shop.context(shop.owner))
        .await
        .unwrap();
    assert_eq!(shop.status(first).await, PaymentStatus::Failed);
    let second = shop.pay_with(order, "pm_card_authenticationRequired").await.unwrap().id;
    shop.expire(order).await;
    shop.settle().await;
    assert_eq!(shop.status(second).await, PaymentStatus::Voided);
}

#[tokio::test(start_paused = true)]
async fn lists_show_what_is_the_users() {
    let shop = Shop::open().await;
    let (first, second) = (shop.placed().await, shop.placed().await);
    let (first_payment, second_payment) = (shop.pay(first).await.unwrap().id, shop.pay(second).await.unwrap().id);
    let list = async |order_id, user| {
        let filter = ListPayments {
            order_id,
            ..ListPayments::default()
        };
        let page = shop.payments.payments(&filter, user, &Paging::default()).await.unwrap();
        page.data.into_iter().map(|payment| payment.id).collect::<Vec<_>>()
    };
    let stranger = crate::shop::user(2, contracts::Role::Customer);
    for user in [shop.owner, shop.admin] {
        assert_eq!(list(None, user).await, [second_payment, first_payment]);
        assert_eq!(list(Some(first), user).await, [first_payment]);
    }
    assert_eq!(list(None, stranger).await, []);
    assert_eq!(list(Some(first), stranger).await, []);
}
