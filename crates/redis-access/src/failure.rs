//! What Redis's errors mean to whoever wants to reach it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use redis::{RedisError, ServerError};

/// Why a Redis is not reached.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The URL cannot be understood. It is not repeated: there may be a password in it.
    #[error(
        "the URL of Redis is wrong: it has to be like redis://user:password@host:6379/0, or rediss://…, \
         with :, /, ?, @ and % in a name or password written as %3A, %2F, %3F, %40 and %25"
    )]
    Url,
    /// It asks for something that there is not.
    #[error("the URL of Redis has an option {0}, which is not known: cacert is, for rediss://")]
    UrlOption(String),
    /// Nobody would vouch for anything.
    #[error("the URL of Redis names authorities (cacert), and asks for no TLS: write rediss:// for redis://")]
    NoTls,
    /// It would not do in the name of a key.
    #[error("{0:?} cannot begin the names of keys: use letters, digits, - and _")]
    Prefix(String),
    /// The file of authorities is of no use.
    #[error("the certificates of authorities in {path} cannot be used: {reason}", path = path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "Redis at {address} does not answer ({reason}): check that it runs, that this machine reaches it under this \
         address, and that it wants TLS if the URL does (rediss://), and none if not (redis://)"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// Wrong user or password, or none.
    #[error("Redis at {0} does not let this user in: check the user and the password in the URL")]
    Login(String),
    /// It cannot be told who is there.
    #[error(
        "Redis at {address} cannot be reached over TLS ({reason}): check that it offers TLS, and that its certificate is for \
         this name and of an authority that this machine knows (or that cacert in the URL names)"
    )]
    Tls {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// There are fewer databases.
    #[error(
        "Redis at {address} has no database {database}: use a smaller number at the end of the URL, or set databases"
    )]
    Database {
        /// Where.
        address: String,
        /// Which was asked for.
        database: u16,
    },
    /// The server said no.
    #[error("Redis at {address} cannot be used: {reason}")]
    Server {
        /// Where.
        address: String,
        /// In its words.
        reason: String,
    },
}

impl AccessError {
    /// Whether nobody answered, which may pass by itself. All else waits for somebody to mend it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Whether it went wrong where the two agree on TLS, which may look like any other trouble with the connection.
pub(crate) fn is_about_tls(error: &RedisError) -> bool {
    // The client hands its causes out as it holds them.
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let inside = cause.and_then(|cause| cause.downcast_ref::<io::Error>()?.get_ref());
    inside.is_some_and(|inside| inside.is::<rustls::Error>()) || cause.is_some_and(|cause| cause.is::<rustls::Error>())
}

/// What the server said; of several commands, of the first that it refused.
fn said(error: &RedisError) -> Option<ServerError> {
    let errors = error.clone().into_server_errors()?;
    errors.first().map(|(_, error)| error.clone())
}

/// The word that its refusal begins with.
#[must_use]
pub fn code(error: &RedisError) -> Option<String> {
    said(error).map(|said| said.code().to_owned())
}

/// In the server's words, if it said anything.
#[must_use]
pub fn words(error: &RedisError) -> String {
    match said(error) {
        Some(said) => format!("{} {}", said.code(), said.details().unwrap_or_default()),
        None => error.to_string(),
    }
}
