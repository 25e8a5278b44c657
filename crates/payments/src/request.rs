//! The first commit of a request that calls the provider: decided, journaled, and not yet answered.

use std::sync::Arc;

use contracts::payment::{Initiated, RefundPayment};
use contracts::{OrderId, PaymentId, RefundId, Slug, payment};
use kernel::auth::User;
use kernel::idempotency::{self, Known};
use kernel::unit::Unit;
use kernel::writer;

use crate::order::{OrderSummary, Standing};
use crate::payment::Command;
use crate::process;
use crate::record::{Answer, PaymentRecord, RefundRecord, Waiting};
use crate::views::OrderPayments;
use crate::{Error, Payment};

/// What became of a request in its first commit.
#[derive(Clone, Debug)]
pub(crate) enum Begun<I, A> {
    /// It began this, or an earlier request with the same key did; there is no answer yet.
    UnderWay(I),
    /// An earlier request with the same key was answered so.
    Answered(A),
}

/// A request to pay an order.
#[derive(Clone, Debug)]
pub(crate) struct Pay {
    pub(crate) order_id: OrderId,
    pub(crate) method: Option<Slug>,
    pub(crate) provider: &'static str,
    pub(crate) user: User,
}

impl Pay {
    pub(crate) fn decide(&self, unit: &mut Unit<'_>) -> Result<Begun<PaymentId, Answer>, Error> {
        let order_id = self.order_id;
        // All that follows is read at once.
        unit.load::<OrderSummary>([order_id]);
        unit.load::<OrderPayments>([order_id]);
        match idempotency::look_up(unit)? {
            Known::Answered(answer) => return Ok(Begun::Answered(answer)),
            Known::Pending(subject) => return Ok(Begun::UnderWay(parsed(&subject)?)),
            Known::New => {}
        }
        let order = unit.get::<OrderSummary>(order_id).ok_or(Error::Unknown)?;
        if !self.user.may_access(order.user_id) {
            return Err(Error::Unknown);
        }
        let payments = unit.get::<OrderPayments>(order_id);
        let (open, captured) = payments.map_or((None, None), |payments| (payments.open, payments.captured));
        match order.standing {
            Standing::Over => return Err(Error::NotPayable),
            Standing::Paid { .. } => return Err(Error::AlreadyPaid),
            Standing::Pending | Standing::Confirmed if captured.is_some() => return Err(Error::AlreadyPaid),
            Standing::Pending | Standing::Confirmed if open.is_some() => return Err(Error::PaymentOpen),
            Standing::Pending | Standing::Confirmed => {}
        }
        let payment_id = PaymentId::from_uuid(unit.uuid());
        unit.fresh::<Payment>(payment_id);
        unit.fresh::<PaymentRecord>(payment_id);
        let initiated = Initiated {
            payment_id,
            order_id,
            user_id: order.user_id,
            amount: order.total,
            provider: self.provider.to_owned(),
            payment_method: self.method.clone(),
        };
        process::carry_out(unit, payment_id, Command::Initiate(initiated))?;
        let waiting = Waiting::begin(unit, &payment_id);
        unit.put(
            payment_id,
            PaymentRecord {
                waiting,
                ..PaymentRecord::default()
            },
        );
        Ok(Begun::UnderWay(payment_id))
    }
}

/// A request to give money back.
#[derive(Clone, Debug)]
pub(crate) struct GiveBack {
    pub(crate) payment_id: PaymentId,
    pub(crate) request: RefundPayment,
}

impl GiveBack {
    pub(crate) fn decide(&self, unit: &mut Unit<'_>) -> Result<Begun<RefundId, payment::Refund>, Error> {
        unit.load::<Payment>([self.payment_id]);
        match idempotency::look_up(unit)? {
            Known::Answered(refund) => return Ok(Begun::Answered(refund)),
            Known::Pending(subject) => return Ok(Begun::UnderWay(parsed(&subject)?)),
            Known::New => {}
        }
        let user_id = unit.get::<Payment>(self.payment_id).ok_or(Error::Unknown)?.user_id;
        let refund_id = process::fresh_refund(unit);
        let RefundPayment { amount, reason } = self.request.clone();
        let amount = amount.map(|amount| amount.money());
        let details = reason.iter().map(|_| "reason".to_owned()).collect();
        process::carry_out(
            unit,
            self.payment_id,
            Command::RequestRefund {
                refund_id,
                amount,
                details,
            },
        )?;
        let waiting = Waiting::begin(unit, &refund_id);
        unit.fresh::<RefundRecord>(refund_id);
        unit.put(
            refund_id,
            RefundRecord {
                user_id,
                reason,
                waiting,
            },
        );
        Ok(Begun::UnderWay(refund_id))
    }
}

fn parsed<I: std::str::FromStr>(subject: &Arc<str>) -> Result<I, Error> {
    let parsed = subject
        .parse()
        .map_err(|_| writer::Error::Corrupt("an answer waits for what is no id".into()));
    parsed.map_err(Error::from)
}
