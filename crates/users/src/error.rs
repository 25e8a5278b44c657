//! Why the users service refuses.

use std::time::Duration;

use contracts::{Code, Problem};
use kernel::store::StoreError;
use kernel::writer;

use crate::password;

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such account, or it is none of the caller's business.
    #[error("there is no such account")]
    Unknown,
    /// The caller is no admin any more, whatever the token says.
    #[error("the caller is not an admin any more")]
    NoLongerAdmin,
    /// Another account has the e-mail.
    #[error("another account has this e-mail")]
    EmailTaken,
    /// Another account has the username.
    #[error("another account has this username")]
    UsernameTaken,
    /// It is the last admin's account; make another admin first.
    #[error("it is the last admin's account")]
    LastAdmin,
    /// The account has changed since the caller read it.
    #[error("the account has changed meanwhile")]
    Stale,
    /// There is no account with this e-mail and password.
    #[error("wrong e-mail or password")]
    InvalidCredentials,
    /// Too many wrong passwords for this account; come back later.
    #[error("too many wrong passwords; wait for {retry_after:?}")]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The refresh token is unknown, spent or revoked; sign in again.
    #[error("the session has ended")]
    SessionEnded,
    /// The password was not hashed.
    #[error(transparent)]
    Password(#[from] password::Error),
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
            Error::NoLongerAdmin => Code::Forbidden.into(),
            Error::EmailTaken => Code::EmailTaken.into(),
            Error::UsernameTaken => Code::UsernameTaken.into(),
            Error::LastAdmin => {
                Self::new(Code::Conflict).detail("This is the last admin's account; make somebody else an admin first.")
            }
            Error::Stale => Code::StaleVersion.into(),
            Error::InvalidCredentials => Code::InvalidCredentials.into(),
            Error::TooManyAttempts { retry_after } => Self::new(Code::RateLimited)
                .detail("Too many wrong passwords for this account. Wait as long as the Retry-After header says.")
                .retry_after(retry_after),
            Error::SessionEnded => Code::SessionEnded.into(),
            Error::Password(password::Error::Overloaded) => Code::Overloaded.into(),
            Error::Password(password::Error::Failed(_)) => Code::Internal.into(),
            Error::Store(error) => error.into(),
            Error::Write(error) => error.into(),
        }
    }
}
