//! Reaching a server, and telling its operator why it cannot be used.

use std::fmt::Display;
use std::io::ErrorKind;
use std::time::Duration;

use sqlx::Error;

use crate::open::OpenError;

/// How long a server may take until it has let us in.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where a server is expected to be, and what it is, in words for a person.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `PostgreSQL`.
    pub(crate) server: &'static str,
    /// `host:port`.
    pub(crate) address: String,
    /// The database that is connected to.
    pub(crate) database: String,
}

/// What an error of the server means to whoever has configured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The user is unknown, or the password is wrong.
    Login,
    /// There is no such database.
    NoDatabase,
    /// The user may not do that.
    Forbidden,
}

/// Connects, or says why not, soon.
pub(crate) async fn connect<C>(
    target: &Target,
    connecting: impl Future<Output = Result<C, OpenError>>,
    meaning: fn(&Error) -> Option<Meaning>,
) -> Result<C, OpenError> {
    match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(connected) => connected.map_err(|error| refusal_of(target, error, meaning)),
        Err(_) => Err(OpenError::Unreachable {
            server: target.server,
            address: target.address.clone(),
        }),
    }
}

/// In words that say what to do, where the error is one that its operator can do something about.
fn refusal(target: &Target, error: Error, meaning: fn(&Error) -> Option<Meaning>) -> OpenError {
    let (server, address, database) = (target.server, target.address.clone(), target.database.clone());
    match (meaning(&error), &error) {
        (Some(Meaning::Login), _) => OpenError::Login { server, address },
        (Some(Meaning::NoDatabase), _) => OpenError::NoDatabase {
            server,
            address,
            database,
        },
        (Some(Meaning::Forbidden), _) => OpenError::Forbidden { server, database },
        (None, Error::Tls(reason)) => untrusted(server, address, reason),
        // What came was no beginning of an encrypted connection that could go on, or the file cannot be read.
        (None, Error::Io(reason))
            if matches!(
                reason.kind(),
                ErrorKind::InvalidData | ErrorKind::NotFound | ErrorKind::PermissionDenied
            ) =>
        {
            untrusted(server, address, reason)
        }
        (None, Error::Io(_)) => OpenError::Unreachable { server, address },
        (None, _) => error.into(),
    }
}

fn untrusted(server: &'static str, address: String, reason: impl Display) -> OpenError {
    let reason = reason.to_string();
    OpenError::Untrusted {
        server,
        address,
        reason,
    }
}

/// The same, of whatever opening met.
pub(crate) fn refusal_of(target: &Target, error: OpenError, meaning: fn(&Error) -> Option<Meaning>) -> OpenError {
    match error {
        OpenError::Database(error) => match error.downcast() {
            Ok(error) => refusal(target, *error, meaning),
            Err(other) => OpenError::Database(other),
        },
        other => other,
    }
}

/// Refuses options that the driver would pass over, some of them with their values in the log.
pub(crate) fn check_options(server: &'static str, url: &str, known: &'static [&'static str]) -> Result<(), OpenError> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let keys = query.split('&').filter(|pair| !pair.is_empty());
    // PostgreSQL's settings are written `options[name]=value` too.
    let mut keys = keys.map(|pair| pair.split(['=', '[']).next().unwrap_or_default());
    match keys.find(|key| !known.contains(key)) {
        Some(key) => Err(OpenError::UrlOption {
            server,
            key: key.to_owned(),
            known,
        }),
        None => Ok(()),
    }
}

/// A URL that the driver does not understand. Its words repeat no password.
pub(crate) fn of_url(server: &'static str, scheme: &'static str, error: &Error) -> OpenError {
    let reason = match error {
        Error::Configuration(reason) => reason.to_string(),
        other => other.to_string(),
    };
    OpenError::Url { server, scheme, reason }
}
