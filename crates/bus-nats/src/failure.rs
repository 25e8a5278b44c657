//! What NATS's errors mean to the port.

use std::error::Error;
use std::fmt::Write as _;

use kernel::bus::BusError;
use kernel::wire::MESSAGE_BYTES_MAX;

/// Why a bus was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be understood. It is not repeated: there may be a password in it.
    #[error(
        "the URL of NATS is wrong: it has to be like nats://user:password@host:4222, or tls://…, \
         with :, /, @ and % in a name or password written as %3A, %2F, %40 and %25"
    )]
    Url,
    /// It would not do in the name of a stream.
    #[error("{0:?} cannot begin the names of streams: use letters, digits, - and _")]
    Prefix(String),
    /// Nobody answers.
    #[error(
        "NATS at {address} does not answer ({reason}): check that it runs, and that this machine reaches it under this \
         address"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// Wrong user, password or token.
    #[error("NATS at {0} does not let this user in: check the user and the password in the URL")]
    Login(String),
    /// It cannot be told who is there.
    #[error(
        "NATS at {address} cannot be reached over TLS ({reason}): check that it offers TLS, and that its certificate is for \
         this name and of an authority that this machine knows (or that SSL_CERT_FILE names)"
    )]
    Tls {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// Core NATS keeps nothing.
    #[error(
        "NATS at {0} has no JetStream for this user, which keeps events: start nats-server with -js (jetstream {{}} in its \
         configuration), and enable it for the user's account"
    )]
    NoJetStream(String),
    /// Events would not pass.
    #[error(
        "NATS at {address} takes messages of up to {bytes_max} bytes, and events have up to {MESSAGE_BYTES_MAX}: set max_payload \
         in its configuration to that or more"
    )]
    Payload {
        /// Where.
        address: String,
        /// The server's limit.
        bytes_max: usize,
    },
    /// JetStream is not what it must be.
    #[error("NATS at {address} is {version}, older than 2.9: use a newer one")]
    TooOld {
        /// Where.
        address: String,
        /// What it is.
        version: String,
    },
    /// The server said no.
    #[error("NATS at {address} cannot be used: {reason}")]
    Server {
        /// Where.
        address: String,
        /// In its words.
        reason: String,
    },
}

impl OpenError {
    /// Whether nobody answered, which may pass by itself. All else waits for somebody to mend it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// With the reasons behind it, which the driver's errors leave out of their words.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            write!(words, ": {inner_words}").expect("a text takes more text");
        }
        source = inner.source();
    }
    words
}

/// It may go better in a moment.
pub(crate) fn unavailable(error: impl Error) -> BusError {
    BusError::new(words(&error))
}
