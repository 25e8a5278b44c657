//! What SQLite's errors mean to the port.

use kernel::store::{CommitError, StoreError};
use rusqlite::{Error, ErrorCode};

/// A read that failed, or a write before its COMMIT, which rolls back.
pub(super) fn unavailable(error: &Error) -> StoreError {
    StoreError::new(error)
}

/// A statement of a batch that failed; the transaction is rolled back after it.
pub(super) fn of_statement(error: &Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ConstraintViolation
            | ErrorCode::ParameterOutOfRange,
        ) => CommitError::Content(error.to_string()),
        Some(_) => CommitError::Unavailable(unavailable(error)),
        // Not from SQLite: rusqlite would not convert the value.
        None => CommitError::Content(error.to_string()),
    }
}

/// A COMMIT that failed. A full disk leaves the log without the commit's last frame, and a busy database was never
/// written to; after anything else the frames may be on the disk, where recovery would find them.
pub(super) fn of_commit(error: &Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            CommitError::Unavailable(unavailable(error))
        }
        _ => CommitError::Unknown(error.to_string()),
    }
}
