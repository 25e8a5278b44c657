//! An order's way, whatever comes in whatever order.

use std::time::Duration;

use contracts::order::OrderStatus;
use contracts::payment::{PaymentStatus, Stage};
use orders::Error;
use serde_json::json;

use crate::shop::{Shop, usd};

const MINUTES: fn(u64) -> Duration = Duration::from_mins;

#[tokio::test(start_paused = true)]
async fn an_order_goes_from_placed_to_refunded() {
    let shop = Shop::open().await;
    let (order, payment) = shop.paid().await;
    assert_eq!(order.status, OrderStatus::Paid);
    assert_eq!(order.payment.as_ref().unwrap().status, PaymentStatus::Captured);
    let order = shop
        .update(&order, json!({"status": "fulfilled"}), shop.admin)
        .await
        .unwrap();
    assert_eq!(order.status, OrderStatus::Fulfilled);
    shop.refunded(&order, payment, usd(1)).await;
    let partly = shop.read(&order).await;
    assert_eq!(partly.status, OrderStatus::Fulfilled);
    assert_eq!(partly.payment.unwrap().status, PaymentStatus::PartiallyRefunded);
    shop.refunded(&order, payment, order.total).await;
    let refunded = shop.read(&order).await;
    assert_eq!(refunded.status, OrderStatus::Refunded);
    assert_eq!(refunded.payment.unwrap().status, PaymentStatus::Refunded);
    assert_eq!(
        shop.harness.journal().await,
        [
            "order.placed",
            "order.confirmed",
            "order.payment-noted",
            "order.paid",
            "order.fulfilled",
            "order.payment-noted",
            "order.refunded"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn placed_and_confirmed_are_two_events() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    assert_eq!((order.status, order.version), (OrderStatus::Confirmed, 2));
    assert_eq!(shop.harness.journal().await, ["order.placed", "order.confirmed"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_without_stock_is_rejected_and_says_why() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    shop.rejected(&order).await;
    shop.rejected(&order).await;
    let order = shop.read(&order).await;
    assert_eq!(order.status, OrderStatus::Rejected);
    assert_eq!(
        order.reason.unwrap().as_str(),
        "Not enough in stock: LAMP (2 wanted, 1 available)"
    );
    assert_eq!(shop.harness.journal().await, ["order.placed", "order.rejected"]);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_comes_after_the_cancellation_changes_nothing() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let cancelled = shop.cancel(&order, shop.ada).await.unwrap();
    assert_eq!(cancelled.status, OrderStatus::Cancelled);
    shop.cancel(&order, shop.ada).await.unwrap();
    shop.reserved(&order).await;
    shop.reserved(&order).await;
    assert_eq!(shop.read(&order).await, cancelled);
    assert_eq!(shop.harness.journal().await, ["order.placed", "order.cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_payment_may_come_before_the_confirmation() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    let payment = shop.new_payment();
    shop.authorized(&order, payment).await;
    shop.authorized(&order, payment).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Pending);
    shop.reserved(&order).await;
    shop.pass(MINUTES(60)).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Confirmed);
    shop.captured(&order, payment).await;
    shop.captured(&order, payment).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Paid);
    let journal = shop.harness.journal().await;
    assert_eq!(
        journal,
        ["order.placed", "order.payment-noted", "order.confirmed", "order.paid"]
    );
}

#[tokio::test(start_paused = true)]
async fn money_that_came_before_the_stock_pays_with_the_confirmation() {
    let shop = Shop::open().await;
    let order = shop.place().await;
    shop.captured(&order, shop.new_payment()).await;
    shop.reserved(&order).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Paid);
}

#[tokio::test(start_paused = true)]
async fn an_order_expires_half_an_hour_after_its_confirmation_and_not_before() {
    let shop = Shop::open().await;
    let pending = shop.place().await;
    let order = shop.confirmed().await;
    shop.pass(MINUTES(29)).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Confirmed);
    shop.pass(MINUTES(1)).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Expired);
    assert_eq!(shop.status(&pending).await, OrderStatus::Pending);
    // What is captured after all is given back by payments.
    let payment = shop.new_payment();
    shop.captured(&order, payment).await;
    shop.refunded(&order, payment, order.total).await;
    let order = shop.read(&order).await;
    assert_eq!(order.status, OrderStatus::Expired);
    assert_eq!(order.payment.unwrap().status, PaymentStatus::Refunded);
}

#[tokio::test(start_paused = true)]
async fn the_clock_stands_while_money_is_held_ready_and_starts_anew_when_it_is_not() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    shop.pass(MINUTES(20)).await;
    let first = shop.new_payment();
    shop.authorized(&order, first).await;
    shop.pass(MINUTES(120)).await;
    shop.failed(&order, first, Stage::Capture).await;
    shop.pass(MINUTES(29)).await;
    let second = shop.new_payment();
    shop.authorized(&order, second).await;
    shop.pass(MINUTES(120)).await;
    shop.voided(&order, second).await;
    shop.pass(MINUTES(29)).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Confirmed);
    shop.failed(&order, shop.new_payment(), Stage::Authorize).await;
    shop.pass(MINUTES(1)).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_paid_order_can_be_cancelled_and_stays_so_after_its_refund() {
    let shop = Shop::open().await;
    let (order, payment) = shop.paid().await;
    shop.cancel(&order, shop.ada).await.unwrap();
    shop.refunded(&order, payment, order.total).await;
    let order = shop.read(&order).await;
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.payment.unwrap().status, PaymentStatus::Refunded);
}

#[tokio::test(start_paused = true)]
async fn an_admin_may_declare_a_confirmed_order_paid_and_the_payment_that_was_not_needed_changes_nothing() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let paid = shop
        .update(&order, json!({"status": "paid"}), shop.admin)
        .await
        .unwrap();
    assert_eq!(paid.status, OrderStatus::Paid);
    let again = shop
        .update(&order, json!({"status": "paid"}), shop.admin)
        .await
        .unwrap();
    assert_eq!(again.version, paid.version);
    let payment = shop.new_payment();
    shop.captured(&order, payment).await;
    shop.refunded(&order, payment, order.total).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Paid);
}

#[tokio::test(start_paused = true)]
async fn a_capture_of_another_amount_waits_for_somebody_to_look_at_it() {
    let shop = Shop::open().await;
    let order = shop.confirmed().await;
    let cheap = contracts::order::Order {
        total: usd(1),
        ..order.clone()
    };
    shop.captured(&cheap, shop.new_payment()).await;
    assert_eq!(shop.status(&order).await, OrderStatus::Confirmed);
    let letters = shop
        .http("GET", "/api/dead-letters", Some(shop.admin), None)
        .await
        .json();
    assert!(
        letters
            .to_string()
            .contains("0.01 USD was captured for an order of 25.00 USD"),
        "{letters}"
    );
    // Other orders go on.
    let (other, _) = shop.paid().await;
    assert_eq!(other.status, OrderStatus::Paid);
}

#[tokio::test(start_paused = true)]
async fn a_fulfilled_order_cannot_be_cancelled() {
    let shop = Shop::open().await;
    let (order, _) = shop.paid().await;
    let order = shop
        .update(&order, json!({"status": "fulfilled"}), shop.admin)
        .await
        .unwrap();
    let refused = shop.cancel(&order, shop.ada).await;
    assert!(
        matches!(
            refused,
            Err(Error::NotCancellable {
                status: OrderStatus::Fulfilled
            })
        ),
        "{refused:?}"
    );
    let refused = shop.update(&order, json!({"status": "cancelled"}), shop.admin).await;
    let illegal = Error::IllegalTransition {
        from: OrderStatus::Fulfilled,
        to: OrderStatus::Cancelled,
    };
    assert_eq!(refused.unwrap_err().to_string(), illegal.to_string());
}
