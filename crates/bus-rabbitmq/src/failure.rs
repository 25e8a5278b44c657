//! What RabbitMQ's errors mean to the port.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use kernel::bus::BusError;
use kernel::wire::MESSAGE_BYTES_MAX;
use lapin::ErrorKind;

/// How long an answer of the broker is waited for.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// As AMQP numbers its replies.
pub(crate) const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
pub(crate) const NOT_ALLOWED: u16 = 530;

/// Why a bus was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be understood. It is not repeated: there may be a password in it.
    #[error(
        "the URL of RabbitMQ is wrong: it has to be like amqp://user:password@host:5672/vhost, or amqps://…, \
         with :, /, @ and % in a name or password written as %3A, %2F, %40 and %25"
    )]
    Url,
    /// Passed over, it might be missed.
    #[error("the URL of RabbitMQ has the option {0}, which there is not: leave it out")]
    Option(String),
    /// It would not do in the name of an exchange.
    #[error("{0:?} cannot begin the names of exchanges and streams: use up to 100 letters, digits, - and _")]
    Prefix(String),
    /// Nobody could be trusted by it.
    #[error("{file} cannot be used as certificates of authorities ({reason}): it has to be PEM")]
    Authorities {
        /// Where they should be.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "RabbitMQ at {address} does not answer ({reason}): check that it runs, and that this machine reaches it under this \
         address"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// Wrong user or password.
    #[error("RabbitMQ at {0} does not let this user in: check the user and the password in the URL")]
    Login(String),
    /// There is none of that name, or it is not for this user.
    #[error(
        "RabbitMQ at {address} has no virtual host {vhost:?} for this user: make it with rabbitmqctl add_vhost and \
         set_permissions, or name another one at the end of the URL"
    )]
    Vhost {
        /// Where.
        address: String,
        /// What the URL says.
        vhost: String,
    },
    /// It may not do what a bus does.
    #[error(
        "RabbitMQ at {address} forbids this user what a bus needs ({reason}): give it the permissions to configure, write and \
         read what begins with {prefix} with rabbitmqctl set_permissions"
    )]
    Permission {
        /// Where.
        address: String,
        /// What it says.
        reason: String,
        /// What the names begin with.
        prefix: String,
    },
    /// It cannot be told who is there.
    #[error(
        "RabbitMQ at {address} cannot be reached over TLS ({reason}): check that it offers TLS on this port, and that its \
         certificate is for this name and of an authority that this machine knows (or that SSL_CERT_FILE names)"
    )]
    Tls {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// Events would not pass.
    #[error(
        "RabbitMQ at {address} takes no messages of {MESSAGE_BYTES_MAX} bytes, which events may have: set max_message_size in its \
         configuration to that or more"
    )]
    MessageSize {
        /// Where.
        address: String,
    },
    /// It has no streams.
    #[error("RabbitMQ at {address} is {version}, older than 3.9: use a newer one")]
    TooOld {
        /// Where.
        address: String,
        /// What it is.
        version: String,
    },
    /// The broker said no.
    #[error("RabbitMQ at {address} cannot be used: {reason}")]
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

/// Why a call to the broker failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{}", words(.0))]
    Broker(#[from] lapin::Error),
    #[error("it does not answer within {ANSWER_MAX:?}")]
    Silent,
}

impl CallError {
    /// The reply of the broker, where it is one: its number in AMQP, and its words.
    pub(crate) fn reply(&self) -> Option<(u16, &str)> {
        match self {
            Self::Broker(error) => reply(error),
            Self::Silent => None,
        }
    }

    /// Whether it is about something that is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.reply(), Some((NOT_FOUND, _)))
    }
}

/// The reply of the broker, where the error is one.
pub(crate) fn reply(error: &lapin::Error) -> Option<(u16, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => Some((reply.get_id(), reply.get_message().as_str())),
        _ => None,
    }
}

/// It may go better in a moment.
impl From<CallError> for BusError {
    fn from(error: CallError) -> Self {
        Self::new(format_args!("RabbitMQ: {error}"))
    }
}

/// What the call gives, if it does so in time.
pub(crate) async fn answered<T>(call: impl Future<Output = lapin::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(ANSWER_MAX, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::Silent),
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
