//! What goes wrong with Kafka, and what that means to the port.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kernel::bus::BusError;

/// Why a bus was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be understood. It is not repeated: there may be a password in it.
    #[error(
        "the URL of Kafka is wrong: it has to be like kafka://user:password@host:9092, or kafka+ssl://…, \
         with :, /, @ and % in a name or password written as %3A, %2F, %40 and %25"
    )]
    Url,
    /// There is none.
    #[error("the URL of Kafka has an option {0:?}: there are none")]
    Option(String),
    /// It would not do in the name of a topic.
    #[error("{0:?} cannot begin the names of topics: use letters, digits, - and _, at most 100 of them")]
    Prefix(String),
    /// The file of authorities is of no use.
    #[error("the certificates of authorities cannot be read ({0}): name a file of PEM, with certificates in it")]
    Authorities(String),
    /// Nobody answers.
    #[error(
        "Kafka at {address} does not answer ({reason}): check that it runs, that this machine reaches it under this \
         address, and that its listener there does not want TLS (kafka+ssl://)"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// The first broker answers, and those that it names do not.
    #[error(
        "Kafka at {address} says that its brokers are to be reached at {advertised}, where nobody answers ({reason}): \
         set advertised.listeners in its configuration to an address that this machine reaches"
    )]
    Advertised {
        /// Who says so.
        address: String,
        /// What it says.
        advertised: String,
        /// What happened there.
        reason: String,
    },
    /// Wrong user or password.
    #[error("Kafka at {0} does not let this user in: check the user and the password in the URL")]
    Login(String),
    /// Nobody comes in without one, or nobody with one.
    #[error("Kafka at {address} {reason}: {remedy}")]
    Mechanism {
        /// Where.
        address: String,
        /// What it wants, or does not know.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It cannot be told who is there.
    #[error(
        "Kafka at {address} cannot be reached over TLS ({reason}): check that it offers TLS, and that its certificate is \
         for this name and of an authority that this machine knows (or that SSL_CERT_FILE names)"
    )]
    Tls {
        /// Where.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// It does not know what is said to it.
    #[error("Kafka at {address} does not know {unknown}: use a broker of Kafka 3.1 or newer")]
    TooOld {
        /// Where.
        address: String,
        /// A request and its version.
        unknown: String,
    },
    /// It said no.
    #[error("Kafka at {address} cannot be used: {reason}")]
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

/// Why a call had no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection ended, or was not made.
    #[error("{0}")]
    Lost(String),
    #[error("there was no answer within {0:?}")]
    Silent(Duration),
    #[error("the server's certificate or its TLS is not as it must be: {0}")]
    Tls(String),
    #[error("the user is not let in")]
    Login,
    /// The mechanisms that the broker has.
    #[error("the broker knows other ways to log in: {0}")]
    Mechanism(String),
    #[error("the broker wants a user and a password")]
    LoginWanted,
    #[error("the broker knows no users and passwords")]
    LoginUnwanted,
    #[error("the broker does not know {0}")]
    Unknown(String),
    #[error("{what}: {code}")]
    Refused { what: String, code: ResponseError },
}

impl Failure {
    pub(crate) fn refused(what: impl Into<String>, code: ResponseError) -> Self {
        Self::Refused {
            what: what.into(),
            code,
        }
    }

    /// Of a bus that is not open yet.
    pub(crate) fn at(self, address: &str) -> OpenError {
        let address = address.to_owned();
        match self {
            Self::Lost(reason) => OpenError::Unreachable { address, reason },
            Self::Silent(_) => OpenError::Unreachable {
                address,
                reason: self.to_string(),
            },
            Self::Tls(reason) => OpenError::Tls { address, reason },
            Self::Login => OpenError::Login(address),
            Self::Mechanism(known) => OpenError::Mechanism {
                address,
                reason: format!("knows no way to log in but {known}"),
                remedy: "enable SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN for its listener",
            },
            Self::LoginWanted => OpenError::Mechanism {
                address,
                reason: "lets nobody in without a user and a password".to_owned(),
                remedy: "put them into the URL, kafka://user:password@host:9092",
            },
            Self::LoginUnwanted => OpenError::Mechanism {
                address,
                reason: "knows no users and passwords on this listener".to_owned(),
                remedy: "leave them out of the URL, or name the port of a listener with SASL",
            },
            Self::Unknown(unknown) => OpenError::TooOld { address, unknown },
            Self::Refused { .. } => OpenError::Server {
                address,
                reason: self.to_string(),
            },
        }
    }
}

impl From<Failure> for BusError {
    /// It may go better in a moment.
    fn from(failure: Failure) -> Self {
        Self::new(failure)
    }
}

/// Nothing, or what a broker refuses.
pub(crate) fn done(what: &str, code: i16) -> Result<(), Failure> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(Failure::refused(what, code)),
    }
}
