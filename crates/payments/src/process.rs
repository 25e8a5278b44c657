//! How a payment goes on: every outcome is noted, the order is followed, and who waits is answered, in one commit.

use contracts::payment::{self, RefundStatus};
use contracts::{PaymentId, RefundId};
use kernel::effect::{EffectRecord, Intent};
use kernel::unit::Unit;

use crate::events::RefundCause;
use crate::order::OrderSummary;
use crate::payment::{Call, Command, State};
use crate::provider::Authorisation;
use crate::record::{Answer, PaymentRecord, RefundRecord};
use crate::views::Refund;
use crate::{Error, Payment};

/// Names of the effects; permanent, since open intents and the provider's keys hold them.
pub(crate) mod kind {
    pub(crate) const AUTHORISE: &str = "authorise";
    pub(crate) const CAPTURE: &str = "capture";
    pub(crate) const VOID: &str = "void";
    pub(crate) const REFUND: &str = "refund";
}

impl Call {
    pub(crate) fn intent(self) -> Intent {
        let (kind, subject) = match self {
            Self::Authorise(payment) => (kind::AUTHORISE, payment.to_string()),
            Self::Capture(payment) => (kind::CAPTURE, payment.to_string()),
            Self::Void(payment) => (kind::VOID, payment.to_string()),
            Self::Refund(refund) => (kind::REFUND, refund.to_string()),
        };
        Intent {
            kind: kind.into(),
            subject: subject.into(),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Authorise(_) => kind::AUTHORISE,
            Self::Capture(_) => kind::CAPTURE,
            Self::Void(_) => kind::VOID,
            Self::Refund(_) => kind::REFUND,
        }
    }
}

/// Lets the payment decide, and journals the intents of the calls that its new state waits for.
pub(crate) fn carry_out(unit: &mut Unit<'_>, id: PaymentId, command: Command) -> Result<(), Error> {
    let before = unit.get::<Payment>(id).map_or_else(Vec::new, |payment| payment.calls());
    unit.decide::<Payment>(id, command)?;
    let after = unit.get::<Payment>(id).map_or_else(Vec::new, |payment| payment.calls());
    for call in after.into_iter().filter(|call| !before.contains(call)) {
        let intent = call.intent();
        // Each call is made once in a payment's life, so there is nothing to be read.
        unit.fresh::<EffectRecord>(intent.id());
        unit.intend(call.kind(), intent.subject);
    }
    Ok(())
}

/// Lets the payment follow its order, if that has been seen here.
pub(crate) fn follow(unit: &mut Unit<'_>, id: PaymentId) -> Result<(), Error> {
    let Some(payment) = unit.get::<Payment>(id) else {
        return Ok(());
    };
    let Some(order) = unit.get::<OrderSummary>(payment.order_id) else {
        return Ok(());
    };
    let (standing, refund_id) = (order.standing, fresh_refund(unit));
    carry_out(unit, id, Command::FollowOrder { standing, refund_id })
}

/// Notes how an authorisation went, and goes on from there.
pub(crate) fn note_authorisation(
    unit: &mut Unit<'_>,
    id: PaymentId,
    authorisation: &Authorisation,
) -> Result<Option<Answer>, Error> {
    let (command, reference, client_secret) = match authorisation.clone() {
        Authorisation::Authorised { reference } => (Command::NoteAuthorized, Some(reference), None),
        Authorisation::RequiresAction {
            reference,
            client_secret,
        } => (Command::NoteActionRequired, Some(reference), Some(client_secret)),
        Authorisation::Declined { code } => (Command::NoteDeclined { code }, None, None),
    };
    if let Some(reference) = reference {
        let record = unit.get::<PaymentRecord>(id);
        let waiting = record.and_then(|record| record.waiting.clone());
        let reference = Some(reference);
        unit.put(
            id,
            PaymentRecord {
                reference,
                client_secret,
                waiting,
            },
        );
    }
    note(unit, id, command)
}

/// Notes an outcome of a payment, and goes on from there. Answers with what who waits is told, once it is at rest.
pub(crate) fn note(unit: &mut Unit<'_>, id: PaymentId, command: Command) -> Result<Option<Answer>, Error> {
    carry_out(unit, id, command)?;
    follow(unit, id)?;
    if unit.get::<Payment>(id).is_some_and(|payment| payment.is_at_rest()) {
        answer(unit, id)
    } else {
        Ok(None)
    }
}

/// Answers whoever waits for the payment with what it is now, and records that under their key. While nothing is known
/// of the authorisation there is no answer.
pub(crate) fn answer(unit: &mut Unit<'_>, id: PaymentId) -> Result<Option<Answer>, Error> {
    let authorizing = |payment: &Payment| matches!(payment.state, State::Authorizing);
    let Some(payment) = unit.get::<Payment>(id).filter(|payment| !authorizing(payment)) else {
        return Ok(None);
    };
    let Some(record) = unit.get::<PaymentRecord>(id) else {
        return Ok(None);
    };
    let PaymentRecord {
        reference,
        client_secret,
        waiting,
    } = PaymentRecord::clone(&record);
    let client_secret = client_secret.filter(|_| payment.state == State::RequiresAction);
    let answer = Answer::of(payment.shown(client_secret.clone()));
    if let Some(waiting) = waiting {
        waiting.end(unit, &answer)?;
    }
    let settled = PaymentRecord {
        reference,
        client_secret,
        waiting: None,
    };
    if settled != *record {
        unit.put(id, settled);
    }
    Ok(Some(answer))
}

/// Notes the outcome of a refund. Answers with what who waits is told.
pub(crate) fn note_refund(
    unit: &mut Unit<'_>,
    refund_id: RefundId,
    payment_id: PaymentId,
    command: Command,
) -> Result<Option<payment::Refund>, Error> {
    carry_out(unit, payment_id, command)?;
    let Some(refund) = unit.get::<Refund>(refund_id) else {
        return Ok(None);
    };
    // What an admin asked for and the provider refused goes back all the same if the order is over. What was to go back for
    // that reason already waits for an admin, lest it be asked for without end.
    if refund.status == RefundStatus::Failed && refund.cause == RefundCause::Admin {
        follow(unit, payment_id)?;
    }
    let answer = refund.shown(refund_id);
    if let Some(record) = unit.get::<RefundRecord>(refund_id)
        && let Some(waiting) = record.waiting.clone()
    {
        waiting.end(unit, &answer)?;
        let mut record = RefundRecord::clone(&record);
        record.waiting = None;
        unit.put(refund_id, record);
    }
    Ok(Some(answer))
}

/// The id of a refund that may be needed.
pub(crate) fn fresh_refund(unit: &mut Unit<'_>) -> RefundId {
    let id = RefundId::from_uuid(unit.uuid());
    unit.fresh::<Refund>(id);
    id
}
