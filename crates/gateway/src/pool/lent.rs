//! A body that can be had back for as long as nobody has begun to read it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

type Shelf = Arc<Mutex<Option<Body>>>;

/// Who gets it back.
pub(super) struct Lender(Shelf);

/// The body, as it is sent.
pub(super) struct Lent {
    shelf: Shelf,
    /// Once reading has begun.
    taken: Option<Body>,
    size: SizeHint,
    is_empty: bool,
}

impl Lender {
    pub(super) fn of(body: Body) -> (Self, Lent) {
        let (size, is_empty) = (body.size_hint(), body.is_end_stream());
        let shelf = Arc::new(Mutex::new(Some(body)));
        let lent = Lent {
            shelf: Arc::clone(&shelf),
            taken: None,
            size,
            is_empty,
        };
        (Self(shelf), lent)
    }

    /// The body, if nothing of it was read.
    pub(super) fn back(self) -> Option<Body> {
        take(&self.0)
    }
}

fn take(shelf: &Shelf) -> Option<Body> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.taken.is_none() {
            self.taken = take(&self.shelf);
        }
        match &mut self.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.as_ref().map_or(self.is_empty, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.as_ref().map_or_else(|| self.size, Body::size_hint)
    }
}
