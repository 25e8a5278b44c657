//! Why the inventory refuses.

use contracts::{Code, Problem};
use kernel::freshness::Missing;
use kernel::store::StoreError;
use kernel::writer;

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such SKU, or not yet.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Less would lie in the warehouse than is promised to orders; cancel orders first.
    #[error("less would lie in the warehouse than is reserved")]
    BelowReserved,
    /// More would lie in the warehouse than can be counted.
    #[error("more would lie in the warehouse than {}", contracts::OnHand::MAX)]
    TooMuch,
    /// The stock has changed since the caller read it.
    #[error("the stock has changed meanwhile")]
    Stale,
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
            Error::Missing(missing) => missing.into(),
            Error::BelowReserved => Code::BelowReserved.into(),
            Error::TooMuch => Self::invalid("delta", Error::TooMuch),
            Error::Stale => Code::StaleVersion.into(),
            Error::Store(error) => error.into(),
            Error::Write(error) => error.into(),
        }
    }
}
