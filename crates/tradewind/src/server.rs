//! The HTTP server: accepts connections, and finishes what was accepted when told to stop.

mod linger;

use std::convert::Infallible;
use std::net::SocketAddr;
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
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use self::linger::{Heard, Lingering, Unread};

/// Connections open at once; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 8192;
/// How long a client may take to send its headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take to finish when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A pause after an accept that failed (descriptors exhausted), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds, with a clear error if the address is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another with TRADEWIND_LISTEN"))
}

/// Serves until told to stop, then lets the requests under way finish.
pub async fn serve(listener: TcpListener, door: FrontDoor, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let connections = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let door = door.clone();
        let unread = Unread::default();
        let stream = Lingering::new(stream, Unread::clone(&unread));
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

async fn accept(
    listener: &TcpListener,
    connections: &std::sync::Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = std::sync::Arc::clone(connections).acquire_owned().await.ok()?;
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
