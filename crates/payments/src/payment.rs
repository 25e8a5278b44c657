//! The payment: one attempt to charge an order, from initiated to captured and perhaps back.
//!
//! | state | waits for | then |
//! |---|---|---|
//! | authorizing | the provider | authorized, requires action, failed |
//! | requires action | the payer, through the provider | authorized, failed; voiding when the order ends |
//! | authorized | the order | capturing when it is confirmed; voiding when it ends |
//! | capturing | the provider | captured, failed |
//! | captured | nobody | stays; refunds go out when asked for, or when the order ends |
//! | voiding | the provider | voided |
//! | voided, failed | nobody | stay |
//!
//! An order that ends while the provider has the payment in hand is followed as soon as the outcome is known.

use std::collections::BTreeMap;

use contracts::payment::{Failed, Initiated, PaymentStatus, Stage};
use contracts::{Money, OrderId, PaymentId, RefundId, Secret, Slug, UserId, payment};
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::events::{Event, RefundCause};
use crate::order::Standing;

mod decide;
#[cfg(test)]
mod tests;

/// Refunds of one payment that the provider has in hand at once.
pub(crate) const REFUNDS_PENDING_MAX: usize = 100;

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// Who takes the money.
    pub provider: String,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Slug>,
    /// Where it is on its way.
    pub state: State,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u64,
}

/// Where a payment is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The provider is asked to hold the money ready.
    Authorizing,
    /// The payer has to do something first.
    RequiresAction,
    /// The provider holds the money ready.
    Authorized,
    /// The provider is asked to take the money.
    Capturing,
    /// The money was taken.
    Captured(Refunds),
    /// The provider is asked to let the money go.
    Voiding,
    /// The provider let it go.
    Voided,
    /// The money could not be had.
    Failed {
        /// What failed.
        stage: Stage,
        /// Why, as the provider calls it.
        code: String,
    },
}

/// What was given back of a payment, and what is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refunds {
    /// The sum of what was given back.
    pub given: Money,
    /// What the provider is asked to give back.
    pub pending: BTreeMap<RefundId, PendingRefund>,
}

/// A refund that the provider has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRefund {
    /// How much.
    pub amount: Money,
    /// Why.
    pub cause: RefundCause,
}

/// What can be asked of a payment, and what the provider said.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin.
    Initiate(Initiated),
    /// The order is here now: capture, void or refund accordingly.
    FollowOrder {
        /// Where the order is.
        standing: Standing,
        /// The id of a refund, should one be needed.
        refund_id: RefundId,
    },
    /// Give an amount back, or the rest.
    RequestRefund {
        /// Its new id.
        refund_id: RefundId,
        /// How much; the rest unless given.
        amount: Option<Money>,
        /// The names of the texts given along.
        details: Vec<String>,
    },
    /// The money is held ready.
    NoteAuthorized,
    /// The payer has to do something.
    NoteActionRequired,
    /// The money will not be held ready.
    NoteDeclined {
        /// Why.
        code: Slug,
    },
    /// The money was taken.
    NoteCaptured,
    /// The money was not taken, and is not held any more.
    NoteCaptureRefused {
        /// Why.
        code: Slug,
    },
    /// The money is not held any more.
    NoteVoided,
    /// A refund was given.
    NoteRefundGiven {
        /// Which.
        refund_id: RefundId,
    },
    /// A refund was refused.
    NoteRefundRefused {
        /// Which.
        refund_id: RefundId,
        /// Why.
        code: Slug,
    },
}

/// A call of the provider that a payment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Authorise(PaymentId),
    Capture(PaymentId),
    Void(PaymentId),
    Refund(RefundId),
}

impl Document for Payment {
    const COLLECTION: &'static Collection = &Collection {
        name: "payments",
        kind: Kind::View,
        columns: &[
            Column {
                name: "order_id",
                column_type: ColumnType::Text,
            },
            Column {
                name: "user_id",
                column_type: ColumnType::Text,
            },
        ],
        // Ids sort by the time at which they were made, so no column holds that time.
        indexes: &[
            Index {
                name: "by_order",
                columns: &["order_id"],
            },
            Index {
                name: "by_user",
                columns: &["user_id"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        vec![self.order_id.to_string().into(), self.user_id.to_string().into()]
    }
}

impl Payment {
    /// As clients know it.
    #[must_use]
    pub fn status(&self) -> PaymentStatus {
        match &self.state {
            State::Authorizing => PaymentStatus::Initiated,
            State::RequiresAction => PaymentStatus::RequiresAction,
            State::Authorized | State::Capturing | State::Voiding => PaymentStatus::Authorized,
            State::Captured(refunds) if refunds.given.is_zero() => PaymentStatus::Captured,
            State::Captured(refunds) if refunds.given == self.amount => PaymentStatus::Refunded,
            State::Captured(_) => PaymentStatus::PartiallyRefunded,
            State::Voided => PaymentStatus::Voided,
            State::Failed { .. } => PaymentStatus::Failed,
        }
    }

    /// Whether nothing happens to it by itself until somebody outside acts. This is what a request waits for.
    pub(crate) fn is_at_rest(&self) -> bool {
        match self.state {
            State::Authorizing | State::Capturing | State::Voiding => false,
            State::RequiresAction | State::Authorized | State::Captured(_) | State::Voided | State::Failed { .. } => {
                true
            }
        }
    }

    /// The calls that its state waits for. Each is made once in a payment's life.
    pub(crate) fn calls(&self) -> Vec<Call> {
        match &self.state {
            State::Authorizing => vec![Call::Authorise(self.id)],
            State::Capturing => vec![Call::Capture(self.id)],
            State::Voiding => vec![Call::Void(self.id)],
            State::Captured(refunds) => refunds.pending.keys().copied().map(Call::Refund).collect(),
            State::RequiresAction | State::Authorized | State::Voided | State::Failed { .. } => Vec::new(),
        }
    }

    /// As clients see it. The secret is shown only while it is of use.
    pub(crate) fn shown(&self, client_secret: Option<Secret>) -> payment::Payment {
        let refunded = match &self.state {
            State::Captured(refunds) => refunds.given,
            _ => Money::zero(self.amount.currency()),
        };
        let decline_code = match &self.state {
            State::Failed { code, .. } => Some(code.clone()),
            _ => None,
        };
        payment::Payment {
            id: self.id,
            order_id: self.order_id,
            user_id: self.user_id,
            amount: self.amount,
            refunded,
            status: self.status(),
            provider: self.provider.clone(),
            payment_method: self.payment_method.clone(),
            client_secret: client_secret.filter(|_| self.state == State::RequiresAction),
            decline_code,
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
        }
    }
}

impl Aggregate for Payment {
    type Command = Command;
    type Event = Event;
    type Error = Error;

    fn version(&self) -> u64 {
        self.version
    }

    fn decide(state: Option<&Self>, command: Command, _: Timestamp) -> Result<Vec<Event>, Error> {
        match (command, state) {
            (Command::Initiate(initiated), None) => Ok(vec![initiated.into()]),
            (Command::Initiate(_), Some(_)) => Ok(Vec::new()),
            (_, None) => Err(Error::Unknown),
            (command, Some(payment)) => payment.respond(command),
        }
    }

    fn apply(state: &mut Option<Self>, event: &Event, at: &Occurrence<'_>) {
        if let Event::Initiated(initiated) = event {
            *state = Some(Self::new(initiated.clone(), at.time));
        }
        if let Some(payment) = state {
            payment.state.apply(event);
            payment.updated_at = at.time;
            payment.version = at.version;
        }
    }
}

impl Payment {
    fn new(initiated: Initiated, now: Timestamp) -> Self {
        let Initiated {
            payment_id,
            order_id,
            user_id,
            amount,
            provider,
            payment_method,
        } = initiated;
        Self {
            id: payment_id,
            order_id,
            user_id,
            amount,
            provider,
            payment_method,
            state: State::Authorizing,
            created_at: now,
            updated_at: now,
            version: 0,
        }
    }
}

impl State {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Initiated(_) => {}
            Event::ActionRequired(_) => *self = Self::RequiresAction,
            Event::Authorized(_) => *self = Self::Authorized,
            Event::CaptureRequested(_) => *self = Self::Capturing,
            Event::Captured(captured) => {
                let given = Money::zero(captured.amount.currency());
                *self = Self::Captured(Refunds {
                    given,
                    pending: BTreeMap::new(),
                });
            }
            Event::Failed(Failed {
                stage, decline_code, ..
            }) => {
                *self = Self::Failed {
                    stage: *stage,
                    code: decline_code.clone(),
                };
            }
            Event::VoidRequested(_) => *self = Self::Voiding,
            Event::Voided(_) => *self = Self::Voided,
            Event::RefundRequested(requested) => {
                if let Self::Captured(refunds) = self {
                    let pending = PendingRefund {
                        amount: requested.amount,
                        cause: requested.cause,
                    };
                    refunds.pending.insert(requested.refund_id, pending);
                }
            }
            Event::Refunded(refunded) => {
                if let Self::Captured(refunds) = self {
                    refunds.pending.remove(&refunded.refund_id);
                    refunds.given = refunded.refunded_total;
                }
            }
            Event::RefundFailed(failed) => {
                if let Self::Captured(refunds) = self {
                    refunds.pending.remove(&failed.refund_id);
                }
            }
        }
    }
}
