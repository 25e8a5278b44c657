//! What an order knows of its payments.

use contracts::PaymentId;
use contracts::order::OrderPayment;
use contracts::payment::PaymentStatus;
use serde::{Deserialize, Serialize};

/// Payments that an order remembers; of more, the oldest settled ones are forgotten.
pub const PAYMENTS_REMEMBERED_MAX: usize = 16;

/// An order's payments, as far as their events have come: nearly always one.
///
/// The events of one payment come in order; those of two payments may not, and any may come twice. So each payment is
/// remembered by itself, and only ever moves on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payments(Vec<OrderPayment>);

impl Payments {
    /// True if nothing is known of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that began last.
    #[must_use]
    pub fn latest(&self) -> Option<&OrderPayment> {
        self.0.iter().max_by_key(|payment| payment.id)
    }

    /// Where a payment is, if anything is known of it.
    #[must_use]
    pub fn status(&self, id: PaymentId) -> Option<PaymentStatus> {
        self.0
            .iter()
            .find(|payment| payment.id == id)
            .map(|payment| payment.status)
    }

    /// True if the status is news: not yet known, nor left behind.
    #[must_use]
    pub fn is_news(&self, id: PaymentId, status: PaymentStatus) -> bool {
        self.status(id).is_none_or(|known| rank(known) < rank(status))
    }

    /// True while a payment holds money ready, so that the order must not expire.
    #[must_use]
    pub fn is_any_authorized(&self) -> bool {
        self.0.iter().any(|payment| payment.status == PaymentStatus::Authorized)
    }

    /// True while a payment other than this one holds money ready.
    #[must_use]
    pub fn is_another_authorized(&self, id: PaymentId) -> bool {
        self.0
            .iter()
            .any(|payment| payment.id != id && payment.status == PaymentStatus::Authorized)
    }

    /// A payment that took the money and has not given all of it back.
    #[must_use]
    pub fn captured(&self) -> Option<PaymentId> {
        let has_money = |status| matches!(status, PaymentStatus::Captured | PaymentStatus::PartiallyRefunded);
        self.0
            .iter()
            .find(|payment| has_money(payment.status))
            .map(|payment| payment.id)
    }

    /// Moves a payment on.
    pub(super) fn note(&mut self, id: PaymentId, status: PaymentStatus) {
        match self.0.iter_mut().find(|payment| payment.id == id) {
            Some(payment) => payment.status = status,
            None => self.0.push(OrderPayment { id, status }),
        }
        if self.0.len() > PAYMENTS_REMEMBERED_MAX {
            let settled = |payment: &&OrderPayment| {
                matches!(
                    payment.status,
                    PaymentStatus::Failed | PaymentStatus::Voided | PaymentStatus::Refunded
                )
            };
            if let Some(oldest) = self.0.iter().filter(settled).map(|payment| payment.id).min() {
                self.0.retain(|payment| payment.id != oldest);
            }
        }
    }
}

/// How far a payment is. Money that was taken after all outweighs a failure: it must be seen.
const fn rank(status: PaymentStatus) -> u8 {
    match status {
        PaymentStatus::Initiated => 0,
        PaymentStatus::RequiresAction => 1,
        PaymentStatus::Authorized => 2,
        PaymentStatus::Failed | PaymentStatus::Voided => 3,
        PaymentStatus::Captured => 4,
        PaymentStatus::PartiallyRefunded => 5,
        PaymentStatus::Refunded => 6,
    }
}

#[cfg(test)]
mod tests {
    use contracts::PaymentId;
    use uuid::Uuid;

    use super::*;

    fn payment(number: u128) -> PaymentId {
        PaymentId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn a_payment_only_moves_on() {
        let mut payments = Payments::default();
        assert!(payments.is_news(payment(1), PaymentStatus::Authorized));
        payments.note(payment(1), PaymentStatus::Authorized);
        assert!(!payments.is_news(payment(1), PaymentStatus::Authorized));
        payments.note(payment(1), PaymentStatus::Captured);
        for behind in [
            PaymentStatus::Authorized,
            PaymentStatus::Failed,
            PaymentStatus::Voided,
            PaymentStatus::Captured,
        ] {
            assert!(!payments.is_news(payment(1), behind), "{behind}");
        }
        assert!(payments.is_news(payment(1), PaymentStatus::Refunded));
    }

    #[test]
    fn the_latest_is_the_one_that_began_last_whatever_came_last() {
        let mut payments = Payments::default();
        payments.note(payment(2), PaymentStatus::Authorized);
        payments.note(payment(1), PaymentStatus::Failed);
        assert_eq!(
            payments.latest(),
            Some(&OrderPayment {
                id: payment(2),
                status: PaymentStatus::Authorized
            })
        );
        assert!(payments.is_any_authorized() && payments.is_another_authorized(payment(1)));
        assert!(!payments.is_another_authorized(payment(2)));
    }

    #[test]
    fn what_holds_money_is_never_forgotten() {
        let mut payments = Payments::default();
        payments.note(payment(1), PaymentStatus::Captured);
        payments.note(payment(2), PaymentStatus::Authorized);
        for number in 3..100 {
            payments.note(payment(number), PaymentStatus::Failed);
        }
        assert_eq!(payments.0.len(), PAYMENTS_REMEMBERED_MAX);
        assert!(payments.is_any_authorized());
        assert_eq!(payments.captured(), Some(payment(1)));
        assert_eq!(payments.latest().map(|payment| payment.id), Some(payment(99)));
    }
}
