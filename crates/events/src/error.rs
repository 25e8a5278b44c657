//! Why the event service refuses.

use contracts::{Code, Problem};
use kernel::store::StoreError;
use kernel::writer;

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stream was to go on after a position that the log does not have.
    #[error("the position is beyond the end of the log")]
    BeyondEnd,
    /// The user has as many live streams as one may have.
    #[error("the user has too many live streams")]
    TooManyOfOne,
    /// All places for live streams are taken.
    #[error("there are too many live streams")]
    TooMany,
    /// The data cannot be written as JSON.
    #[error("the data cannot be written as JSON")]
    Unwritable,
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
            Error::BeyondEnd => Self::invalid(
                "Last-Event-ID",
                "is beyond the end of the log, which was restored from a backup; begin again without it",
            ),
            Error::TooManyOfOne => Self::new(Code::RateLimited).detail("Close a live stream before you open another."),
            Error::TooMany => Code::Overloaded.into(),
            Error::Unwritable => Self::invalid("data", "must be a JSON object"),
            Error::Store(error) => error.into(),
            Error::Write(error) => error.into(),
        }
    }
}
