//! What may happen to an order: the table of states and commands, one function per command, each with every state.

use std::time::Duration;

use contracts::order::{
    Cancelled, Canceller, Confirmed, Expired, Fulfilled, OrderStatus, Paid, PaidBy, Refunded, Rejected, Updated,
};
use contracts::payment::{PaymentStatus, Stage};
use contracts::stock::Shortage;
use contracts::{Money, PaymentId, UserId};
use jiff::Timestamp;

use super::{Command, Editor, Order, PaymentFact, State};
use crate::events::PaymentNoted;
use crate::{Error, Event};

type Decision = Result<Vec<Event>, Error>;

pub(super) fn decide(state: Option<&Order>, command: Command, now: Timestamp) -> Decision {
    let Some(order) = state else {
        return match command {
            Command::Place(placed) => happens(placed),
            _ => Err(Error::Unknown),
        };
    };
    match command {
        Command::Place(_) => already_so(),
        Command::Confirm { payment_window } => order.confirm(end(now, payment_window)),
        Command::Reject { shortages } => order.reject(shortages),
        Command::Cancel { by, details } => order.cancel(by, details),
        Command::FollowPayment {
            payment_id,
            fact,
            payment_window,
        } => order.follow_payment(payment_id, fact, end(now, payment_window)),
        Command::PayManually { admin } => order.pay_manually(admin),
        Command::Fulfil => order.fulfil(),
        Command::Expire => order.expire(now),
        Command::Update { by, changed } => order.update(by, changed),
    }
}

impl Order {
    fn confirm(&self, expires_at: Timestamp) -> Decision {
        match self.state {
            State::Pending => {
                let Self {
                    id: order_id,
                    user_id,
                    total,
                    ..
                } = *self;
                let mut events = vec![
                    Confirmed {
                        order_id,
                        user_id,
                        total,
                        expires_at,
                    }
                    .into(),
                ];
                // The money was here first: its event overtook that of the stock.
                events.extend(
                    self.payments
                        .captured()
                        .map(|payment_id| self.paid(PaidBy::Payment { payment_id })),
                );
                Ok(events)
            }
            State::Confirmed { .. } | State::Paid { .. } | State::Fulfilled { .. } => already_so(),
            // Inventory releases the stock when it learns of the end.
            State::Rejected { .. } | State::Cancelled { .. } | State::Expired | State::Refunded { .. } => already_so(),
        }
    }

    fn reject(&self, shortages: Vec<Shortage>) -> Decision {
        match self.state {
            State::Pending => happens(Rejected {
                order_id: self.id,
                user_id: self.user_id,
                shortages,
            }),
            State::Rejected { .. } | State::Cancelled { .. } | State::Expired | State::Refunded { .. } => already_so(),
            // Stock is reserved or it is not; here inventory has said both.
            State::Confirmed { .. } | State::Paid { .. } | State::Fulfilled { .. } => {
                self.refuse(OrderStatus::Rejected)
            }
        }
    }

    fn cancel(&self, by: Canceller, details: Vec<String>) -> Decision {
        let cancelled = || Cancelled {
            order_id: self.id,
            user_id: self.user_id,
            was: self.status(),
            by,
            details,
        };
        match (&self.state, by) {
            (State::Pending | State::Confirmed { .. }, _) => happens(cancelled()),
            (State::Paid { .. }, Canceller::Customer | Canceller::Admin) => happens(cancelled()),
            (State::Cancelled { .. }, _) => already_so(),
            // Erasure ends what is not paid for; the rest is delivered, or has ended.
            (State::Paid { .. }, Canceller::Erasure) => already_so(),
            (
                State::Fulfilled { .. } | State::Rejected { .. } | State::Expired | State::Refunded { .. },
                Canceller::Erasure,
            ) => already_so(),
            (
                State::Fulfilled { .. } | State::Rejected { .. } | State::Expired | State::Refunded { .. },
                Canceller::Customer | Canceller::Admin,
            ) => Err(Error::NotCancellable { status: self.status() }),
        }
    }

    fn follow_payment(&self, id: PaymentId, fact: PaymentFact, anew: Timestamp) -> Decision {
        if !self.payments.is_news(id, fact.status()) {
            return already_so();
        }
        match fact {
            PaymentFact::Authorized => self.note(id, fact, None),
            PaymentFact::Captured { amount } => self.follow_capture(id, fact, amount),
            PaymentFact::Failed { stage } => {
                let was_underway =
                    stage == Stage::Capture || self.payments.status(id) == Some(PaymentStatus::Authorized);
                self.note(id, fact, was_underway.then_some(anew))
            }
            PaymentFact::Voided => {
                let was_underway = self.payments.status(id) == Some(PaymentStatus::Authorized);
                self.note(id, fact, was_underway.then_some(anew))
            }
            PaymentFact::Refunded { refunded_total, full } => self.follow_refund(id, fact, refunded_total, full),
        }
    }

    fn follow_capture(&self, id: PaymentId, fact: PaymentFact, amount: Money) -> Decision {
        match self.state {
            State::Pending | State::Confirmed { .. } if amount != self.total => Err(Error::WrongAmount {
                captured: amount,
                total: self.total,
            }),
            State::Pending => self.note(id, fact, None),
            State::Confirmed { .. } => Ok(vec![self.paid(PaidBy::Payment { payment_id: id })]),
            // Paid in another way, or at its end: payments gives it back by itself.
            State::Paid { .. }
            | State::Fulfilled { .. }
            | State::Rejected { .. }
            | State::Cancelled { .. }
            | State::Expired
            | State::Refunded { .. } => self.note(id, fact, None),
        }
    }

    fn follow_refund(&self, id: PaymentId, fact: PaymentFact, amount: Money, full: bool) -> Decision {
        match self.state {
            // What an admin declared paid is not refunded by the end of a payment that was not needed.
            State::Paid { by } | State::Fulfilled { by } if full && by == (PaidBy::Payment { payment_id: id }) => {
                let Self {
                    id: order_id, user_id, ..
                } = *self;
                happens(Refunded {
                    order_id,
                    user_id,
                    payment_id: id,
                    amount,
                    was: self.status(),
                })
            }
            State::Paid { .. } | State::Fulfilled { .. } => self.note(id, fact, None),
            State::Pending
            | State::Confirmed { .. }
            | State::Rejected { .. }
            | State::Cancelled { .. }
            | State::Expired
            | State::Refunded { .. } => self.note(id, fact, None),
        }
    }

    fn pay_manually(&self, admin: UserId) -> Decision {
        match self.state {
            State::Confirmed { .. } => Ok(vec![self.paid(PaidBy::Manual { admin })]),
            State::Paid { .. } => already_so(),
            State::Pending
            | State::Fulfilled { .. }
            | State::Rejected { .. }
            | State::Cancelled { .. }
            | State::Expired
            | State::Refunded { .. } => self.refuse(OrderStatus::Paid),
        }
    }

    fn fulfil(&self) -> Decision {
        match self.state {
            State::Paid { .. } => happens(Fulfilled {
                order_id: self.id,
                user_id: self.user_id,
            }),
            State::Fulfilled { .. } => already_so(),
            State::Pending
            | State::Confirmed { .. }
            | State::Rejected { .. }
            | State::Cancelled { .. }
            | State::Expired
            | State::Refunded { .. } => self.refuse(OrderStatus::Fulfilled),
        }
    }

    fn expire(&self, now: Timestamp) -> Decision {
        match self.expires_at() {
            Some(due) if due <= now => happens(Expired {
                order_id: self.id,
                user_id: self.user_id,
            }),
            // Not yet, or no more: it was paid, or a payment holds money ready, or it has ended.
            Some(_) | None => already_so(),
        }
    }

    fn update(&self, by: Editor, changed: Vec<String>) -> Decision {
        if changed.is_empty() {
            return already_so();
        }
        match (&self.state, by) {
            (State::Pending | State::Confirmed { .. } | State::Paid { .. }, Editor::Owner) | (_, Editor::Admin) => {
                happens(Updated {
                    order_id: self.id,
                    user_id: self.user_id,
                    changed,
                })
            }
            (
                State::Fulfilled { .. }
                | State::Rejected { .. }
                | State::Cancelled { .. }
                | State::Expired
                | State::Refunded { .. },
                Editor::Owner,
            ) => Err(Error::TextsSettled { status: self.status() }),
        }
    }

    fn paid(&self, paid_by: PaidBy) -> Event {
        Paid {
            order_id: self.id,
            user_id: self.user_id,
            amount: self.total,
            paid_by,
        }
        .into()
    }

    /// Remembers where a payment is. `anew` is when the order expires if the payment's end sets it waiting again.
    fn note(&self, payment_id: PaymentId, fact: PaymentFact, anew: Option<Timestamp>) -> Decision {
        let waits = matches!(self.state, State::Confirmed { .. }) && !self.payments.is_another_authorized(payment_id);
        happens(PaymentNoted {
            order_id: self.id,
            user_id: self.user_id,
            payment_id,
            status: fact.status(),
            expires_at: anew.filter(|_| waits),
        })
    }

    fn refuse(&self, to: OrderStatus) -> Decision {
        Err(Error::IllegalTransition {
            from: self.status(),
            to,
        })
    }
}

fn happens(event: impl Into<Event>) -> Decision {
    Ok(vec![event.into()])
}

fn already_so() -> Decision {
    Ok(Vec::new())
}

/// When the window closes; at the end of time if it is that wide.
fn end(now: Timestamp, window: Duration) -> Timestamp {
    now.checked_add(window).unwrap_or(Timestamp::MAX)
}
