//! Why the notifications refuse.

use contracts::{Code, Problem};
use kernel::store::StoreError;
use kernel::writer;

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such notification.
    #[error("there is no such notification")]
    Unknown,
    /// Only what failed can be tried again.
    #[error("the notification has not failed")]
    NotFailed,
    /// There is no template of this name.
    #[error("there is no such template")]
    UnknownTemplate,
    /// The order is another user's.
    #[error("the order belongs to another user")]
    ForeignOrder,
    /// Nothing was told about the order so far, so its status is not known here.
    #[error("nothing is known of the order's status")]
    UnknownStatus,
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
            Error::NotFailed => {
                Self::new(Code::Conflict).detail("Only a failed notification can be retried; this one has not failed.")
            }
            Error::UnknownTemplate => Self::invalid("template", "must be the name of a template"),
            Error::ForeignOrder => Self::new(Code::UnknownReference).error("order_id", "must be an order of the user"),
            Error::UnknownStatus => Self::new(Code::UnknownReference).error(
                "order_id",
                "must be an order that was notified about before, unless a template is given",
            ),
            Error::Store(error) => error.into(),
            Error::Write(error) => error.into(),
        }
    }
}
