//! Orders in every state, and everything that may come to them.

use std::time::Duration;

use contracts::order::{
    Cancelled, Canceller, Confirmed, Expired, Fulfilled, OrderLine, OrderStatus, Paid, PaidBy, Placed, Refunded,
    Rejected,
};
use contracts::payment::{PaymentStatus, Stage};
use contracts::stock::Shortage;
use contracts::{Currency, Money, OrderId, PaymentId, Price, ProductId, UserId};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Command, Editor, PaymentFact};
use crate::Event;
use crate::events::PaymentNoted;

pub(super) const ORDER: OrderId = OrderId::from_uuid(Uuid::from_u128(1));
pub(super) const OWNER: UserId = UserId::from_uuid(Uuid::from_u128(2));
pub(super) const ADMIN: UserId = UserId::from_uuid(Uuid::from_u128(3));
/// The order's payment.
pub(super) const PAYMENT: PaymentId = PaymentId::from_uuid(Uuid::from_u128(4));
/// A later payment of the same order.
pub(super) const OTHER: PaymentId = PaymentId::from_uuid(Uuid::from_u128(5));
pub(super) const WINDOW: Duration = Duration::from_mins(30);

pub(super) fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}

pub(super) fn time(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

pub(super) fn placed() -> Event {
    let price = Price::new(1250, Currency::USD).unwrap();
    let product = ProductId::from_uuid(Uuid::from_u128(6));
    let line = OrderLine::new(
        "LAMP".try_into().unwrap(),
        product,
        "Lamp".try_into().unwrap(),
        2_i64.try_into().unwrap(),
        price,
    );
    let lines = vec![line.unwrap()];
    Placed {
        order_id: ORDER,
        user_id: OWNER,
        lines,
        total: usd(2500),
        details: Vec::new(),
    }
    .into()
}

pub(super) fn confirmed() -> Event {
    Confirmed {
        order_id: ORDER,
        user_id: OWNER,
        total: usd(2500),
        expires_at: time("12:30:02"),
    }
    .into()
}

pub(super) fn shortages() -> Vec<Shortage> {
    vec![Shortage {
        sku: "LAMP".try_into().unwrap(),
        requested: 2,
        available: 1,
    }]
}

pub(super) fn rejected() -> Event {
    Rejected {
        order_id: ORDER,
        user_id: OWNER,
        shortages: shortages(),
    }
    .into()
}

pub(super) fn paid_by(paid_by: PaidBy) -> Event {
    Paid {
        order_id: ORDER,
        user_id: OWNER,
        amount: usd(2500),
        paid_by,
    }
    .into()
}

pub(super) fn paid() -> Event {
    paid_by(PaidBy::Payment { payment_id: PAYMENT })
}

pub(super) fn paid_manually() -> Event {
    paid_by(PaidBy::Manual { admin: ADMIN })
}

pub(super) fn cancelled(was: OrderStatus, by: Canceller) -> Event {
    Cancelled {
        order_id: ORDER,
        user_id: OWNER,
        was,
        by,
        details: Vec::new(),
    }
    .into()
}

pub(super) fn expired() -> Event {
    Expired {
        order_id: ORDER,
        user_id: OWNER,
    }
    .into()
}

pub(super) fn fulfilled() -> Event {
    Fulfilled {
        order_id: ORDER,
        user_id: OWNER,
    }
    .into()
}

pub(super) fn refunded(was: OrderStatus) -> Event {
    Refunded {
        order_id: ORDER,
        user_id: OWNER,
        payment_id: PAYMENT,
        amount: usd(2500),
        was,
    }
    .into()
}

pub(super) fn noted(payment_id: PaymentId, status: PaymentStatus) -> Event {
    PaymentNoted {
        order_id: ORDER,
        user_id: OWNER,
        payment_id,
        status,
        expires_at: None,
    }
    .into()
}

/// Every state, by its name, with a history that leads there.
pub(super) fn states() -> Vec<(&'static str, Vec<Event>)> {
    let authorized = || noted(PAYMENT, PaymentStatus::Authorized);
    let captured = || noted(PAYMENT, PaymentStatus::Captured);
    vec![
        ("nothing", vec![]),
        ("pending", vec![placed()]),
        ("pending, authorized", vec![placed(), authorized()]),
        ("pending, captured", vec![placed(), captured()]),
        ("confirmed", vec![placed(), confirmed()]),
        ("confirmed, authorized", vec![placed(), confirmed(), authorized()]),
        ("rejected", vec![placed(), rejected()]),
        ("paid", vec![placed(), confirmed(), paid()]),
        ("paid manually", vec![placed(), confirmed(), paid_manually()]),
        ("fulfilled", vec![placed(), confirmed(), paid(), fulfilled()]),
        (
            "fulfilled, paid manually",
            vec![placed(), confirmed(), paid_manually(), fulfilled()],
        ),
        (
            "cancelled",
            vec![placed(), cancelled(OrderStatus::Pending, Canceller::Customer)],
        ),
        (
            "cancelled, captured",
            vec![
                placed(),
                confirmed(),
                paid(),
                cancelled(OrderStatus::Paid, Canceller::Customer),
            ],
        ),
        ("expired", vec![placed(), confirmed(), expired()]),
        (
            "refunded",
            vec![placed(), confirmed(), paid(), refunded(OrderStatus::Paid)],
        ),
    ]
}

pub(super) fn confirm() -> Command {
    Command::Confirm { payment_window: WINDOW }
}

pub(super) fn cancel(by: Canceller) -> Command {
    Command::Cancel {
        by,
        details: Vec::new(),
    }
}

pub(super) fn follow(payment_id: PaymentId, fact: PaymentFact) -> Command {
    Command::FollowPayment {
        payment_id,
        fact,
        payment_window: WINDOW,
    }
}

pub(super) fn captured() -> PaymentFact {
    PaymentFact::Captured { amount: usd(2500) }
}

pub(super) fn refund(amount: i64) -> PaymentFact {
    PaymentFact::Refunded {
        refunded_total: usd(amount),
        full: amount == 2500,
    }
}

fn update(by: Editor) -> Command {
    Command::Update {
        by,
        changed: vec!["shipping_address".to_owned()],
    }
}

/// Everything that may come, by its name, and when.
pub(super) fn commands() -> Vec<(&'static str, Command, Timestamp)> {
    let Event::Placed(placed) = placed() else {
        unreachable!("the fixture is that event")
    };
    let (noon, late) = (time("12:01:00"), time("13:00:00"));
    vec![
        ("place", Command::Place(placed), noon),
        ("stock reserved", confirm(), noon),
        ("stock rejected", Command::Reject { shortages: shortages() }, noon),
        ("cancelled by its owner", cancel(Canceller::Customer), noon),
        ("cancelled by an admin", cancel(Canceller::Admin), noon),
        ("cancelled by erasure", cancel(Canceller::Erasure), noon),
        ("payment authorized", follow(PAYMENT, PaymentFact::Authorized), noon),
        ("payment captured", follow(PAYMENT, captured()), noon),
        (
            "too little captured",
            follow(PAYMENT, PaymentFact::Captured { amount: usd(2499) }),
            noon,
        ),
        (
            "payment failed at once",
            follow(
                PAYMENT,
                PaymentFact::Failed {
                    stage: Stage::Authorize,
                },
            ),
            noon,
        ),
        (
            "capture failed",
            follow(PAYMENT, PaymentFact::Failed { stage: Stage::Capture }),
            noon,
        ),
        ("payment voided", follow(PAYMENT, PaymentFact::Voided), noon),
        ("payment refunded in part", follow(PAYMENT, refund(1)), noon),
        ("payment refunded", follow(PAYMENT, refund(2500)), noon),
        (
            "another payment authorized",
            follow(OTHER, PaymentFact::Authorized),
            noon,
        ),
        ("another payment captured", follow(OTHER, captured()), noon),
        ("another payment refunded", follow(OTHER, refund(2500)), noon),
        ("paid manually", Command::PayManually { admin: ADMIN }, noon),
        ("fulfil", Command::Fulfil, noon),
        ("expire, too early", Command::Expire, noon),
        ("expire", Command::Expire, late),
        ("updated by its owner", update(Editor::Owner), noon),
        ("updated by an admin", update(Editor::Admin), noon),
    ]
}
