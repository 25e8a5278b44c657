//! The load generator: connections, each sending its next request when the last was answered, or at its time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::body::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::stopwatch::now;

/// The longest latency that is told from longer ones, in microseconds.
const LATENCY_MAX: u64 = 60_000_000;

/// Makes the requests: the how many-th it is, over all connections.
pub type Shots = Arc<dyn Fn(u64) -> http::Request<Full<Bytes>> + Send + Sync>;

/// How fast to ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it is answered.
    Flat,
    /// So many requests a second, whether it is answered or not.
    Rate(f64),
}

/// What to do.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// Connections, each with one request at a time.
    pub connections: u32,
    /// How fast.
    pub pace: Pace,
    /// How long it goes on before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub duration: Duration,
    /// The requests.
    pub shots: Shots,
}

/// What came back.
#[derive(Debug)]
pub struct Answered {
    /// Requests answered with success, in the time that counts.
    pub requests: u64,
    /// That time, in seconds.
    pub seconds: f64,
    /// Microseconds. At a rate, from when a request was due; flat, corrected for the requests that a slow answer kept
    /// from being made (coordinated omission).
    pub latency: Histogram<u64>,
    /// Other answers by their status, and one of them in words.
    pub refused: BTreeMap<u16, (u64, String)>,
    /// All requests with success, those of the warm-up among them.
    pub accepted: u64,
}

impl Answered {
    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "a number of requests below 2^53")]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Requests that were not answered with success.
    pub fn refusals(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// The latency in milliseconds that this part of the requests did not exceed.
    pub fn milliseconds(&self, quantile: f64) -> f64 {
        milliseconds(&self.latency, quantile)
    }
}

/// Microseconds up to a minute, to three digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("these bounds are in order")
}

/// The latency in milliseconds that this part of them did not exceed.
#[expect(clippy::cast_precision_loss, reason = "a latency below 2^53 microseconds")]
pub fn milliseconds(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1000.0
}

/// What all connections put together.
struct Sum {
    latency: Histogram<u64>,
    refused: BTreeMap<u16, (u64, String)>,
    accepted: u64,
    last: Instant,
    sent: u64,
}

impl Load {
    /// Runs it to its end.
    pub async fn run(self) -> Result<Answered> {
        let began = now();
        let counts_from = began + self.warm_up;
        let ends = counts_from + self.duration;
        let sum = Arc::new(Mutex::new(Sum {
            latency: latencies(),
            refused: BTreeMap::new(),
            accepted: 0,
            last: counts_from,
            sent: 0,
        }));
        let mut connections = tokio::task::JoinSet::new();
        for number in 0..self.connections {
            let due = match self.pace {
                Pace::Flat => None,
                Pace::Rate(rate) => {
                    let interval = Duration::from_secs_f64(f64::from(self.connections) / rate);
                    let first = began + interval.mul_f64(f64::from(number) / f64::from(self.connections));
                    Some((first, interval))
                }
            };
            let connection = Connection {
                address: self.address,
                due,
                counts_from,
                ends,
                shots: Arc::clone(&self.shots),
                sum: Arc::clone(&sum),
            };
            connections.spawn(connection.go_on());
        }
        while let Some(ended) = connections.join_next().await {
            ended??;
        }
        let sum = Arc::into_inner(sum).context("every connection has ended")?;
        let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        let requests = sum.latency.len();
        if requests == 0 {
            bail!("no request was answered with success: {:?}", sum.refused);
        }
        let seconds = sum.last.duration_since(counts_from).as_secs_f64();
        let latency = match self.pace {
            Pace::Rate(_) => sum.latency,
            Pace::Flat => {
                let interval = seconds * 1e6 * f64::from(self.connections);
                sum.latency.clone_correct(per(interval, requests))
            }
        };
        Ok(Answered {
            requests,
            seconds,
            latency,
            refused: sum.refused,
            accepted: sum.accepted,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds, of a bench's length at most"
)]
fn per(microseconds: f64, requests: u64) -> u64 {
    (microseconds / requests as f64) as u64
}

struct Connection {
    address: SocketAddr,
    /// When its next request is, and how long after that the one after.
    due: Option<(Instant, Duration)>,
    counts_from: Instant,
    ends: Instant,
    shots: Shots,
    sum: Arc<Mutex<Sum>>,
}

impl Connection {
    async fn go_on(mut self) -> Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        loop {
            let begins = self.next().await;
            if begins >= self.ends {
                break;
            }
            let number = {
                let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
                sum.sent += 1;
                sum.sent
            };
            let response = sender.send_request((self.shots)(number)).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            self.note(begins, status, &body);
        }
        drop(sender);
        connection.await??;
        Ok(())
    }

    /// When the next request begins, once it does.
    async fn next(&mut self) -> Instant {
        let Some((due, interval)) = &mut self.due else {
            return now();
        };
        let begins = *due;
        *due += *interval;
        if begins > now() {
            tokio::time::sleep_until(begins.into()).await;
        }
        begins
    }

    fn note(&self, begins: Instant, status: http::StatusCode, body: &Bytes) {
        let ended = now();
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        if !status.is_success() {
            let (count, _) = sum
                .refused
                .entry(status.as_u16())
                .or_insert_with(|| (0, String::from_utf8_lossy(body).into_owned()));
            *count += 1;
            return;
        }
        sum.accepted += 1;
        if begins < self.counts_from {
            return;
        }
        let latency = u64::try_from(ended.duration_since(begins).as_micros()).unwrap_or(LATENCY_MAX);
        sum.latency.saturating_record(latency.max(1));
        sum.last = sum.last.max(ended);
    }
}

/// The body that one request is answered with.
pub async fn answer(address: SocketAddr, request: http::Request<Full<Bytes>>) -> Result<Bytes> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("the bench was answered with {}", response.status());
    }
    Ok(response.into_body().collect().await?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection's requests one after another, every hundredth after 200 ms.
    async fn stalls() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = std::sync::atomic::AtomicU32::new(0);
                let service = hyper::service::service_fn(move |_| {
                    let stall = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 100 == 99;
                    async move {
                        if stall {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                        }
                        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from_static(b"x"))))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    fn load(address: SocketAddr, pace: Pace) -> Load {
        Load {
            address,
            connections: 1,
            pace,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(2),
            shots: Arc::new(|_| http::Request::new(Full::default())),
        }
    }

    #[tokio::test]
    async fn a_request_that_a_stall_kept_from_being_made_counts_as_slow() {
        let address = stalls().await;
        // 200 a second: after 100 of them, 500 ms, come 200 ms in which 40 more are due.
        let answered = load(address, Pace::Rate(200.0)).run().await.expect("it answers");
        let [usual, stalled] = [0.25, 0.75].map(|part| answered.milliseconds(part));
        assert!(stalled > 20.0 && usual < stalled / 2.0, "{usual} and {stalled}");
    }

    #[tokio::test]
    async fn refusals_are_no_requests() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let router = axum::Router::new().fallback(async || (http::StatusCode::TOO_MANY_REQUESTS, "no"));
            axum::serve(listener, router).await
        });
        let error = load(address, Pace::Flat).run().await.expect_err("all were refused");
        assert!(error.to_string().contains("429"), "{error}");
    }
}
