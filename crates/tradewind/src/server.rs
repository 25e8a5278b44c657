//! The HTTP server: accepts connections, and finishes what was accepted when told to stop.

mod linger;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::ConnectInfo;
use gateway::FrontDoor;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use self::linger::{Heard, Lingering, Unread};

/// Connections open at once, live streams among them; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// Open files besides connections: stores, the ledger, the log.
const OTHER_FILES_MAX: usize = 512;
/// How long a client may take to send its headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may leave an answer, or a stream, unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take to finish when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A pause after an accept that failed (descriptors exhausted), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address that is listened on, and how many connections there is room for.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    connections_max: usize,
}

impl Listener {
    /// Binds, with a clear error if the address is taken.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let bound = TcpListener::bind(address).await;
        let tcp = bound.with_context(|| format!("cannot listen on {address}; choose another with TRADEWIND_LISTEN"))?;
        Ok(Self {
            tcp,
            connections_max: raise_connections_max(),
        })
    }

    /// The address, with the port that was free if none was asked for.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.tcp.local_addr()?)
    }
}

/// Serves until told to stop, then lets the requests under way finish.
pub async fn serve(listener: Listener, door: FrontDoor, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(listener.connections_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener.tcp, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let door = door.clone();
        let unread = Unread::default();
        let stream = Lingering::new(with_write_timeout(stream), Unread::clone(&unread));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let unread = Unread::clone(&unread);
            let answered = door
                .clone()
                .call(request.map(|body| Heard::new(body, Unread::clone(&unread))));
            async move {
                let mut answer = answered.await?;
                if unread.load(Ordering::Relaxed) {
                    // What is left of this request is not told from the next one, so there must be none.
                    answer
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut http = http1::Builder::new();
        // Without `pipeline_flush`: it would lose a refusal that was written before the rest of the body was read.
        http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that breaks off is its own affair; its command finishes in the writer.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(DRAIN_TIMEOUT) => tracing::warn!("some requests did not finish in time"),
    }
}

/// Raises the limit on open files as far as need be and may be, and says how many connections it leaves room for.
fn raise_connections_max() -> usize {
    let wanted = CONNECTIONS_MAX + OTHER_FILES_MAX;
    let files = match rlimit::increase_nofile_limit(wanted as u64) {
        Ok(files) => usize::try_from(files).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            return CONNECTIONS_MAX;
        }
    };
    let connections = files.saturating_sub(OTHER_FILES_MAX).clamp(1, CONNECTIONS_MAX);
    if connections < CONNECTIONS_MAX {
        tracing::warn!(
            connections,
            "the limit of {files} open files leaves room for few connections; raise it (ulimit -n) to {wanted}"
        );
    }
    connections
}

/// Fails once a write has stood still for too long, so that who reads nothing is cut off.
fn with_write_timeout<S: AsyncRead + AsyncWrite>(stream: S) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Small answers must not wait for the acknowledgement of earlier ones.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_cut_off_and_a_slow_one_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let slow = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            for _ in 0..10 {
                tokio::time::sleep(WRITE_TIMEOUT / 2).await;
                theirs.read_exact(&mut buffer).await.expect("it is written");
            }
            theirs
        });
        let mut ours = Lingering::new(with_write_timeout(ours), Unread::default());
        ours.write_all(&[7; 11 * 1024]).await.expect("somebody reads");
        let _reads_no_more = slow.await.expect("it reads ten times");
        let began = tokio::time::Instant::now();
        let error = ours.write_all(&[7; 1]).await.expect_err("nobody reads");
        assert_eq!(
            (error.kind(), began.elapsed()),
            (std::io::ErrorKind::TimedOut, WRITE_TIMEOUT)
        );
    }
}
