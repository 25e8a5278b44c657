//! Closing a connection on a client that still sends: it is heard out for a while, or the system would answer its bytes
//! with a reset, which may destroy the refusal that was sent before the client has read it (RFC 9112, section 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client is heard out.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what it sends is read at once, only to be dropped.
const SCRATCH_BYTES: usize = 8 * 1024;

/// A rest of a body that hyper reads by itself after the answer, since it has come along with the headers.
const REST_BYTES_MAX: u64 = 4 * 1024;

/// Whether a request of a connection was answered before its body was read, and the rest is no small matter.
pub(super) type Unread = Arc<AtomicBool>;

/// A request's body that tells when it is dropped before its end.
#[derive(Debug)]
pub(super) struct Heard {
    body: Incoming,
    has_ended: bool,
    unread: Unread,
}

impl Heard {
    pub(super) fn new(body: Incoming, unread: Unread) -> Self {
        let has_ended = body.is_end_stream();
        Self {
            body,
            has_ended,
            unread,
        }
    }
}

impl Body for Heard {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.has_ended |= matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if !self.has_ended && self.body.size_hint().upper().is_none_or(|rest| rest > REST_BYTES_MAX) {
            self.unread.store(true, Ordering::Relaxed);
        }
    }
}

/// A connection that is closed so.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    unread: Unread,
    /// Set once our side is closed, if the client is to be heard out.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S, unread: Unread) -> Self {
        Self {
            stream,
            unread,
            until: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let until = match &mut this.until {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                if !this.unread.load(Ordering::Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                this.until.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        loop {
            if until.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = [MaybeUninit::uninit(); SCRATCH_BYTES];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            // Its end, or that it is gone: either is what is waited for.
            if ready!(Pin::new(&mut this.stream).poll_read(context, &mut scratch)).is_err()
                || scratch.filled().is_empty()
            {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
