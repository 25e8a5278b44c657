//! The rules that the table alone does not show: clocks, and payments that cross each other.

use contracts::order::{Canceller, OrderStatus, PaidBy};
use contracts::payment::{PaymentStatus, Stage};
use testkit::aggregate::given;

use super::fixture::*;
use super::*;
use crate::events::PaymentNoted;

fn waiting() -> [Event; 2] {
    [placed(), confirmed()]
}

fn noted_anew(payment_id: PaymentId, status: PaymentStatus, expires_at: &str) -> Event {
    let expires_at = Some(time(expires_at));
    PaymentNoted {
        order_id: ORDER,
        user_id: OWNER,
        payment_id,
        status,
        expires_at,
    }
    .into()
}

#[test]
fn a_confirmed_order_waits_for_its_payment_until_the_window_closes() {
    let order = given::<Order>([placed()])
        .at(time("12:00:02"))
        .when(confirm())
        .then([confirmed()]);
    assert_eq!(order.state().unwrap().expires_at(), Some(time("12:30:02")));
    order.clone().at(time("12:30:01")).when(Command::Expire).then_nothing();
    order.at(time("12:30:02")).when(Command::Expire).then([expired()]);
}

#[test]
fn a_payment_that_holds_money_ready_stops_the_clock() {
    for history in [
        vec![placed(), noted(PAYMENT, PaymentStatus::Authorized), confirmed()],
        vec![placed(), confirmed(), noted(PAYMENT, PaymentStatus::Authorized)],
    ] {
        let order = given::<Order>(history);
        assert_eq!(order.state().unwrap().expires_at(), None);
        order.at(time("23:00:00")).when(Command::Expire).then_nothing();
    }
}

#[test]
fn a_payment_that_came_to_nothing_starts_the_clock_anew() {
    for (fact, status) in [
        (PaymentFact::Failed { stage: Stage::Capture }, PaymentStatus::Failed),
        (PaymentFact::Voided, PaymentStatus::Voided),
    ] {
        let order = given::<Order>(waiting())
            .and(noted(PAYMENT, PaymentStatus::Authorized))
            .at(time("13:00:00"));
        let order = order
            .when(follow(PAYMENT, fact))
            .then([noted_anew(PAYMENT, status, "13:30:00")]);
        assert_eq!(order.state().unwrap().expires_at(), Some(time("13:30:00")));
    }
}

#[test]
fn a_payment_that_never_held_money_leaves_the_clock_alone() {
    let failed = follow(
        PAYMENT,
        PaymentFact::Failed {
            stage: Stage::Authorize,
        },
    );
    let order = given::<Order>(waiting()).at(time("12:20:00")).when(failed);
    let order = order.then([noted(PAYMENT, PaymentStatus::Failed)]);
    assert_eq!(order.state().unwrap().expires_at(), Some(time("12:30:02")));
}

#[test]
fn the_clock_stands_until_the_last_payment_that_holds_money_ends_whatever_came_first() {
    // The second payment's event overtook the end of the first one.
    let order = given::<Order>(waiting())
        .and(noted(PAYMENT, PaymentStatus::Authorized))
        .and(noted(OTHER, PaymentStatus::Authorized))
        .at(time("13:00:00"));
    let order = order
        .when(follow(PAYMENT, PaymentFact::Voided))
        .then([noted(PAYMENT, PaymentStatus::Voided)]);
    assert_eq!(order.state().unwrap().expires_at(), None);
    let failed = follow(OTHER, PaymentFact::Failed { stage: Stage::Capture });
    let order = order.at(time("14:00:00")).when(failed);
    order.then([noted_anew(OTHER, PaymentStatus::Failed, "14:30:00")]);
}

#[test]
fn money_that_was_here_first_pays_when_the_stock_is_reserved() {
    let order = given::<Order>([placed()]).when(follow(PAYMENT, captured()));
    let order = order
        .then([noted(PAYMENT, PaymentStatus::Captured)])
        .at(time("12:00:02"));
    order.clone().when(confirm()).then([confirmed(), paid()]);
    // Unless it was given back meanwhile.
    let order = order
        .when(follow(PAYMENT, refund(2500)))
        .then([noted(PAYMENT, PaymentStatus::Refunded)]);
    order.at(time("12:00:02")).when(confirm()).then([confirmed()]);
}

#[test]
fn what_an_admin_declared_paid_is_not_refunded_with_a_payment_that_was_not_needed() {
    let order = given::<Order>(waiting())
        .and(paid_manually())
        .when(follow(PAYMENT, captured()));
    let order = order
        .then([noted(PAYMENT, PaymentStatus::Captured)])
        .when(follow(PAYMENT, refund(2500)));
    let order = order.then([noted(PAYMENT, PaymentStatus::Refunded)]);
    assert_eq!(
        order.state().unwrap().state,
        State::Paid {
            by: PaidBy::Manual { admin: ADMIN }
        }
    );
}

#[test]
fn a_cancelled_order_stays_cancelled_and_shows_what_became_of_its_money() {
    let order = given::<Order>(waiting()).and(paid()).when(cancel(Canceller::Customer));
    let order = order
        .then([cancelled(OrderStatus::Paid, Canceller::Customer)])
        .when(follow(PAYMENT, refund(2500)));
    let order = order.then([noted(PAYMENT, PaymentStatus::Refunded)]);
    let public = order.state().unwrap().to_public(None);
    assert_eq!(public.status, OrderStatus::Cancelled);
    assert_eq!(public.payment.unwrap().status, PaymentStatus::Refunded);
}

#[test]
fn a_rejected_order_says_what_was_missing() {
    let order = given::<Order>([placed(), rejected()]);
    let reason = order.state().unwrap().to_public(None).reason.unwrap();
    assert_eq!(reason.as_str(), "Not enough in stock: LAMP (2 wanted, 1 available)");
    let missing = |number| Shortage {
        sku: format!("SKU-{number}").try_into().unwrap(),
        requested: 2,
        available: 1,
    };
    let reason = rejection(&(0..1000).map(missing).collect::<Vec<_>>()).unwrap();
    assert!(reason.as_str().ends_with(", …"), "{}", reason.as_str());
    // One SKU of the greatest length always fits.
    let long = Shortage {
        sku: "ü".repeat(64).try_into().unwrap(),
        requested: u64::MAX,
        available: u64::MAX,
    };
    assert!(rejection(&[long]).is_some());
}
