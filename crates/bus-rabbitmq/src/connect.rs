//! One connection to one node, and what is known of the node.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use contracts::Service;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use lapin::protocol::{self, AMQPClass, connection};
use lapin::tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig};
use lapin::types::AMQPValue;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, ConnectionProperties};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::{ANSWER_MAX, CallError, OpenError, answered, words};
use crate::options::{Address, Place, RabbitmqOptions};

/// How often the two tell each other that they are there, in seconds. After two silences the connection ends.
const HEARTBEAT: u16 = 5;
/// What a client begins with, and how long the head of the answer's frame is.
const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
const FRAME_HEAD_BYTES: usize = 7;
/// An answer to the header is smaller by far.
const GREETING_BYTES_MAX: usize = 64 * 1024;

/// A connection, while it lasts.
pub(crate) struct Line {
    connection: lapin::Connection,
    /// The same socket as the client's, which goes on waiting where the other side has vanished.
    socket: std::net::TcpStream,
    pub(crate) lost: CancellationToken,
    /// Sources whose exchange and streams were seen on it to be as they must be.
    seen: Mutex<BTreeSet<Service>>,
}

impl Line {
    pub(crate) async fn channel(&self) -> Result<Channel, CallError> {
        answered(self.connection.create_channel()).await
    }

    pub(crate) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether it has told that it has too little memory or disk to take anything.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(crate) fn events(&self) -> impl futures::Stream<Item = lapin::Event> + Send + '_ {
        self.connection.events_listener()
    }

    /// It is of no use any more.
    pub(crate) fn hang_up(&self) {
        self.lost.cancel();
        // It may be closed.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub(crate) fn has_seen(&self, source: Service) -> bool {
        self.sources(|seen| seen.contains(&source))
    }

    pub(crate) fn note_seen(&self, source: Service) {
        self.sources(|seen| seen.insert(source));
    }

    /// Something of it was not there when it was used.
    pub(crate) fn forget(&self, source: Service) {
        self.sources(|seen| seen.remove(&source));
    }

    fn sources<T>(&self, act: impl FnOnce(&mut BTreeSet<Service>) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without how it was made, which has a password in it.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// How nodes are reached.
pub(crate) struct Dialler {
    pub(crate) place: Place,
    name: String,
    trust: Option<RustlsConnector>,
}

/// What is taken back from the client if it does not get through.
#[derive(Default)]
struct Attempt {
    socket: Option<std::net::TcpStream>,
    is_given_up: bool,
}

impl Dialler {
    pub(crate) fn new(options: &RabbitmqOptions) -> Result<Self, OpenError> {
        let trust = options
            .place
            .is_tls
            .then(|| trust(options.authorities.as_deref()))
            .transpose()?;
        Ok(Self {
            place: options.place.clone(),
            name: format!("tradewind {}", options.prefix),
            trust,
        })
    }

    /// Connects.
    pub(crate) async fn dial(&self, address: &Address) -> Result<Line, CallError> {
        self.connect(address, None).await
    }

    /// Connects, and asks for the version before, which the client does not tell.
    pub(crate) async fn dial_first(&self, address: &Address) -> (Result<Line, CallError>, Option<String>) {
        let version = Arc::default();
        let line = self.connect(address, Some(Arc::clone(&version))).await;
        (line, version.get().cloned())
    }

    async fn connect(&self, address: &Address, version: Option<Arc<OnceLock<String>>>) -> Result<Line, CallError> {
        let attempt: Arc<Mutex<Attempt>> = Arc::default();
        let (ours, trust, to) = (Arc::clone(&attempt), self.trust.clone(), address.clone());
        // The client runs this on a thread of its own, which goes on when nobody waits for it any more.
        let connecting = lapin::Connection::connector(
            self.uri(address),
            lapin::runtime::default_runtime()?,
            async move |_, runtime| {
                let reach = async || {
                    let addresses = runtime.to_socket_addrs((to.host.clone(), to.port));
                    let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                    let AsyncTcpStream::Plain(plain) = &stream else {
                        return Err(io::Error::other("it is encrypted already"));
                    };
                    let socket = std::net::TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?);
                    socket.set_nodelay(true)?;
                    match &trust {
                        Some(trust) => Ok((stream.into_rustls(trust, &to.host).await?, socket)),
                        None => Ok((stream, socket)),
                    }
                };
                if let Some(version) = &version {
                    let (stream, _) = timeout(ANSWER_MAX, reach()).await.map_err(io::Error::from)??;
                    let found = timeout(ANSWER_MAX, greeting(stream)).await.map_err(io::Error::from)??;
                    let _ = version.set(found);
                }
                let (stream, socket) = timeout(ANSWER_MAX, reach()).await.map_err(io::Error::from)??;
                let mut ours = ours.lock().unwrap_or_else(PoisonError::into_inner);
                if ours.is_given_up {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                ours.socket = Some(socket);
                Ok(stream)
            },
            ConnectionProperties::default().with_connection_name(self.name.as_str().into()),
        );
        let connected = answered(connecting).await;
        let mut attempt = attempt.lock().unwrap_or_else(PoisonError::into_inner);
        attempt.is_given_up = true;
        match (connected, attempt.socket.take()) {
            (Ok(connection), Some(socket)) => Ok(Line {
                connection,
                socket,
                lost: CancellationToken::new(),
                seen: Mutex::default(),
            }),
            (connected, socket) => {
                // Without it the client's thread would wait for as long as the other side is silent.
                let _ = socket.map(|socket| socket.shutdown(Shutdown::Both));
                Err(connected.err().unwrap_or(CallError::Silent))
            }
        }
    }

    fn uri(&self, address: &Address) -> AMQPUri {
        let Place {
            is_tls,
            user,
            password,
            vhost,
            ..
        } = self.place.clone();
        AMQPUri {
            scheme: if is_tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: user,
                    password,
                },
                host: address.host.clone(),
                port: address.port,
            },
            vhost,
            query: AMQPQueryString {
                heartbeat: Some(HEARTBEAT),
                ..AMQPQueryString::default()
            },
        }
    }
}

/// Whom to trust: those of the file, or else those that this machine knows.
fn trust(authorities: Option<&Path>) -> Result<RustlsConnector, OpenError> {
    let wrong = |reason: &dyn std::error::Error| OpenError::Authorities {
        file: authorities.map_or_else(
            || "what this machine knows".to_owned(),
            |file| file.display().to_string(),
        ),
        reason: words(reason),
    };
    let config = match authorities {
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            RustlsConnectorConfig::default().with_parsable_certificates(read.map_err(|error| wrong(&error))?)
        }
        None => RustlsConnectorConfig::new_with_native_certs().map_err(|error| wrong(&error))?,
    };
    config.connector_with_no_client_auth().map_err(|error| wrong(&error))
}

/// The version of whoever is there, by the answer to the header.
async fn greeting(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "it does not speak AMQP 0-9-1");
    stream.write_all(HEADER).await?;
    stream.flush().await?;
    let mut head = [0; FRAME_HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let [_, _, _, size @ ..] = head;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > GREETING_BYTES_MAX {
        return Err(foreign());
    }
    let mut payload = vec![0; size];
    stream.read_exact(&mut payload).await?;
    let Ok((_, AMQPClass::Connection(connection::AMQPMethod::Start(start)))) = protocol::parse_class(&payload[..])
    else {
        return Err(foreign());
    };
    match start.server_properties.inner().get("version") {
        Some(AMQPValue::LongString(version)) => Ok(version.to_string()),
        _ => Err(foreign()),
    }
}
