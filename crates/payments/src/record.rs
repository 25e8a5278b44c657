//! What payments keeps beside its events: what is secret, what a person wrote, and who waits for an answer.

use std::sync::Arc;

use contracts::{PaymentId, Reason, Secret, Slug, UserId, payment};
use kernel::context::Claim;
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use kernel::idempotency;
use kernel::unit::Unit;
use kernel::writer;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What goes with a payment, under its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PaymentRecord {
    /// The provider's name for the payment, once it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<Slug>,
    /// What the payer needs to go on with the provider, while that is of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<Secret>,
    /// The request that waits for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Waiting>,
}

impl Document for PaymentRecord {
    const COLLECTION: &'static Collection = &Collection {
        name: "payment_records",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// What goes with a refund that a person asked for, under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefundRecord {
    /// Whose payment it is.
    pub(crate) user_id: UserId,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Reason>,
    /// The request that waits for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Waiting>,
}

impl Document for RefundRecord {
    const COLLECTION: &'static Collection = &Collection {
        name: "refund_records",
        kind: Kind::Record,
        columns: &[Column {
            name: "user_id",
            column_type: ColumnType::Text,
        }],
        indexes: &[Index {
            name: "by_user",
            columns: &["user_id"],
        }],
    };

    /// Found by user only while there is something to erase.
    fn columns(&self) -> Vec<Value> {
        vec![self.reason.as_ref().map(|_| self.user_id.to_string()).into()]
    }
}

/// A claim on an `Idempotency-Key` whose answer comes with the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    claim: Arc<str>,
    principal: Arc<str>,
    fingerprint: Arc<str>,
}

impl Waiting {
    /// Records in the unit that its claim, if it has one, waits for the outcome of `subject`.
    pub(crate) fn begin(unit: &mut Unit<'_>, subject: &impl ToString) -> Option<Self> {
        let claim = unit.origin().claim.clone()?;
        idempotency::pend(unit, &claim, subject.to_string().into());
        Some(Self {
            claim: claim.id,
            principal: claim.principal,
            fingerprint: claim.fingerprint,
        })
    }

    /// Records the answer, unless the claim is gone: answers of an erased user do not come back.
    pub(crate) fn end<R: Serialize>(self, unit: &mut Unit<'_>, answer: &R) -> Result<(), writer::Error> {
        if unit.get::<idempotency::Answer>(&self.claim).is_none() {
            return Ok(());
        }
        let claim = Claim {
            id: self.claim,
            principal: self.principal,
            fingerprint: self.fingerprint,
        };
        idempotency::answer(unit, &claim, answer)
    }
}

/// How a request to pay is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// 201.
    Accepted(Box<payment::Payment>),
    /// 402.
    Declined { payment_id: PaymentId, code: String },
}

impl Answer {
    pub(crate) fn of(payment: payment::Payment) -> Self {
        match payment.decline_code {
            Some(code) => Self::Declined {
                payment_id: payment.id,
                code,
            },
            None => Self::Accepted(Box::new(payment)),
        }
    }

    /// As the use case answers.
    pub(crate) fn given(self) -> Result<payment::Payment, Error> {
        match self {
            Self::Accepted(payment) => Ok(*payment),
            Self::Declined { payment_id, code } => Err(Error::Declined { payment_id, code }),
        }
    }
}
