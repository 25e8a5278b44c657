//! The steps of an order that its customer is told of: one message each.

use contracts::order::OrderStatus;
use contracts::{Money, NotificationId, OrderId, PublicEvent, Service, Slug, UserId, notification};
use kernel::bus::Message;
use kernel::effect::{EffectRecord, Intent};
use kernel::erasure;
use kernel::reaction::{Failed, Reaction, Start};
use kernel::unit::Unit;

use crate::events::Queued;
use crate::notification::UNDELIVERABLE;
use crate::templates::{
    ORDER_CANCELLED, ORDER_CONFIRMED, ORDER_EXPIRED, ORDER_FULFILLED, ORDER_PAID, ORDER_REJECTED, PAYMENT_REFUNDED,
};
use crate::{Command, Error, Notification, send};

/// Queues a message for each step.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// How messages are sent.
    pub channel: notification::Channel,
}

/// A step, and what there is to say about it.
struct Step {
    user_id: UserId,
    order_id: OrderId,
    template: &'static str,
    order_status: Option<OrderStatus>,
    amount: Option<Money>,
}

impl Step {
    fn of(event: PublicEvent) -> Option<Self> {
        let step = |order_id, user_id, template, status, amount| {
            Some(Self {
                user_id,
                order_id,
                template,
                order_status: Some(status),
                amount,
            })
        };
        match event {
            PublicEvent::OrderConfirmed(it) => step(
                it.order_id,
                it.user_id,
                ORDER_CONFIRMED,
                OrderStatus::Confirmed,
                Some(it.total),
            ),
            PublicEvent::OrderRejected(it) => {
                step(it.order_id, it.user_id, ORDER_REJECTED, OrderStatus::Rejected, None)
            }
            PublicEvent::OrderPaid(it) => step(it.order_id, it.user_id, ORDER_PAID, OrderStatus::Paid, Some(it.amount)),
            PublicEvent::OrderCancelled(it) => {
                step(it.order_id, it.user_id, ORDER_CANCELLED, OrderStatus::Cancelled, None)
            }
            PublicEvent::OrderExpired(it) => step(it.order_id, it.user_id, ORDER_EXPIRED, OrderStatus::Expired, None),
            PublicEvent::OrderFulfilled(it) => {
                step(it.order_id, it.user_id, ORDER_FULFILLED, OrderStatus::Fulfilled, None)
            }
            PublicEvent::PaymentRefunded(it) => Some(Self {
                user_id: it.user_id,
                order_id: it.order_id,
                template: PAYMENT_REFUNDED,
                // A part given back leaves the order's status as it is.
                order_status: it.full.then_some(OrderStatus::Refunded),
                amount: Some(it.amount),
            }),
            _ => None,
        }
    }
}

impl Reaction for Steps {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Orders, Service::Payments]
    }

    /// Whoever adds notifications to a running shop does not want its whole history mailed.
    fn start(&self) -> Start {
        Start::Now
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&[
            "order.confirmed",
            "order.rejected",
            "order.paid",
            "order.cancelled",
            "order.expired",
            "order.fulfilled",
            "payment.refunded",
        ])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        let Some(step) = Step::of(message.public()?) else {
            return Ok(());
        };
        let template = Slug::try_from(step.template).map_err(|error| Failed::Poison(error.to_string()))?;
        let queued = Queued {
            // One message per event, even if this consumer should ever begin anew.
            notification_id: NotificationId::from_uuid(message.event.id.uuid()),
            user_id: step.user_id,
            order_id: Some(step.order_id),
            template,
            channel: self.channel,
            order_status: step.order_status,
            amount: step.amount,
        };
        queue(unit, queued).map_err(|error| Failed::Poison(error.to_string()))
    }
}

/// Queues a message, unless it was queued before, and has it sent. To a user who is gone there is nothing to send.
pub(crate) fn queue(unit: &mut Unit<'_>, queued: Queued) -> Result<(), Error> {
    let user = queued.user_id;
    let id = queued.notification_id.to_string();
    if unit.get::<Notification>(&id).is_some() {
        return Ok(());
    }
    unit.decide::<Notification>(&id, Command::Queue(queued))?;
    if erasure::is_erased(unit, user) {
        unit.decide::<Notification>(&id, Command::Fail { cause: UNDELIVERABLE })?;
        return Ok(());
    }
    // What was not there before has no intent either, so that need not be read.
    let intent = Intent {
        kind: send::KIND.into(),
        subject: id.as_str().into(),
    };
    unit.fresh::<EffectRecord>(&intent);
    unit.intend(send::KIND, &id);
    Ok(())
}
