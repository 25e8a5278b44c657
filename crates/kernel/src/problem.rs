//! What a client is told when the kernel refuses. The HTTP layer logs the cause, once; the answer does not have it.

use contracts::{Code, Problem};

use crate::reaction::LetterError;
use crate::reader::Folded;
use crate::store::StoreError;
use crate::writer;

impl From<writer::Error> for Problem {
    fn from(error: writer::Error) -> Self {
        let code = match error {
            writer::Error::Overloaded | writer::Error::Contended => Code::Overloaded,
            writer::Error::Unavailable(_) => Code::StoreUnavailable,
            writer::Error::Panicked(_) | writer::Error::Corrupt(_) => Code::Internal,
            writer::Error::EventTooLarge { .. } => Code::EventTooLarge,
            writer::Error::Content(_) => Code::Invalid,
            writer::Error::KeyReused => Code::IdempotencyKeyReused,
            writer::Error::InProgress => Code::InProgress,
            writer::Error::ShuttingDown => Code::ShuttingDown,
        };
        code.into()
    }
}

impl From<StoreError> for Problem {
    fn from(_: StoreError) -> Self {
        Code::StoreUnavailable.into()
    }
}

impl From<Folded> for Problem {
    fn from(error: Folded) -> Self {
        match error {
            Folded::Store(error) => error.into(),
            Folded::Decode(_) => Code::Internal.into(),
        }
    }
}

impl From<LetterError> for Problem {
    fn from(error: LetterError) -> Self {
        match error {
            LetterError::Unknown(_) => Code::NotFound.into(),
            LetterError::Behind { first } => Self::new(Code::Conflict)
                .detail(error.to_string())
                .with("first", first.to_string()),
            LetterError::StillFails(_) => Self::new(Code::Conflict).detail(error.to_string()),
            LetterError::Store(error) => error.into(),
            LetterError::Write(error) => error.into(),
        }
    }
}
