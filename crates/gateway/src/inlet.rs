//! The request's body on its way in: never more than its limit, and never held here.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Frame, SizeHint};
use kernel::http::BODY_BYTES_MAX;

use crate::Error;

/// What is known of a body that somebody else reads.
#[derive(Clone, Debug)]
pub(crate) struct Inflow(Option<Arc<AtomicU8>>);

const UNREAD: u8 = 0;
const AWAITED: u8 = 1;
const ARRIVED: u8 = 2;
const TOO_LARGE: u8 = 3;

impl Inflow {
    /// Whether somebody waits for the client to send more of it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|state| state.load(Ordering::Relaxed) == AWAITED)
    }

    /// Whether it turned out to be larger than allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|state| state.load(Ordering::Relaxed) == TOO_LARGE)
    }
}

/// Refuses a body that is too large by its own account, and watches one that is not there yet.
pub(crate) fn watch(request: Request) -> Result<(Request, Inflow), Error> {
    let body = request.body();
    if body.is_end_stream() {
        return Ok((request, Inflow(None)));
    }
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Error::BodyTooLarge);
    }
    let state = Arc::new(AtomicU8::new(UNREAD));
    let watched = Arc::clone(&state);
    let request = request.map(|body| {
        Body::new(Watched {
            body: Limited::new(body, BODY_BYTES_MAX),
            state: watched,
        })
    });
    Ok((request, Inflow(Some(state))))
}

struct Watched {
    body: Limited<Body>,
    state: Arc<AtomicU8>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let state = match &polled {
            Poll::Pending => AWAITED,
            Poll::Ready(None) => ARRIVED,
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => ARRIVED,
            Poll::Ready(Some(Ok(_))) => UNREAD,
            Poll::Ready(Some(Err(error))) if error.is::<LengthLimitError>() => TOO_LARGE,
            Poll::Ready(Some(Err(_))) => return polled,
        };
        self.state.store(state, Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
