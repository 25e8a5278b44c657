//! A line to a broker that can be cut. Clients go where brokers say that they are, so what they say is changed on the way.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, FindCoordinatorResponse, MetadataResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Until it is cut.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    cut: CancellationToken,
    is_to_lose: Arc<AtomicBool>,
}

/// The kind and the version of each request, by its number.
type Asked = Arc<Mutex<BTreeMap<i32, (i16, i16)>>>;

impl Line {
    /// To the only broker of a cluster, by way of a port of its own on loopback.
    pub(crate) async fn to(broker: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let cut = CancellationToken::new();
        let (is_cut, is_to_lose) = (cut.clone(), Arc::<AtomicBool>::default());
        let loses = Arc::clone(&is_to_lose);
        let passing = async move {
            while let Ok((client, _)) = listener.accept().await {
                let passing = pass(client, broker.clone(), address, Arc::clone(&loses));
                tokio::spawn(is_cut.clone().run_until_cancelled_owned(passing));
            }
        };
        tokio::spawn(cut.clone().run_until_cancelled_owned(passing));
        Self {
            address,
            cut,
            is_to_lose,
        }
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses the next answer to something that was published, and the connection with it.
    pub(crate) fn lose_answer(&self) {
        self.is_to_lose.store(true, Ordering::Release);
    }

    /// Whether that is still to come.
    pub(crate) fn is_to_lose(&self) -> bool {
        self.is_to_lose.load(Ordering::Acquire)
    }

    /// Cuts it for ever: connections end, and new ones are refused.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn pass(client: TcpStream, broker: String, line: SocketAddr, loses: Arc<AtomicBool>) {
    // A broker that is away ends the connection, as it would without the line.
    let Ok(broker) = TcpStream::connect(broker).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let asked = Asked::default();
    let asking = async {
        while let Ok(frame) = read(&mut from_client).await {
            note(&asked, &frame);
            if write(&mut to_broker, &frame).await.is_err() {
                break;
            }
        }
    };
    let answering = async {
        while let Ok(frame) = read(&mut from_broker).await {
            let (key, version) = question(&asked, &frame);
            if key == ApiKey::Produce as i16 && loses.swap(false, Ordering::AcqRel) {
                break;
            }
            if write(&mut to_client, &changed(key, version, frame, line))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let length = from.read_i32().await?;
    let mut frame = vec![0; usize::try_from(length).expect("a frame has a length")];
    from.read_exact(&mut frame).await?;
    Ok(frame.into())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let mut whole = BytesMut::with_capacity(frame.len() + 4);
    whole.put_i32(i32::try_from(frame.len()).expect("a frame has a length"));
    whole.put_slice(frame);
    to.write_all(&whole).await
}

fn note(asked: &Asked, frame: &[u8]) {
    let two = |at: usize| i16::from_be_bytes(frame[at..at + 2].try_into().expect("there are two"));
    let number = i32::from_be_bytes(frame[4..8].try_into().expect("there are four"));
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.insert(number, (two(0), two(2)));
}

/// What an answer is to.
fn question(asked: &Asked, frame: &[u8]) -> (i16, i16) {
    let number = i32::from_be_bytes(frame[..4].try_into().expect("there are four"));
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.remove(&number).expect("it was asked")
}

/// The answer, with the line in the place of the broker.
fn changed(key: i16, version: i16, frame: Bytes, line: SocketAddr) -> Bytes {
    let (host, port): (StrBytes, i32) = (line.ip().to_string().into(), line.port().into());
    if key == ApiKey::Metadata as i16 {
        rewritten::<MetadataResponse>(frame, version, |answer| {
            for broker in &mut answer.brokers {
                (broker.host, broker.port) = (host.clone(), port);
            }
        })
    } else if key == ApiKey::FindCoordinator as i16 {
        rewritten::<FindCoordinatorResponse>(frame, version, |answer| {
            for broker in &mut answer.coordinators {
                (broker.host, broker.port) = (host.clone(), port);
            }
        })
    } else {
        frame
    }
}

fn rewritten<A: Decodable + Encodable + HeaderVersion>(
    mut frame: Bytes,
    version: i16,
    change: impl FnOnce(&mut A),
) -> Bytes {
    let of_header = A::header_version(version);
    let header = ResponseHeader::decode(&mut frame, of_header).expect("a broker writes it");
    let mut answer = A::decode(&mut frame, version).expect("a broker writes it");
    change(&mut answer);
    let mut whole = BytesMut::new();
    header.encode(&mut whole, of_header).expect("it is written again");
    answer.encode(&mut whole, version).expect("it is written again");
    whole.freeze()
}
