//! The order: what it is, and how its events change it.

use std::sync::Arc;

use contracts::order::{Canceller, OrderLine, OrderStatus, PaidBy, Placed};
use contracts::payment::PaymentStatus;
use contracts::stock::Shortage;
use contracts::{Money, OrderId, PaymentId, Reason, UserId, order};
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::texts::OrderTexts;
use crate::{Error, Event};

mod command;
mod decide;
#[cfg(test)]
mod fixture;
mod payments;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod table;

pub use command::{Command, Editor, PaymentFact};
pub use payments::{PAYMENTS_REMEMBERED_MAX, Payments};

/// An order, without what people wrote: that is a record of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// What was ordered. Never changed, and so shared by all versions in memory.
    pub lines: Arc<[OrderLine]>,
    /// What all lines cost.
    pub total: Money,
    /// Where it is on its way.
    pub state: State,
    /// What is known of its payments.
    #[serde(default, skip_serializing_if = "Payments::is_empty")]
    pub payments: Payments,
    /// Whether people ever wrote something along, so that the record need not be looked for in vain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_texts: bool,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The number of its changes.
    pub version: u64,
}

/// Where an order is on its way, with what matters there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Placed; its stock is not reserved yet.
    Pending,
    /// Its stock is reserved; it can be paid.
    Confirmed {
        /// Until when, unless a payment holds money ready then.
        expires_at: Timestamp,
    },
    /// Its stock is not to be had.
    Rejected {
        /// What was missing.
        shortages: Vec<Shortage>,
    },
    /// Paid; to be delivered.
    Paid {
        /// How.
        by: PaidBy,
    },
    /// Delivered.
    Fulfilled {
        /// How it was paid.
        by: PaidBy,
    },
    /// Cancelled.
    Cancelled {
        /// By whom.
        by: Canceller,
    },
    /// Not paid in time.
    Expired,
    /// All of its money was given back.
    Refunded {
        /// The payment that had it.
        payment_id: PaymentId,
    },
}

impl State {
    /// The word that clients see.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        match self {
            Self::Pending => OrderStatus::Pending,
            Self::Confirmed { .. } => OrderStatus::Confirmed,
            Self::Rejected { .. } => OrderStatus::Rejected,
            Self::Paid { .. } => OrderStatus::Paid,
            Self::Fulfilled { .. } => OrderStatus::Fulfilled,
            Self::Cancelled { .. } => OrderStatus::Cancelled,
            Self::Expired => OrderStatus::Expired,
            Self::Refunded { .. } => OrderStatus::Refunded,
        }
    }
}

impl Order {
    /// The word that clients see.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        self.state.status()
    }

    /// When it expires: only while it waits for money that nobody holds ready.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Confirmed { expires_at } if !self.payments.is_any_authorized() => Some(expires_at),
            State::Confirmed { .. }
            | State::Pending
            | State::Rejected { .. }
            | State::Paid { .. }
            | State::Fulfilled { .. }
            | State::Cancelled { .. }
            | State::Expired
            | State::Refunded { .. } => None,
        }
    }

    /// The order as clients see it, with what people wrote.
    #[must_use]
    pub fn to_public(&self, texts: Option<&OrderTexts>) -> order::Order {
        let texts = texts.cloned().unwrap_or_default();
        order::Order {
            id: self.id,
            user_id: self.user_id,
            status: self.status(),
            lines: self.lines.to_vec(),
            total: self.total,
            shipping_address: texts.shipping_address,
            payment: self.payments.latest().cloned(),
            reason: match &self.state {
                State::Rejected { shortages } => rejection(shortages),
                State::Cancelled { .. } => texts.reason,
                State::Pending
                | State::Confirmed { .. }
                | State::Paid { .. }
                | State::Fulfilled { .. }
                | State::Expired
                | State::Refunded { .. } => None,
            },
            metadata: texts.metadata,
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
        }
    }

    fn placed(placed: &Placed, now: Timestamp) -> Self {
        Self {
            id: placed.order_id,
            user_id: placed.user_id,
            lines: placed.lines.as_slice().into(),
            total: placed.total,
            state: State::Pending,
            payments: Payments::default(),
            has_texts: !placed.details.is_empty(),
            created_at: now,
            updated_at: now,
            version: 0,
        }
    }

    fn change(&mut self, event: &Event) {
        match event {
            Event::Placed(_) => {}
            Event::Confirmed(confirmed) => {
                self.state = State::Confirmed {
                    expires_at: confirmed.expires_at,
                }
            }
            Event::Rejected(rejected) => {
                self.state = State::Rejected {
                    shortages: rejected.shortages.clone(),
                }
            }
            Event::Paid(paid) => {
                self.state = State::Paid { by: paid.paid_by };
                if let PaidBy::Payment { payment_id } = paid.paid_by {
                    self.payments.note(payment_id, PaymentStatus::Captured);
                }
            }
            Event::Cancelled(cancelled) => {
                self.state = State::Cancelled { by: cancelled.by };
                self.has_texts |= !cancelled.details.is_empty();
            }
            Event::Expired(_) => self.state = State::Expired,
            Event::Fulfilled(_) => {
                if let State::Paid { by } = self.state {
                    self.state = State::Fulfilled { by };
                }
            }
            Event::Refunded(refunded) => {
                self.state = State::Refunded {
                    payment_id: refunded.payment_id,
                };
                self.payments.note(refunded.payment_id, PaymentStatus::Refunded);
            }
            Event::Updated(_) => self.has_texts = true,
            Event::PaymentNoted(noted) => {
                self.payments.note(noted.payment_id, noted.status);
                if let (State::Confirmed { expires_at }, Some(anew)) = (&mut self.state, noted.expires_at) {
                    *expires_at = anew;
                }
            }
        }
    }
}

/// The longest reason that the API has, in characters.
const REASON_CHARS_MAX: usize = 500;

/// What was missing, in words; as much of it as fits.
fn rejection(shortages: &[Shortage]) -> Option<Reason> {
    let mut words = String::from("Not enough in stock: ");
    for (
        index,
        Shortage {
            sku,
            requested,
            available,
        },
    ) in shortages.iter().enumerate()
    {
        let separator = if index == 0 { "" } else { ", " };
        let part = format!("{separator}{sku} ({requested} wanted, {available} available)");
        if words.chars().count() + part.chars().count() > REASON_CHARS_MAX - 4 {
            words.push_str(", …");
            break;
        }
        words.push_str(&part);
    }
    Reason::try_from(words).ok()
}

impl Document for Order {
    const COLLECTION: &'static Collection = &Collection {
        name: "orders",
        kind: Kind::View,
        columns: &[
            Column {
                name: "user_id",
                column_type: ColumnType::Text,
            },
            Column {
                name: "status",
                column_type: ColumnType::Text,
            },
            Column {
                name: "expires_at",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[
            // Ids begin with the time at which the order was placed, so the order of ids is that of time.
            Index {
                name: "by_user",
                columns: &["user_id"],
            },
            Index {
                name: "by_status",
                columns: &["status"],
            },
            Index {
                name: "by_expiry",
                columns: &["expires_at"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        vec![
            self.user_id.to_string().into(),
            self.status().as_str().into(),
            self.expires_at().into(),
        ]
    }
}

impl Aggregate for Order {
    type Command = Command;
    type Event = Event;
    type Error = Error;

    fn version(&self) -> u64 {
        self.version
    }

    fn decide(state: Option<&Self>, command: Command, now: Timestamp) -> Result<Vec<Event>, Error> {
        decide::decide(state, command, now)
    }

    fn apply(state: &mut Option<Self>, event: &Event, at: &Occurrence<'_>) {
        if let Event::Placed(placed) = event {
            *state = Some(Self::placed(placed, at.time));
        }
        if let Some(order) = state {
            order.change(event);
            order.updated_at = at.time;
            order.version = at.version;
        }
    }
}
