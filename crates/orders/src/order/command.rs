//! What can be asked of an order.

use std::time::Duration;

use contracts::order::{Canceller, Placed};
use contracts::payment::{PaymentStatus, Stage};
use contracts::stock::Shortage;
use contracts::{Money, PaymentId, UserId};

/// What can be asked of an order.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take it, at these prices.
    Place(Placed),
    /// Its stock is reserved: wait for the money.
    Confirm {
        /// For how long.
        payment_window: Duration,
    },
    /// Its stock is not to be had.
    Reject {
        /// What was missing.
        shortages: Vec<Shortage>,
    },
    /// End it undelivered.
    Cancel {
        /// Who asks.
        by: Canceller,
        /// The names of the texts given along.
        details: Vec<String>,
    },
    /// Follow what happened to a payment of it.
    FollowPayment {
        /// Which one.
        payment_id: PaymentId,
        /// What happened.
        fact: PaymentFact,
        /// For how long another is waited for if this one came to nothing.
        payment_window: Duration,
    },
    /// The money came some other way.
    PayManually {
        /// Who says so.
        admin: UserId,
    },
    /// It was delivered.
    Fulfil,
    /// Its time is over, if it is.
    Expire,
    /// Its texts change.
    Update {
        /// Who asks.
        by: Editor,
        /// The names of the texts.
        changed: Vec<String>,
    },
}

/// What happened to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentFact {
    /// The provider holds the money ready.
    Authorized,
    /// The money was taken.
    Captured {
        /// How much.
        amount: Money,
    },
    /// The money could not be had.
    Failed {
        /// At which stage.
        stage: Stage,
    },
    /// The money that was held ready was let go.
    Voided,
    /// Money was given back.
    Refunded {
        /// How much, over all refunds.
        refunded_total: Money,
        /// Whether nothing is left to give back.
        full: bool,
    },
}

impl PaymentFact {
    pub(super) fn status(self) -> PaymentStatus {
        match self {
            Self::Authorized => PaymentStatus::Authorized,
            Self::Captured { .. } => PaymentStatus::Captured,
            Self::Failed { .. } => PaymentStatus::Failed,
            Self::Voided => PaymentStatus::Voided,
            Self::Refunded { full: false, .. } => PaymentStatus::PartiallyRefunded,
            Self::Refunded { full: true, .. } => PaymentStatus::Refunded,
        }
    }
}

/// Who changes texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Editor {
    /// The order's owner, until it is on its way or has ended.
    Owner,
    /// An admin.
    Admin,
}
