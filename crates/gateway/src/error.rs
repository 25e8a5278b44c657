//! Why the gateway has no answer to pass on.

use std::time::Duration;

use contracts::{Code, Problem, Service};

/// Why the gateway has no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The deployment lacks the service.
    #[error("no upstream is configured for {0}")]
    NoUpstream(Service),
    /// No replica of the service answers. One that was asked may have done what it was asked for.
    #[error("no replica of {service} answers: {reason}")]
    Unanswered {
        /// Which service.
        service: Service,
        /// For the log.
        reason: String,
    },
    /// The service took too long. It may still do what it was asked for.
    #[error("{path} did not begin to answer within {limit:?}")]
    Silent {
        /// The row of the routing table.
        path: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The client took too long to send the body.
    #[error("the body did not arrive within {0:?}")]
    SlowBody(Duration),
    /// The client sent more than 1 MiB.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The service answered with something else than was asked for.
    #[error("{service} did not answer with a list of dead letters: {reason}")]
    Garbled {
        /// Which service.
        service: Service,
        /// For the log.
        reason: String,
    },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NoUpstream(_) | Error::Unanswered { .. } | Error::Silent { .. } => Code::UpstreamUnavailable.into(),
            Error::SlowBody(_) => Code::RequestTimeout.into(),
            Error::BodyTooLarge => Code::BodyTooLarge.into(),
            Error::Garbled { .. } => Code::Internal.into(),
        }
    }
}
