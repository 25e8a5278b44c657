//! A broker as its operators see it, and one that is none.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, MetadataResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a broker is asked without a login.
pub(crate) struct Operator(TcpStream);

impl Operator {
    pub(crate) async fn at(address: &str) -> Self {
        Self(TcpStream::connect(address).await.expect("the broker is there"))
    }

    pub(crate) async fn ask<R: Request>(&mut self, request: R, version: i16) -> R::Response {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version);
        let mut bytes = BytesMut::new();
        header
            .encode(&mut bytes, R::header_version(version))
            .expect("it is written");
        request.encode(&mut bytes, version).expect("it is written");
        write(&mut self.0, &bytes).await;
        let mut answer = read(&mut self.0).await.expect("it is answered");
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).expect("a broker writes it");
        R::Response::decode(&mut answer, version).expect("a broker writes it")
    }
}

async fn read(stream: &mut TcpStream) -> Option<Bytes> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).expect("a frame has a length")];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

async fn write(stream: &mut TcpStream, frame: &[u8]) {
    let mut whole = BytesMut::new();
    whole.put_i32(i32::try_from(frame.len()).expect("a frame has a length"));
    whole.put_slice(frame);
    stream.write_all(&whole).await.expect("the other side is there");
}

/// Answers like a broker that says this of itself and its cluster. Gives its address.
pub(crate) async fn fake(versions: ApiVersionsResponse, metadata: MetadataResponse) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (versions, metadata) = (versions.clone(), metadata.clone());
            tokio::spawn(async move {
                while let Some(frame) = read(&mut client).await {
                    let key = i16::from_be_bytes([frame[0], frame[1]]);
                    let version = i16::from_be_bytes([frame[2], frame[3]]);
                    let answer = match key == ApiKey::ApiVersions as i16 {
                        true => answer(&frame, &versions, version),
                        false => answer(&frame, &metadata, version),
                    };
                    write(&mut client, &answer).await;
                }
            });
        }
    });
    address
}

fn answer<A: Encodable + HeaderVersion>(question: &[u8], answer: &A, version: i16) -> BytesMut {
    let number = i32::from_be_bytes(question[4..8].try_into().expect("there are four"));
    let header = ResponseHeader::default().with_correlation_id(number);
    let mut bytes = BytesMut::new();
    header
        .encode(&mut bytes, A::header_version(version))
        .expect("it is written");
    answer.encode(&mut bytes, version).expect("it is written");
    bytes
}

/// A name as the protocol has it.
pub(crate) fn word(word: &str) -> StrBytes {
    word.to_owned().into()
}
