//! Why payments refuses.

use contracts::{Code, PaymentId, Problem};
use kernel::freshness::Missing;
use kernel::store::StoreError;
use kernel::writer;

use crate::payment::REFUNDS_PENDING_MAX;

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such payment or order, or it is not the caller's.
    #[error("there is no such payment or order")]
    Unknown,
    /// The order has not been seen here.
    #[error(transparent)]
    OrderMissing(#[from] Missing),
    /// The provider knows no such method; use another.
    #[error("the provider knows no such payment method")]
    UnknownMethod,
    /// The order is paid.
    #[error("the order is paid")]
    AlreadyPaid,
    /// Another payment of the order is under way; wait for it.
    #[error("another payment of the order is under way")]
    PaymentOpen,
    /// The order has ended.
    #[error("the order has ended and cannot be paid")]
    NotPayable,
    /// The provider will not give the money; pay with another method.
    #[error("the payment was declined: {code}")]
    Declined {
        /// The payment, which has failed.
        payment_id: PaymentId,
        /// Why, as the provider calls it.
        code: String,
    },
    /// Nothing was captured.
    #[error("nothing was captured that could be refunded")]
    NotRefundable,
    /// More than is left.
    #[error("the refund exceeds what is left of the payment")]
    RefundExceedsCaptured,
    /// A refund is in the payment's currency.
    #[error("the refund is in another currency than the payment")]
    OtherCurrency,
    /// Wait until some are done.
    #[error("{REFUNDS_PENDING_MAX} refunds of the payment are under way already")]
    TooManyRefunds,
    /// An outcome of a call that the payment did not wait for: something is wrong at the provider or here.
    #[error("the payment did not wait for this outcome")]
    OutOfTurn,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The command was not carried out.
    #[error(transparent)]
    Write(#[from] writer::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown => Code::NotFound.into(),
            Error::OrderMissing(missing) => missing.into(),
            Error::UnknownMethod => Self::invalid("payment_method", "must be a method that the payment provider knows"),
            Error::AlreadyPaid => Code::AlreadyPaid.into(),
            Error::PaymentOpen => Code::PaymentOpen.into(),
            Error::NotPayable => Code::NotPayable.into(),
            Error::Declined { payment_id, code } => Self::new(Code::CardDeclined)
                .with("payment_id", payment_id.to_string())
                .with("decline_code", code),
            Error::NotRefundable => Code::NotRefundable.into(),
            Error::RefundExceedsCaptured => Code::RefundExceedsCaptured.into(),
            Error::OtherCurrency => Self::invalid("amount.currency", "must be the payment's currency"),
            Error::TooManyRefunds => {
                Self::new(Code::Conflict).detail("Wait until some of the payment's refunds under way are done.")
            }
            Error::OutOfTurn => Code::Conflict.into(),
            Error::Store(error) => error.into(),
            Error::Write(error) => error.into(),
        }
    }
}
