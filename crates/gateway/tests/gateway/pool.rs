//! Replicas of a service that run elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get};
use contracts::Service;
use futures::future::join_all;
use gateway::{BaseUrl, Pool};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use kernel::clock::SystemClock;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

/// How long the pool may take to see what became of a replica.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// A service that counts what it is asked for, and answers with the body that it was sent.
struct Elsewhere {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Elsewhere {
    async fn start(at: &str) -> Self {
        Self::answering(at, StatusCode::OK, StatusCode::OK).await
    }

    /// With this to the question whether it is ready, and with that to all others.
    async fn answering(at: &str, ready: StatusCode, others: StatusCode) -> Self {
        Self::saying(at, (ready, String::new()), others).await
    }

    /// On the journal of this life.
    async fn on(journal: u128) -> Self {
        let said =
            json!({"status": "ready", "journals": {"orders": Uuid::from_u128(journal), "users": Uuid::from_u128(9)}});
        Self::saying("127.0.0.1:0", (StatusCode::OK, said.to_string()), StatusCode::OK).await
    }

    async fn saying(at: &str, ready: (StatusCode, String), others: StatusCode) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let echo = move |headers: HeaderMap, body: String| {
            counted.fetch_add(1, Ordering::Relaxed);
            let seen = headers.contains_key("accept-encoding") || headers.contains_key("x-private");
            async move {
                (
                    others,
                    [
                        ("x-seen", seen.to_string()),
                        ("connection", "x-hop".to_owned()),
                        ("x-hop", "1".to_owned()),
                    ],
                    body,
                )
            }
        };
        let ready = get(move || async move { ready.clone() });
        let router = Router::new().route("/readyz", ready).fallback(any(echo));
        Self {
            address: listener.local_addr().unwrap(),
            asked,
            serving: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn pool(addresses: &[SocketAddr]) -> Pool {
    let bases = addresses
        .iter()
        .map(|address| format!("http://{address}").parse::<BaseUrl>().unwrap());
    Pool::new(Service::Orders, bases.collect(), Arc::new(SystemClock::new()))
}

/// A port that nobody listens on.
fn nobody() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // Where it is listened on later, this one is still there.
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

/// Waits until so many replicas are asked.
async fn until_asked(pool: &Pool, count: usize) {
    let deadline = Instant::now() + SEEN_MAX;
    while pool.counts().0 != count {
        assert!(Instant::now() < deadline, "it has {:?}", pool.counts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn request(method: Method, body: &'static str) -> Request {
    Request::builder()
        .method(method)
        .uri("/api/orders?limit=2")
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn replicas_are_asked_in_turn_and_bodies_pass() {
    let (one, two) = (
        Elsewhere::start("127.0.0.1:0").await,
        Elsewhere::start("127.0.0.1:0").await,
    );
    let pool = pool(&[one.address, two.address]);
    for _ in 0..10 {
        let answer = pool.call(request(Method::POST, "hello")).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"hello");
    }
    assert_eq!((one.asked(), two.asked()), (5, 5));
}

#[tokio::test]
async fn what_is_for_the_next_hop_goes_no_further() {
    let one = Elsewhere::start("127.0.0.1:0").await;
    let mut asked = request(Method::GET, "");
    for (name, value) in [
        ("connection", "x-private"),
        ("x-private", "1"),
        ("accept-encoding", "gzip"),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = pool(&[one.address]).call(asked).await.unwrap();
    assert_eq!(answer.headers()["x-seen"], "false");
    assert!(!answer.headers().contains_key("x-hop") && !answer.headers().contains_key("connection"));
}

#[tokio::test]
async fn what_did_not_leave_is_sent_to_another_replica_whatever_it_is() {
    let one = Elsewhere::start("127.0.0.1:0").await;
    let nobody = nobody();
    let pool = pool(&[nobody.local_addr().unwrap(), one.address]);
    for number in 0..6 {
        let answer = pool.call(request(Method::POST, "hello")).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"hello", "request {number}");
    }
    assert_eq!(one.asked(), 6);
    assert_eq!(pool.counts(), (1, 2));
}

/// A replica that hangs up without an answer, on everything but the question whether it is ready.
async fn rude() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let count = stream.read(&mut read).await.unwrap_or(0);
                match read[..count].starts_with(b"GET /readyz") {
                    true => drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await),
                    false => drop(counted.fetch_add(1, Ordering::Relaxed)),
                }
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn what_only_asks_is_repeated_elsewhere_and_what_changes_something_is_not() {
    let one = Elsewhere::start("127.0.0.1:0").await;
    let (rude, hung_up) = rude().await;
    for _ in 0..4 {
        let answer = pool(&[rude, one.address]).call(request(Method::GET, "")).await;
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!((hung_up.load(Ordering::Relaxed), one.asked()), (4, 4));
    let refused = pool(&[rude, one.address]).call(request(Method::POST, "pay")).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("no replica of orders answers"), "{said}");
    assert_eq!(one.asked(), 4, "it may have been done already");
}

#[tokio::test]
async fn a_replica_that_is_back_is_asked_again_before_a_client_has_to_try_it() {
    let socket = nobody();
    let away = socket.local_addr().unwrap();
    let one = Elsewhere::start("127.0.0.1:0").await;
    let pool = pool(&[away, one.address]);
    for _ in 0..4 {
        pool.call(request(Method::GET, "")).await.unwrap();
    }
    assert_eq!(pool.counts(), (1, 2));
    drop(socket);
    let back = Elsewhere::start(&away.to_string()).await;
    until_asked(&pool, 2).await;
    for _ in 0..4 {
        pool.call(request(Method::GET, "")).await.unwrap();
    }
    assert_eq!(back.asked(), 2);
    // One that has gone is left out again, at no client's cost.
    back.serving.abort();
    for _ in 0..10 {
        pool.call(request(Method::GET, "")).await.unwrap();
    }
}

#[tokio::test]
async fn a_replica_that_is_not_ready_is_asked_for_nothing() {
    let unready = Elsewhere::answering("127.0.0.1:0", StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK).await;
    let one = Elsewhere::start("127.0.0.1:0").await;
    let pool = pool(&[unready.address, one.address]);
    until_asked(&pool, 1).await;
    let before = unready.asked();
    // Longer than any pause after a failure.
    for _ in 0..30 {
        pool.call(request(Method::POST, "")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(unready.asked(), before);
}

#[tokio::test]
async fn a_replica_with_a_store_of_its_own_is_asked_for_nothing() {
    let (one, apart, two) = (Elsewhere::on(1).await, Elsewhere::on(2).await, Elsewhere::on(1).await);
    let pool = pool(&[one.address, apart.address, two.address]);
    until_asked(&pool, 2).await;
    for _ in 0..6 {
        pool.call(request(Method::POST, "")).await.unwrap();
    }
    assert_eq!((one.asked() + two.asked(), apart.asked()), (6, 0));
}

#[tokio::test]
async fn what_one_replica_cannot_say_now_another_is_asked_for() {
    let without = Elsewhere::answering("127.0.0.1:0", StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE).await;
    let one = Elsewhere::start("127.0.0.1:0").await;
    let pool = pool(&[without.address, one.address]);
    let mut refused = 0;
    for _ in 0..10 {
        for _ in 0..2 {
            let read = pool.call(request(Method::GET, "")).await.unwrap();
            assert_eq!(read.status(), StatusCode::OK);
        }
        let written = pool.call(request(Method::POST, "")).await.unwrap();
        refused += u32::from(written.status() == StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(refused, 5, "what changes something is not asked for twice");
}

#[tokio::test]
async fn a_replica_that_stands_still_costs_no_reader_an_answer() {
    // The system takes connections, and nobody answers.
    let still = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = Elsewhere::start("127.0.0.1:0").await;
    let pool = pool(&[still.local_addr().unwrap(), one.address]);
    let began = Instant::now();
    let answers = join_all((0..10).map(|_| pool.call(request(Method::GET, "")))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert!(began.elapsed() < SEEN_MAX, "{:?}", began.elapsed());
    until_asked(&pool, 1).await;
    let began = Instant::now();
    for _ in 0..10 {
        pool.call(request(Method::POST, "")).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn where_all_are_left_out_all_are_tried() {
    let socket = nobody();
    let away = socket.local_addr().unwrap();
    let pool = pool(&[away]);
    pool.call(request(Method::GET, "")).await.unwrap_err();
    assert_eq!(pool.counts(), (0, 1));
    drop(socket);
    let back = Elsewhere::start(&away.to_string()).await;
    pool.call(request(Method::POST, "at once")).await.unwrap();
    assert_eq!(back.asked(), 1);
}
