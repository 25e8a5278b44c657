//! What MongoDB's errors mean to the port.

use kernel::store::opening::Refusal;
use kernel::store::{CommitError, StoreError};
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};

/// Two transactions have changed the same document: the later one has to begin again.
const WRITE_CONFLICT: i32 = 112;
/// A collection or an index was made a moment ago, as by another replica that starts, and there is no majority for it yet.
const SNAPSHOT_UNAVAILABLE: i32 = 246;
/// What was to be read as of one time is of a time that the server does not remember.
const SNAPSHOT_TOO_OLD: i32 = 239;
const FORGOTTEN: &str = "MongoDB has forgotten how the store was when reading it began, and it has changed since: let it remember \
     longer than that takes, with db.adminCommand({ setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600 }) in mongosh on \
     each member, and begin again";
/// Codes that are about a value where documents or events are written: it is malformed (2, 14), breaks the validator (121)
/// or an index (11000).
const VALUE: [i32; 4] = [2, 14, 121, 11000];
/// A value or the whole batch is too large, whatever is done with it.
const SIZE: [i32; 6] = [257, 388, 10334, 17280, 17419, 17420];
/// The user may not do that.
const UNAUTHORIZED: i32 = 13;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The declared schema cannot be kept: a mistake in the program.
    #[error("the schema is wrong: {0}")]
    Schema(String),
    /// The URL cannot be understood; with the driver's words where there is no password that they could repeat.
    #[error(
        "the URL of MongoDB is wrong{0}: it has to be like mongodb://user:password@host:27017/?replicaSet=rs0, \
         with :, /, @ and % in a name or password written as %3A, %2F, %40 and %25"
    )]
    Url(String),
    /// An option of the URL that MongoDB's clients do not have; never with its value.
    #[error("there is no option {0} for the URL of MongoDB: check how it is spelled")]
    Option(String),
    /// There are no transactions without a replica set.
    #[error(
        "MongoDB at {0} is a standalone server, which has no transactions: start mongod with --replSet rs0, \
         and once run rs.initiate() in mongosh"
    )]
    Standalone(String),
    /// It was started with `--replSet`, and that is all.
    #[error("the replica set of MongoDB at {0} was never initiated: run rs.initiate() in mongosh, once")]
    Uninitiated(String),
    /// It answers, and does not take writes.
    #[error("MongoDB at {address} cannot be written to: {reason}")]
    NoPrimary {
        /// Which server said so.
        address: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Reads as of one time came with 5.0.
    #[error("MongoDB at {0} is older than 5.0: use a newer one")]
    TooOld(String),
    /// It is asked for an encrypted connection, and is not trusted.
    #[error(
        "MongoDB at {0} shows a certificate that is not trusted: check that the file named in the URL is of the authority that \
         has made it"
    )]
    Untrusted(String),
    /// Wrong user or password.
    #[error(
        "MongoDB at {0} does not let this user in: check the user, the password and authSource=… in the URL \
         (the database in which the user was made, often admin)"
    )]
    Login(String),
    /// It lacks a role.
    #[error("this user may not make the collections of {database} in MongoDB: grant it readWrite on {database}")]
    Forbidden {
        /// Which database.
        database: String,
    },
    /// Nobody answers.
    #[error("no MongoDB answers at {0}: check that it runs there, and that this machine reaches it")]
    Unreachable(String),
    /// It is there, and cannot be used as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database said no.
    #[error("the database cannot be opened: {}", .0.kind)]
    Database(#[source] Box<Error>),
    /// The document in `head` is not readable.
    #[error(transparent)]
    Head(#[from] StoreError),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Why a read did not end well.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The server did not answer, or with an error.
    Server(Error),
    /// What it answered cannot be understood.
    Damaged(StoreError),
}

impl ReadError {
    /// Whether it will do in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Server(error) if has_code(error, &[SNAPSHOT_UNAVAILABLE]))
    }

    /// Whether what it was to read is forgotten.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self, Self::Server(error) if has_code(error, &[SNAPSHOT_TOO_OLD]))
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Damaged(error)
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            forgotten if forgotten.is_forgotten() => Self::new(FORGOTTEN),
            ReadError::Server(error) => unavailable(&error),
            ReadError::Damaged(error) => error,
        }
    }
}

/// A read that failed, or a write before the commit, which rolls back. The whole error would repeat the server's answer.
pub(crate) fn unavailable(error: &Error) -> StoreError {
    StoreError::new(&error.kind)
}

/// A command of a batch that failed, which reads or writes what is the store's own; the transaction is rolled back after it.
pub(crate) fn of_statement(error: &Error) -> CommitError {
    content_or_unavailable(error, |code| SIZE.contains(&code))
}

/// A command that brings documents or events of the batch.
pub(crate) fn of_values(error: &Error) -> CommitError {
    match &*error.kind {
        // The driver would not write the value.
        ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_) => CommitError::Content(error.kind.to_string()),
        _ => content_or_unavailable(error, is_content),
    }
}

fn content_or_unavailable(error: &Error, is_content: fn(i32) -> bool) -> CommitError {
    let is_content = match &*error.kind {
        ErrorKind::Command(failed) => is_content(failed.code),
        ErrorKind::Write(WriteFailure::WriteError(failed)) => is_content(failed.code),
        ErrorKind::InsertMany(failed) => {
            let mut errors = failed.write_errors.iter().flatten();
            errors.any(|failed| is_content(failed.code))
        }
        _ => false,
    };
    match is_content {
        true => CommitError::Content(error.kind.to_string()),
        false => CommitError::Unavailable(unavailable(error)),
    }
}

fn is_content(code: i32) -> bool {
    VALUE.contains(&code) || SIZE.contains(&code)
}

/// One of the errors in the answer to an `update`.
pub(crate) fn of_write(code: i32, message: &str) -> CommitError {
    match is_content(code) {
        true => CommitError::Content(message.to_owned()),
        false => CommitError::Unavailable(StoreError::new(message)),
    }
}

/// A commit that failed. Where the server says that the transaction may be tried anew, or that it was too large, it has
/// rolled back.
pub(crate) fn of_commit(error: &Error) -> CommitError {
    let told = of_statement(error);
    let is_transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
    match is_transient || matches!(told, CommitError::Content(_)) {
        true => told,
        false => CommitError::Unknown(error.kind.to_string()),
    }
}

/// Whether asking to commit again can tell.
pub(crate) fn is_unknown(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

/// Whether a transaction that begins anew may get further: it met with another one or with a change of a collection, or
/// lost its server. Where none was found, that was waited for already.
pub(crate) fn is_transient(error: &Error) -> bool {
    !matches!(&*error.kind, ErrorKind::ServerSelection { .. }) && error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

/// Whether another transaction has the head, or will have had it in a moment.
pub(crate) fn is_taken(error: &Error) -> bool {
    has_code(error, &[WRITE_CONFLICT, SNAPSHOT_UNAVAILABLE])
}

/// Whether the user may not do that.
pub(crate) fn is_forbidden(error: &Error) -> bool {
    has_code(error, &[UNAUTHORIZED])
}

/// Whether the server gives one of these reasons.
pub(crate) fn has_code(error: &Error, codes: &[i32]) -> bool {
    matches!(&*error.kind, ErrorKind::Command(failed) if codes.contains(&failed.code))
}
