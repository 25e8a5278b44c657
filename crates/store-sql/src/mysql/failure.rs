//! What MySQL's errors mean to the port.

use kernel::store::CommitError;
use sqlx::Error;
use sqlx::mysql::MySqlDatabaseError;

use crate::network::unavailable;
use crate::reach::Meaning;

/// Classes of SQLSTATE that are about a value: it is out of range, or breaks a constraint.
const CONTENT_STATES: [&str; 2] = ["22", "23"];
/// The same, where the state says only that there is an error: a row or a packet is too large, text is not of its
/// character set, a constraint does not hold.
const CONTENT_NUMBERS: [u16; 8] = [1118, 1153, 1264, 1301, 1366, 1406, 3819, 4025];
/// There is no such database.
const NO_DATABASE: u16 = 1049;
/// The state of a transaction that was rolled back for others' sake.
const ROLLED_BACK_STATE: &str = "40";

/// An error while a store is opened.
pub(super) fn meaning(error: &Error) -> Option<Meaning> {
    match answer(error)?.0 {
        1045 | 1698 => Some(Meaning::Login),
        NO_DATABASE => Some(Meaning::NoDatabase),
        1044 | 1142 | 1227 => Some(Meaning::Forbidden),
        _ => None,
    }
}

/// A statement of a batch that failed; the transaction is rolled back after it.
pub(super) fn of_statement(error: &Error) -> CommitError {
    let is_content = match error {
        // The driver would not write the value.
        Error::Encode(_) => true,
        _ => answer(error).is_some_and(|(number, state)| {
            CONTENT_STATES.iter().any(|class| state.starts_with(class)) || CONTENT_NUMBERS.contains(&number)
        }),
    };
    match is_content {
        true => CommitError::Content(error.to_string()),
        false => CommitError::Unavailable(unavailable(error)),
    }
}

/// Whether the transaction was in the way of another: a deadlock, on this server or in its cluster, or a lock that it waited
/// for too long.
pub(super) fn is_transient(error: &Error) -> bool {
    answer(error).is_some_and(|(number, _)| [1205, 1213].contains(&number))
}

/// A COMMIT that failed. Of other errors than this state it does not say whether it has rolled back.
pub(super) fn of_commit(error: &Error) -> CommitError {
    match answer(error) {
        Some((_, state)) if state.starts_with(ROLLED_BACK_STATE) => CommitError::Unavailable(unavailable(error)),
        _ => CommitError::Unknown(error.to_string()),
    }
}

/// The number and the state of an error that the server sent.
fn answer(error: &Error) -> Option<(u16, &str)> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some((error.number(), error.code().unwrap_or_default()))
}
