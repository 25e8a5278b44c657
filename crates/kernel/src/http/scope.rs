//! What the layer knows of a request, for the extractors: its id, its trace, and who calls.

use std::fmt;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;

use super::Kit;
use super::bodies::Bodies;
use super::claim::Sealer;
use super::failure::{Failure, internal};
use crate::auth::Caller;
use crate::clock::Ids;
use crate::context::Context;

/// The header that names a request, in and out.
pub const REQUEST_ID: &str = "x-request-id";
/// W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// A longer request id is replaced by one of ours.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// What all requests of a service share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) kit: Kit,
    pub(crate) sealer: Sealer,
    pub(crate) bodies: Bodies,
}

/// One request; the layer puts it in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) shared: Arc<Shared>,
    pub(crate) request_id: Arc<str>,
    pub(crate) caller: Option<Caller>,
    trace: OnceLock<Arc<str>>,
}

impl Scope {
    pub(crate) fn new(shared: Arc<Shared>, request_id: Arc<str>, headers: &HeaderMap, caller: Option<Caller>) -> Self {
        let trace = traceparent(headers).map_or_else(OnceLock::new, |trace| OnceLock::from(Arc::from(trace)));
        Self {
            shared,
            request_id,
            caller,
            trace,
        }
    }

    /// The scope of a request that went through the layer.
    pub(crate) fn of(parts: &Parts) -> Result<&Self, Failure> {
        parts
            .extensions
            .get()
            .ok_or_else(|| internal("the router was not wrapped by http::serve_with"))
    }

    /// The client's `traceparent`, or one begun here.
    pub(crate) fn trace(&self) -> &Arc<str> {
        self.trace.get_or_init(|| begin_trace(&self.shared.kit.ids))
    }

    /// The context of a change that this request asks for, without a claim.
    pub(crate) fn context(&self) -> Context {
        Context {
            actor: self.caller.map_or_else(|| "anonymous".into(), |caller| caller.actor()),
            correlation: Arc::clone(&self.request_id),
            causation: None,
            trace: Some(Arc::clone(self.trace())),
            claim: None,
            room: None,
        }
    }
}

/// Extractor of the request's id, which its answer carries as `x-request-id`.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Arc::clone(&Scope::of(parts)?.request_id)))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The client's request id if it is a sane one, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap, ids: &Ids, now: impl FnOnce() -> Timestamp) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| is_sane(id)) {
        Some(id) => id.into(),
        None => Arc::from(
            &*ids
                .uuid(now())
                .hyphenated()
                .encode_lower(&mut uuid::Uuid::encode_buffer()),
        ),
    }
}

/// Characters that may stand in a URI's fragment, since problems name their request there (and in logs, unquoted).
fn is_sane(id: &str) -> bool {
    let fits = (1..=REQUEST_ID_CHARS_MAX).contains(&id.len());
    fits && id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/=+@!$&()*,;?".contains(&byte))
}

/// The client's `traceparent`, if it is one.
#[must_use]
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    given.filter(|value| is_traceparent(value))
}

/// Version 00: `00-<trace: 32 hex>-<parent: 16 hex>-<flags: 2 hex>`.
fn is_traceparent(value: &str) -> bool {
    let mut fields = value.split('-');
    let mut field = |length: usize| {
        let field = fields.next().unwrap_or_default();
        let hex = field.len() == length && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then_some(field)
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (field(2), field(32), field(16), field(2)) else {
        return false;
    };
    let all_zero = |field: &str| field.bytes().all(|byte| byte == b'0');
    let well_formed = version == "00" && fields.next().is_none();
    well_formed && !all_zero(trace) && !all_zero(parent)
}

/// A trace that begins here, marked as sampled so that whoever collects traces may decide.
#[must_use]
pub fn begin_trace(ids: &Ids) -> Arc<str> {
    let mut random = [0u8; 24];
    ids.fill(&mut random);
    // An id of zeros alone is invalid.
    random[15] |= 1;
    random[23] |= 1;
    let mut value = *b"00-................................-................-01";
    let digits = (3..35).chain(36..52);
    for (place, nibble) in digits.zip(random.iter().flat_map(|byte| [byte >> 4, byte & 15])) {
        value[place] = b"0123456789abcdef"[usize::from(nibble)];
    }
    std::str::from_utf8(&value)
        .expect("hex digits and hyphens are ASCII")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_is_replaced() {
        let ids = Ids::from_seed(1);
        for sane in ["a", "01h455vb-4pex", "Root=1-67891233-abcdef", "dGVzdA+/=="] {
            assert_eq!(
                &*request_id(&headers(REQUEST_ID, sane), &ids, || Timestamp::UNIX_EPOCH),
                sane
            );
        }
        for insane in ["", "a b", "a\"b", "a#b", "a<b", &"x".repeat(129)] {
            let id = request_id(&headers(REQUEST_ID, insane), &ids, || Timestamp::UNIX_EPOCH);
            assert_eq!(id.len(), 36, "{insane}");
        }
    }

    #[test]
    fn a_traceparent_is_checked_and_ours_is_one() {
        assert!(is_traceparent(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
        assert!(is_traceparent(&begin_trace(&Ids::from_seed(1))));
    }
}
