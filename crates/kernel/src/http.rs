//! The HTTP kit: what every service's routes have in common.
//!
//! A service makes its [`Router`] and has it wrapped by [`serve_with`]. A handler then reads as extract, one call on the
//! facade, map out; what it extracts with the types of this module and of [`crate::auth`] is refused the same everywhere,
//! and what it returns as [`Failure`] is answered as `application/problem+json`.

mod bodies;
mod claim;
mod dead_letters;
pub mod etag;
mod failure;
#[cfg(test)]
mod fixture;
mod journal;
mod json;
mod layer;
pub mod page;
mod path;
mod query;
mod reply;
mod scope;
mod series;
mod write;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use contracts::Code;

use self::bodies::Bodies;
use self::claim::Sealer;
use self::layer::ServiceLayer;
use crate::auth::Verifier;
use crate::clock::{Clock, Ids};
use crate::engine::Engine;
use crate::reaction::Consumers;
use crate::writer;

pub use self::bodies::BODIES_BYTES_MAX;
pub use self::claim::{IDEMPOTENCY_KEY, principal_of_email};
pub use self::etag::IfMatch;
pub use self::failure::{Failure, render};
pub use self::json::{Json, RawBody};
pub use self::layer::{BODY_BYTES_MAX, bearer_token};
pub use self::page::Paging;
pub use self::path::Path;
pub use self::query::Query;
pub use self::reply::{Created, Versioned};
pub use self::scope::{REQUEST_ID, RequestId, TRACEPARENT, begin_trace, request_id, traceparent};
pub use self::series::Series;
pub use self::write::{Command, Empty, Origin, Write};

pub(crate) use self::scope::Scope;

/// What operators see and do of one service: its dead letters, and how far its events have come.
pub fn operations(consumers: &Consumers) -> Router {
    dead_letters::routes(consumers).merge(journal::routes(consumers))
}

/// What the routes of a service need.
#[derive(Clone)]
pub struct Kit {
    /// The service's name, for spans and metrics.
    pub service: &'static str,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Measures, and dates request ids.
    pub clock: Arc<dyn Clock>,
    /// Makes request ids.
    pub ids: Arc<Ids>,
    /// The service's stored secret under which idempotency claims are made. The same for all its replicas, for ever.
    pub idempotency_secret: [u8; 32],
}

impl Kit {
    /// The kit of a service on its engine, with the secret that the service made for itself.
    pub async fn of(engine: &Engine, verifier: &Arc<Verifier>) -> Result<Self, writer::Error> {
        Ok(Self {
            service: engine.service().as_str(),
            verifier: Arc::clone(verifier),
            clock: Arc::clone(engine.clock()),
            ids: Arc::clone(engine.ids()),
            idempotency_secret: engine.secret("idempotency").await?,
        })
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// Wraps a service's routes.
///
/// Each request gets an id (`x-request-id`, on the answer too), a trace, a caller, a limit to its body, a span and
/// metrics. Failures become problems, once; so do panics, unknown paths and wrong methods.
///
/// A [`Caller`](crate::auth::Caller) in the request's extensions, which only code of this process can put there, is
/// believed; else the bearer token is verified.
pub fn serve_with(router: Router, kit: Kit) -> Router {
    let sealer = Sealer::new(&kit.idempotency_secret);
    let bodies = Bodies::new();
    let shared = Arc::new(scope::Shared { kit, sealer, bodies });
    router
        .fallback(async || Failure::from(Code::NotFound))
        .method_not_allowed_fallback(async || Failure::from(Code::MethodNotAllowed))
        .layer(ServiceLayer { shared })
        // Applies the layer now rather than at each request.
        .with_state(())
}
