//! One connection to one broker: a request, and then its answer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::api::Call;
use crate::failure::Failure;

/// No answer is longer: what is read of a lane at once has a limit far below.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How a broker that speaks TLS answers whoever does not: with an alert, which as a length would be far too much.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// After a call that failed or was given up it is of no more use.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    client: StrBytes,
    calls: i32,
    /// Whether the broker that was asked last has answered.
    is_reached: Arc<AtomicBool>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn over(stream: Box<dyn Stream>, client: StrBytes, is_reached: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            client,
            calls: 0,
            is_reached,
        }
    }

    /// Asks, and waits so long for the answer.
    pub(crate) async fn call<C: Call>(&mut self, request: &C, within: Duration) -> Result<C::Answer, Failure> {
        let answer = timeout(within, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(Failure::Silent(within)));
        self.is_reached.store(answer.is_ok(), Ordering::Release);
        let mut answer = answer?;
        C::Answer::decode(&mut answer, C::VERSION).map_err(|error| Failure::Lost(format!("{:?}: {error}", C::KEY)))
    }

    /// The answer to a request, as it came, without its header.
    pub(crate) async fn exchange<C: Call>(&mut self, request: &C) -> Result<Bytes, Failure> {
        self.calls = self.calls.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(C::KEY as i16)
            .with_request_api_version(C::VERSION)
            .with_correlation_id(self.calls)
            .with_client_id(Some(self.client.clone()));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        let encoded = header
            .encode(&mut frame, C::header_version(C::VERSION))
            .and_then(|()| request.encode(&mut frame, C::VERSION));
        encoded.map_err(|error| Failure::Lost(format!("{:?} cannot be said: {error}", C::KEY)))?;
        let length = i32::try_from(frame.len() - size_of::<i32>());
        let length = length.map_err(|_| Failure::Lost(format!("{:?} is too long", C::KEY)))?;
        frame[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        self.send(&frame).await.map_err(lost)?;
        let mut answer = self.read().await?;
        let header = ResponseHeader::decode(&mut answer, C::Answer::header_version(C::VERSION));
        match header {
            Ok(header) if header.correlation_id == self.calls => Ok(answer),
            _ => Err(Failure::Lost(format!(
                "the answer to {:?} is to something else",
                C::KEY
            ))),
        }
    }

    async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await
    }

    async fn read(&mut self) -> Result<Bytes, Failure> {
        let mut length = [0; size_of::<i32>()];
        self.stream.read_exact(&mut length).await.map_err(lost)?;
        if length.starts_with(&TLS_ALERT) {
            return Err(Failure::Lost("it speaks TLS".to_owned()));
        }
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(Failure::Lost("what it answers is not Kafka's protocol".to_owned()));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.map_err(lost)?;
        Ok(answer.into())
    }
}

pub(crate) fn lost(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Lost("it closed the connection".to_owned()),
        _ => Failure::Lost(error.to_string()),
    }
}
