//! What PostgreSQL's errors mean to the port.

use kernel::store::CommitError;
use sqlx::Error;

use crate::network::unavailable;
use crate::reach::Meaning;

/// Classes of SQLSTATE that are about a value: it is out of range, breaks a constraint, or is too large.
const CONTENT: [&str; 3] = ["22", "23", "54"];

/// An error while a store is opened.
pub(super) fn meaning(error: &Error) -> Option<Meaning> {
    match &*error.as_database_error()?.code()? {
        "28P01" | "28000" => Some(Meaning::Login),
        "3D000" => Some(Meaning::NoDatabase),
        "42501" => Some(Meaning::Forbidden),
        _ => None,
    }
}

/// A statement of a batch that failed; the transaction is rolled back after it.
pub(super) fn of_statement(error: &Error) -> CommitError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code {
        Some(code) if CONTENT.iter().any(|class| code.starts_with(class)) => CommitError::Content(error.to_string()),
        _ => match error {
            // The driver would not write the value.
            Error::Encode(_) => CommitError::Content(error.to_string()),
            _ => CommitError::Unavailable(unavailable(error)),
        },
    }
}

/// Whether the transaction was in the way of another: a deadlock, or as `SERIALIZABLE` has it.
pub(super) fn is_transient(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "40001" || code == "40P01")
}

/// A COMMIT that failed. If the server says so itself, it has rolled back.
pub(super) fn of_commit(error: &Error) -> CommitError {
    match error.as_database_error() {
        Some(_) => CommitError::Unavailable(unavailable(error)),
        None => CommitError::Unknown(error.to_string()),
    }
}
