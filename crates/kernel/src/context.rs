//! Who asks for a change, within which request, and whether the answer must be remembered.

use std::sync::Arc;

use contracts::{EventId, UserId};
use tokio::sync::OwnedSemaphorePermit;

use crate::event::Actor;

/// What a command carries besides its arguments; it ends up in the metadata of the events it causes.
#[derive(Clone, Debug)]
pub struct Context {
    /// `usr_…`, `service:<name>` or `system`.
    pub actor: Actor,
    /// The request id that everything downstream of it shares.
    pub correlation: Arc<str>,
    /// The event that this answers.
    pub causation: Option<EventId>,
    /// W3C `traceparent`.
    pub trace: Option<Arc<str>>,
    /// The claim on an `Idempotency-Key`, if the request carried one.
    pub claim: Option<Claim>,
    /// The memory that the request's body was given: given back when the command is settled and its caller answered.
    pub room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Context {
    /// What the system does by itself: timers, effects, start-up.
    #[must_use]
    pub fn system(correlation: impl Into<Arc<str>>) -> Self {
        Self {
            actor: "system".into(),
            correlation: correlation.into(),
            causation: None,
            trace: None,
            claim: None,
            room: None,
        }
    }

    /// The context of a request whose answer shows what is known of this person: whoever sends it, the recorded answer
    /// is erased with the person.
    #[must_use]
    pub fn about(mut self, person: UserId) -> Self {
        if let Some(claim) = &mut self.claim {
            claim.principal = person.to_string().into();
        }
        self
    }
}

/// A request's claim on its `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Names the answer: an HMAC over (principal, method, path, key).
    pub id: Arc<str>,
    /// Whose it is (a user id, or an HMAC of an e-mail), so that erasure finds it.
    pub principal: Arc<str>,
    /// HMAC of the request body under the service's stored secret.
    pub fingerprint: Arc<str>,
}
