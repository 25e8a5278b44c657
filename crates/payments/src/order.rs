//! What payments knows of orders: a replica of what is to be paid, and the reaction that follows each order to its end.

use contracts::order::PaidBy;
use contracts::{Money, OrderId, PaymentId, PublicEvent, Service, UserId, order};
use kernel::bus::Message;
use kernel::document::{Collection, Document, Kind};
use kernel::reaction::{Failed, Reaction};
use kernel::unit::Unit;
use serde::{Deserialize, Serialize};

use crate::process;
use crate::views::OrderPayments;

/// The consumer's permanent name.
const CONSUMER: &str = "orders";

/// An order as far as its payment goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderSummary {
    pub(crate) user_id: UserId,
    pub(crate) total: Money,
    pub(crate) standing: Standing,
}

/// Where an order is, as far as its payment goes. It only moves on: a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It can be paid; money is held ready, and not yet taken.
    Pending,
    /// Its stock is reserved: money is taken.
    Confirmed,
    /// It is paid.
    Paid {
        /// By which payment; `None` if an admin says that the money came some other way.
        by: Option<PaymentId>,
    },
    /// It was rejected, cancelled or refunded, or has expired: no money is kept.
    Over,
}

impl Document for OrderSummary {
    const COLLECTION: &'static Collection = &Collection {
        name: "order_summaries",
        kind: Kind::Replica { consumer: CONSUMER },
        columns: &[],
        indexes: &[],
    };
}

/// Feeds the replica, and lets the order's payments follow.
#[derive(Debug)]
pub(crate) struct FollowOrders;

impl Reaction for FollowOrders {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Orders]
    }

    /// Fulfilment is none of them: a fulfilled order stays paid.
    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&[
            "order.placed",
            "order.confirmed",
            "order.rejected",
            "order.paid",
            "order.cancelled",
            "order.expired",
            "order.refunded",
        ])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        match message.public()? {
            PublicEvent::OrderPlaced(placed) => {
                place(unit, &placed);
                Ok(())
            }
            PublicEvent::OrderConfirmed(confirmed) => advance(unit, confirmed.order_id, Standing::Confirmed),
            PublicEvent::OrderPaid(paid) => {
                let by = match paid.paid_by {
                    PaidBy::Payment { payment_id } => Some(payment_id),
                    PaidBy::Manual { .. } => None,
                };
                advance(unit, paid.order_id, Standing::Paid { by })
            }
            PublicEvent::OrderRejected(rejected) => advance(unit, rejected.order_id, Standing::Over),
            PublicEvent::OrderCancelled(cancelled) => advance(unit, cancelled.order_id, Standing::Over),
            PublicEvent::OrderExpired(expired) => advance(unit, expired.order_id, Standing::Over),
            PublicEvent::OrderRefunded(refunded) => advance(unit, refunded.order_id, Standing::Over),
            // What `types` leaves out.
            _ => Ok(()),
        }
    }
}

fn place(unit: &mut Unit<'_>, placed: &order::Placed) {
    if unit.get::<OrderSummary>(placed.order_id).is_none() {
        let summary = OrderSummary {
            user_id: placed.user_id,
            total: placed.total,
            standing: Standing::Pending,
        };
        unit.put(placed.order_id, summary);
    }
}

fn advance(unit: &mut Unit<'_>, order_id: OrderId, standing: Standing) -> Result<(), Failed> {
    // Both are read at once; most orders are confirmed before anybody pays.
    unit.load::<OrderPayments>([order_id]);
    // An order's events come in order, so one that was not placed here has no payments either.
    let Some(order) = unit.get::<OrderSummary>(order_id) else {
        return Ok(());
    };
    if standing <= order.standing {
        return Ok(());
    }
    unit.put(
        order_id,
        OrderSummary {
            standing,
            ..OrderSummary::clone(&order)
        },
    );
    let Some(payments) = unit.get::<OrderPayments>(order_id) else {
        return Ok(());
    };
    for payment_id in payments.open.into_iter().chain(payments.captured) {
        process::follow(unit, payment_id).map_err(|error| Failed::Poison(error.to_string()))?;
    }
    Ok(())
}
