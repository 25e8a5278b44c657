//! What a payment decides, state by state.

use contracts::payment::{Authorized, Captured, Failed, Refunded, Stage, Voided};
use contracts::{Money, RefundId, Slug};

use super::{Command, Payment, REFUNDS_PENDING_MAX, Refunds, State};
use crate::Error;
use crate::events::{
    ActionRequired, CaptureRequested, Event, RefundCause, RefundFailed, RefundRequested, VoidRequested,
};
use crate::order::Standing;

/// The amounts of one payment share its currency, and their sums stay within its own amount.
const IN_ONE_CURRENCY: &str = "a payment's amounts share its currency and sum up to at most its own";

impl Payment {
    pub(super) fn respond(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Initiate(_) => Ok(Vec::new()),
            Command::FollowOrder { standing, refund_id } => Ok(match standing {
                Standing::Pending => Vec::new(),
                Standing::Confirmed => self.pay(),
                Standing::Paid { by: Some(payment) } if payment == self.id => Vec::new(),
                Standing::Paid { .. } | Standing::Over => self.give_back(refund_id),
            }),
            Command::RequestRefund {
                refund_id,
                amount,
                details,
            } => self.request_refund(refund_id, amount, details),
            Command::NoteAuthorized => Ok(self.note_authorized()),
            Command::NoteActionRequired => Ok(self.note_action_required()),
            Command::NoteDeclined { code } => Ok(self.note_declined(&code)),
            Command::NoteCaptured => self.note_captured(),
            Command::NoteCaptureRefused { code } => self.note_capture_refused(&code),
            Command::NoteVoided => self.note_voided(),
            Command::NoteRefundGiven { refund_id } => self.note_refund_given(refund_id),
            Command::NoteRefundRefused { refund_id, code } => self.note_refund_refused(refund_id, &code),
        }
    }

    /// The order is confirmed: take what is held ready.
    fn pay(&self) -> Vec<Event> {
        match self.state {
            State::Authorized => vec![self.capture_requested()],
            State::Authorizing
            | State::RequiresAction
            | State::Capturing
            | State::Captured(_)
            | State::Voiding
            | State::Voided
            | State::Failed { .. } => Vec::new(),
        }
    }

    /// The order is over, or was paid otherwise: let go, or give back what is left. What the provider has in hand follows
    /// when its outcome is known.
    fn give_back(&self, refund_id: RefundId) -> Vec<Event> {
        match &self.state {
            State::RequiresAction | State::Authorized => vec![self.void_requested()],
            State::Captured(refunds) => {
                let rest = self.rest(refunds);
                if rest.is_zero() {
                    return Vec::new();
                }
                vec![self.refund_of(refund_id, rest, RefundCause::OrderOver).into()]
            }
            State::Authorizing | State::Capturing | State::Voiding | State::Voided | State::Failed { .. } => Vec::new(),
        }
    }

    fn request_refund(
        &self,
        refund_id: RefundId,
        amount: Option<Money>,
        details: Vec<String>,
    ) -> Result<Vec<Event>, Error> {
        let refunds = match &self.state {
            State::Captured(refunds) => refunds,
            State::Authorizing
            | State::RequiresAction
            | State::Authorized
            | State::Capturing
            | State::Voiding
            | State::Voided
            | State::Failed { .. } => return Err(Error::NotRefundable),
        };
        let rest = self.rest(refunds);
        let amount = amount.unwrap_or(rest);
        let order = amount.checked_cmp(rest).map_err(|_| Error::OtherCurrency)?;
        if order.is_gt() || amount.amount() <= 0 {
            return Err(Error::RefundExceedsCaptured);
        }
        if refunds.pending.len() >= REFUNDS_PENDING_MAX {
            return Err(Error::TooManyRefunds);
        }
        Ok(vec![
            RefundRequested {
                details,
                ..self.refund_of(refund_id, amount, RefundCause::Admin)
            }
            .into(),
        ])
    }

    fn note_authorized(&self) -> Vec<Event> {
        match self.state {
            State::Authorizing | State::RequiresAction => vec![self.authorized()],
            // It is known, or the money is on its way back already.
            State::Authorized
            | State::Capturing
            | State::Captured(_)
            | State::Voiding
            | State::Voided
            | State::Failed { .. } => Vec::new(),
        }
    }

    fn note_action_required(&self) -> Vec<Event> {
        match self.state {
            State::Authorizing => vec![self.action_required()],
            State::RequiresAction
            | State::Authorized
            | State::Capturing
            | State::Captured(_)
            | State::Voiding
            | State::Voided
            | State::Failed { .. } => Vec::new(),
        }
    }

    fn note_declined(&self, code: &Slug) -> Vec<Event> {
        match self.state {
            // An authorisation that nobody captured lapses at the provider after some days.
            State::Authorizing | State::RequiresAction | State::Authorized => {
                vec![self.failed(Stage::Authorize, code)]
            }
            // The call under way tells, or it is over.
            State::Capturing | State::Voiding | State::Captured(_) | State::Voided | State::Failed { .. } => Vec::new(),
        }
    }

    fn note_captured(&self) -> Result<Vec<Event>, Error> {
        match self.state {
            // A void may come too late: somebody took the money at the provider.
            State::Capturing | State::Voiding => Ok(vec![self.captured()]),
            State::Captured(_) => Ok(Vec::new()),
            State::Authorizing | State::RequiresAction | State::Authorized | State::Voided | State::Failed { .. } => {
                Err(Error::OutOfTurn)
            }
        }
    }

    fn note_capture_refused(&self, code: &Slug) -> Result<Vec<Event>, Error> {
        match self.state {
            State::Capturing => Ok(vec![self.failed(Stage::Capture, code)]),
            State::Failed { .. } => Ok(Vec::new()),
            State::Authorizing
            | State::RequiresAction
            | State::Authorized
            | State::Captured(_)
            | State::Voiding
            | State::Voided => Err(Error::OutOfTurn),
        }
    }

    fn note_voided(&self) -> Result<Vec<Event>, Error> {
        match self.state {
            State::Voiding => Ok(vec![self.voided()]),
            State::Voided => Ok(Vec::new()),
            State::Authorizing
            | State::RequiresAction
            | State::Authorized
            | State::Capturing
            | State::Captured(_)
            | State::Failed { .. } => Err(Error::OutOfTurn),
        }
    }

    fn note_refund_given(&self, refund_id: RefundId) -> Result<Vec<Event>, Error> {
        let refunds = self.refunds()?;
        let Some(refund) = refunds.pending.get(&refund_id) else {
            return Ok(Vec::new());
        };
        let refunded_total = refunds.given.checked_add(refund.amount).expect(IN_ONE_CURRENCY);
        let refunded = Refunded {
            payment_id: self.id,
            refund_id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: refund.amount,
            refunded_total,
            captured: self.amount,
            full: refunded_total == self.amount,
        };
        Ok(vec![refunded.into()])
    }

    fn note_refund_refused(&self, refund_id: RefundId, code: &Slug) -> Result<Vec<Event>, Error> {
        let refunds = self.refunds()?;
        let Some(refund) = refunds.pending.get(&refund_id) else {
            return Ok(Vec::new());
        };
        let failed = RefundFailed {
            payment_id: self.id,
            refund_id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: refund.amount,
            decline_code: code.to_string(),
        };
        Ok(vec![failed.into()])
    }

    fn refunds(&self) -> Result<&Refunds, Error> {
        match &self.state {
            State::Captured(refunds) => Ok(refunds),
            State::Authorizing
            | State::RequiresAction
            | State::Authorized
            | State::Capturing
            | State::Voiding
            | State::Voided
            | State::Failed { .. } => Err(Error::OutOfTurn),
        }
    }

    /// What was taken and neither given back nor about to be.
    fn rest(&self, refunds: &Refunds) -> Money {
        let pending = refunds.pending.values().map(|refund| refund.amount);
        pending
            .chain([refunds.given])
            .try_fold(self.amount, |rest, amount| rest.checked_sub(amount))
            .expect(IN_ONE_CURRENCY)
    }

    fn action_required(&self) -> Event {
        ActionRequired {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
        }
        .into()
    }

    fn authorized(&self) -> Event {
        Authorized {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: self.amount,
        }
        .into()
    }

    fn capture_requested(&self) -> Event {
        CaptureRequested {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
        }
        .into()
    }

    fn captured(&self) -> Event {
        Captured {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: self.amount,
        }
        .into()
    }

    fn void_requested(&self) -> Event {
        VoidRequested {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
        }
        .into()
    }

    fn voided(&self) -> Event {
        Voided {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: self.amount,
        }
        .into()
    }

    fn failed(&self, stage: Stage, code: &Slug) -> Event {
        Failed {
            payment_id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: self.amount,
            stage,
            decline_code: code.to_string(),
        }
        .into()
    }

    fn refund_of(&self, refund_id: RefundId, amount: Money, cause: RefundCause) -> RefundRequested {
        RefundRequested {
            payment_id: self.id,
            refund_id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount,
            cause,
            details: Vec::new(),
        }
    }
}
