//! Why the catalogue refuses.

use contracts::{Code, Problem};
use kernel::store::StoreError;
use kernel::writer;

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such product.
    #[error("there is no such product")]
    Unknown,
    /// Another product has the SKU; choose another.
    #[error("another product has this SKU")]
    SkuTaken,
    /// The product has changed since the caller read it.
    #[error("the product has changed meanwhile")]
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
            Error::Unknown => Code::NotFound.into(),
            Error::SkuTaken => Code::SkuTaken.into(),
            Error::Stale => Code::StaleVersion.into(),
            Error::Store(error) => error.into(),
            Error::Write(error) => error.into(),
        }
    }
}
