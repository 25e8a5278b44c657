//! Errors on their way out: a problem, and the cause that only the log sees.

use std::fmt;

use axum::response::{IntoResponse, Response};
use contracts::{Code, Problem};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{StatusCode, Uri};

/// What handlers and extractors return as error: `Result<_, Failure>`. Anything that becomes a [`Problem`] becomes one
/// with `?`.
///
/// It does not render itself: the layer of [`serve_with`] does, once, with the request's id, and logs it there.
///
/// [`serve_with`]: super::serve_with
#[derive(Clone)]
pub struct Failure {
    problem: Box<Problem>,
    cause: Option<Box<str>>,
}

impl Failure {
    /// What the client will see.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The same with a cause for the log. Only for causes that hold nothing of a person.
    #[must_use]
    pub(super) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }
}

/// The error's own words are kept for the log if it is our fault (5xx); the client sees only the problem.
impl<E: Into<Problem> + fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        let cause = error.to_string();
        let problem = Box::new(error.into());
        let cause = (problem.status() >= 500).then(|| cause.into());
        Self { problem, cause }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.problem.code)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = status(&self.problem).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A fault of ours: 500, with the cause in the log.
pub(crate) fn internal(cause: impl Into<Box<str>>) -> Failure {
    Failure {
        problem: Box::new(Code::Internal.into()),
        cause: Some(cause.into()),
    }
}

/// 422 `invalid` for one field of the body, or for one header.
pub(crate) fn invalid(field: &str, message: impl fmt::Display) -> Failure {
    Problem::invalid(field, message).into()
}

/// The path of the field that serde speaks of: where it names one only in its words, the path of the object goes on.
pub(super) fn field_path(path: &str, words: &str) -> String {
    let path = if path == "." { "" } else { path };
    let named = words
        .strip_prefix("missing field `")
        .or_else(|| words.strip_prefix("duplicate field `"));
    match named.and_then(|rest| rest.split('`').next()) {
        Some(field) if path.is_empty() => field.to_owned(),
        Some(field) => format!("{path}.{field}"),
        None => path.to_owned(),
    }
}

/// Writes the failure that a response carries, if it does, and logs it inside the request's span.
///
/// The layer of [`serve_with`](super::serve_with) does this for services; the gateway does for its own refusals.
/// `token_refused` says that a token came along and was no good.
#[must_use]
pub fn render(mut response: Response, uri: &Uri, request_id: &str, token_refused: bool) -> Response {
    let Some(Failure { mut problem, cause }) = response.extensions_mut().remove::<Failure>() else {
        return response;
    };
    let code = problem.code.as_str();
    let cause = cause.as_deref().unwrap_or_default();
    if problem.status() >= 500 {
        if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(code, cause, "the request has to wait");
        } else {
            tracing::error!(code, cause, "the request failed");
        }
        // The client learns what to do and which request to name, and nothing of the inside.
        *problem = Problem {
            retry_after: problem.retry_after,
            ..Problem::new(problem.code)
        };
    } else {
        tracing::debug!(code, cause, "the request was refused");
    }
    problem.instance = Some(format!("{}#{request_id}", uri.path()).into());
    let body = serde_json::to_vec(&problem).expect("a problem serialises");
    *response.body_mut() = body.into();
    *response.status_mut() = status(&problem);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(contracts::problem::CONTENT_TYPE));
    if let Some(seconds) = problem.retry_after_seconds() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if problem.status() == StatusCode::UNAUTHORIZED {
        // RFC 6750, section 3: the error is named only when a token was sent.
        let challenge = if token_refused {
            r#"Bearer error="invalid_token""#
        } else {
            "Bearer"
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
