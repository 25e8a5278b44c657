//! What orders follows: reservations, and payments.

use std::time::Duration;

use contracts::{OrderId, PublicEvent, Service};
use kernel::bus::Message;
use kernel::reaction::{Failed, Reaction};
use kernel::unit::Unit;

use crate::erasure;
use crate::order::{Command, PaymentFact};

/// Follows the reservations: an order is confirmed, or rejected.
#[derive(Debug)]
pub(crate) struct Reservations {
    pub(crate) payment_window: Duration,
}

impl Reaction for Reservations {
    fn name(&self) -> &'static str {
        "reservations"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Inventory]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&["inventory.reserved", "inventory.rejected"])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let (order_id, command) = match message.public()? {
            PublicEvent::InventoryReserved(it) => (
                it.order_id,
                Command::Confirm {
                    payment_window: self.payment_window,
                },
            ),
            PublicEvent::InventoryRejected(it) => (
                it.order_id,
                Command::Reject {
                    shortages: it.shortages,
                },
            ),
            _ => return Ok(()),
        };
        carry_out(unit, order_id, command)
    }
}

/// Follows the payments: an order is paid, or refunded, or waits for the next payment.
#[derive(Debug)]
pub(crate) struct Payments {
    pub(crate) payment_window: Duration,
}

impl Reaction for Payments {
    fn name(&self) -> &'static str {
        "payments"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Payments]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&[
            "payment.authorized",
            "payment.captured",
            "payment.failed",
            "payment.voided",
            "payment.refunded",
        ])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let (order_id, payment_id, fact) = match message.public()? {
            PublicEvent::PaymentAuthorized(it) => (it.order_id, it.payment_id, PaymentFact::Authorized),
            PublicEvent::PaymentCaptured(it) => {
                (it.order_id, it.payment_id, PaymentFact::Captured { amount: it.amount })
            }
            PublicEvent::PaymentFailed(it) => (it.order_id, it.payment_id, PaymentFact::Failed { stage: it.stage }),
            PublicEvent::PaymentVoided(it) => (it.order_id, it.payment_id, PaymentFact::Voided),
            PublicEvent::PaymentRefunded(it) => {
                let fact = PaymentFact::Refunded {
                    refunded_total: it.refunded_total,
                    full: it.full,
                };
                (it.order_id, it.payment_id, fact)
            }
            _ => return Ok(()),
        };
        let payment_window = self.payment_window;
        carry_out(
            unit,
            order_id,
            Command::FollowPayment {
                payment_id,
                fact,
                payment_window,
            },
        )
    }
}

/// The table of states maps whatever comes to an event or to "already so". What it refuses after all contradicts what
/// came before, and somebody has to look at it.
fn carry_out(unit: &mut Unit<'_>, order_id: OrderId, command: Command) -> Result<(), Failed> {
    let decided = erasure::decide(unit, &order_id.to_string(), command);
    decided
        .map(|_| ())
        .map_err(|refused| Failed::Poison(refused.to_string()))
}
