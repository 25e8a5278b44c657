//! What the events of payments are folded into.

use contracts::payment::RefundStatus;
use contracts::{DecodeError, Money, PaymentId, RefundId, payment};
use kernel::aggregate::{Occurrence, Projected};
use kernel::document::{Collection, Document, Kind};
use kernel::event::Recorded;
use kernel::unit::Views;
use serde::{Deserialize, Serialize};

use crate::events::RefundCause;
use crate::{Event, Payment};

/// The payments of an order that matter, by order: one may be under way, and one may have been captured, ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderPayments {
    pub(crate) open: Option<PaymentId>,
    pub(crate) captured: Option<PaymentId>,
}

impl Document for OrderPayments {
    const COLLECTION: &'static Collection = &Collection {
        name: "order_payments",
        kind: Kind::View,
        columns: &[],
        indexes: &[],
    };
}

impl OrderPayments {
    fn close(&mut self, payment_id: PaymentId) {
        self.open = self.open.filter(|&open| open != payment_id);
    }
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) payment_id: PaymentId,
    pub(crate) amount: Money,
    pub(crate) status: RefundStatus,
    pub(crate) cause: RefundCause,
}

impl Document for Refund {
    const COLLECTION: &'static Collection = &Collection {
        name: "refunds",
        kind: Kind::View,
        columns: &[],
        indexes: &[],
    };
}

impl Refund {
    pub(crate) fn shown(&self, id: RefundId) -> payment::Refund {
        payment::Refund {
            id,
            payment_id: self.payment_id,
            amount: self.amount,
            status: self.status,
        }
    }
}

impl Projected for Event {
    fn project(&self, at: &Occurrence<'_>, views: &mut Views<'_>) {
        views.apply::<Payment>(self, at);
        match self {
            Self::Initiated(it) => views.update(it.order_id, |order: &mut Option<OrderPayments>| {
                order.get_or_insert_default().open = Some(it.payment_id);
            }),
            Self::Captured(it) => views.update(it.order_id, |order: &mut Option<OrderPayments>| {
                let order = order.get_or_insert_default();
                order.close(it.payment_id);
                order.captured = Some(it.payment_id);
            }),
            Self::Failed(it) => views.update(it.order_id, |order: &mut Option<OrderPayments>| {
                order.get_or_insert_default().close(it.payment_id);
            }),
            Self::Voided(it) => views.update(it.order_id, |order: &mut Option<OrderPayments>| {
                order.get_or_insert_default().close(it.payment_id);
            }),
            Self::RefundRequested(it) => views.update(it.refund_id, |refund: &mut Option<Refund>| {
                let (payment_id, amount, cause) = (it.payment_id, it.amount, it.cause);
                *refund = Some(Refund {
                    payment_id,
                    amount,
                    status: RefundStatus::Pending,
                    cause,
                });
            }),
            Self::Refunded(it) => settle(views, it.refund_id, RefundStatus::Succeeded),
            Self::RefundFailed(it) => settle(views, it.refund_id, RefundStatus::Failed),
            Self::ActionRequired(_) | Self::Authorized(_) | Self::CaptureRequested(_) | Self::VoidRequested(_) => {}
        }
    }
}

fn settle(views: &mut Views<'_>, refund_id: RefundId, status: RefundStatus) {
    views.update(refund_id, |refund: &mut Option<Refund>| {
        if let Some(refund) = refund {
            refund.status = status;
        }
    });
}

/// Folds a recorded event of the journal of payments.
pub fn fold(recorded: &Recorded, views: &mut Views<'_>) -> Result<(), DecodeError> {
    kernel::rebuild::fold::<Event>(recorded, views).map(|_| ())
}
