//! The seam between the gateway and the services: a request goes in, an answer comes out, wherever the service runs.

use std::borrow::Cow;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower::Service as _;

use crate::Error;
use crate::pool::Pool;

/// Where one service answers.
///
/// Whatever kind it is, a request arrives there as the gateway hands it over: with `x-request-id` and `traceparent` set,
/// with no more than [`BODY_BYTES_MAX`](kernel::http::BODY_BYTES_MAX) bytes of body, and without any header that speaks
/// of other clients. An answer that never comes is the gateway's business, as are its limits and its headers.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The service runs in this process. Its router is called as the tower service that it is, and finds the
    /// [`Caller`](kernel::auth::Caller) whose token the gateway has verified among the request's extensions.
    InProcess(Router),
    /// The service runs elsewhere, and verifies tokens itself.
    Elsewhere(Pool),
}

impl Upstream {
    /// Asks the service. An `Err` means that there is no answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Response, Error> {
        match self {
            Self::InProcess(router) => {
                let Ok(response) = router.clone().call(request).await;
                Ok(response)
            }
            Self::Elsewhere(pool) => Box::pin(pool.call(request)).await,
        }
    }

    /// For the readiness report.
    pub(crate) fn state(&self) -> Cow<'static, str> {
        match self {
            Self::InProcess(_) => "in-process".into(),
            Self::Elsewhere(pool) => {
                let (up, all) = pool.counts();
                format!("{up} of {all} up").into()
            }
        }
    }
}

impl From<Pool> for Upstream {
    fn from(pool: Pool) -> Self {
        Self::Elsewhere(pool)
    }
}

impl From<Router> for Upstream {
    fn from(router: Router) -> Self {
        Self::InProcess(router)
    }
}
