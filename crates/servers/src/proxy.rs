//! A network between a client and a server, that can fail as networks do.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What is passed on at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Passes on what a server and its clients say to each other, until it is told otherwise. Connections end with it.
#[derive(Debug)]
pub struct Proxy {
    server_url: String,
    server: SocketAddr,
    address: SocketAddr,
    network: Arc<Network>,
}

#[derive(Debug, Default)]
struct Network {
    is_silent: AtomicBool,
    has_ended: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    delay: Duration,
    cut_at: Option<Vec<u8>>,
    connections: Vec<Arc<Connection>>,
}

/// Both halves of one.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Nothing is passed on any more, not even that an end has closed.
    is_lost: AtomicBool,
}

impl Proxy {
    /// In front of the server that this URL names with a host and a port.
    pub fn before(server_url: &str) -> Result<Self> {
        let (_, rest) = server_url.split_once("://").context("a URL has a scheme")?;
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
        let proxy = Self {
            server_url: server_url.to_owned(),
            server: host
                .parse()
                .with_context(|| format!("{host} is no address with a port"))?,
            address: listener.local_addr()?,
            network: Arc::default(),
        };
        let (server, network) = (proxy.server, Arc::clone(&proxy.network));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if network.has_ended.load(Ordering::Acquire) {
                    break;
                }
                if let Ok(client) = client {
                    // Where the server is not there, the client is closed.
                    let _ = connect(client, server, &network);
                }
            }
        });
        Ok(proxy)
    }

    /// The same URL by way of this proxy. What is to be cut at some words must not be encrypted.
    #[must_use]
    pub fn url(&self) -> String {
        self.server_url
            .replacen(&self.server.to_string(), &self.address.to_string(), 1)
    }

    /// Passes nothing on from now on, and closes nothing: as if the cable were out, or the host without power.
    pub fn fall_silent(&self) {
        self.network.is_silent.store(true, Ordering::Release);
        for connection in &self.network.told().connections {
            connection.is_lost.store(true, Ordering::Release);
        }
    }

    /// Lets new connections through again. Those from before stay as silent as they were.
    pub fn speak(&self) {
        self.network.is_silent.store(false, Ordering::Release);
    }

    /// Closes all connections that are there.
    pub fn cut(&self) {
        for connection in self.network.told().connections.drain(..) {
            connection.close();
        }
    }

    /// Closes the connection of the next client that says these words, once they were passed on and before they are answered.
    pub fn cut_at(&self, words: &str) {
        self.network.told().cut_at = Some(words.into());
    }

    /// Whether that is still to come.
    #[must_use]
    pub fn is_to_cut(&self) -> bool {
        self.network.told().cut_at.is_some()
    }

    /// Takes so long for each piece that it passes on.
    pub fn delay(&self, delay: Duration) {
        self.network.told().delay = delay;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.has_ended.store(true, Ordering::Release);
        self.cut();
        // Wakes up whoever waits for the next one.
        let _ = TcpStream::connect(self.address);
    }
}

impl Network {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what comes from one end of a connection until it has no more.
    fn pass(&self, connection: &Connection, from_client: bool) {
        let (mut from, mut to) = match from_client {
            true => (&connection.client, &connection.server),
            false => (&connection.server, &connection.client),
        };
        let mut piece = vec![0; PIECE_BYTES_MAX];
        loop {
            let read = from.read(&mut piece).unwrap_or(0);
            let delay = self.told().delay;
            std::thread::sleep(delay);
            match (connection.is_lost.load(Ordering::Acquire), read) {
                (true, 0) => return,
                (true, _) => continue,
                (false, 0) => return connection.close(),
                (false, _) => {}
            }
            let cuts = from_client && {
                let told = &mut self.told();
                told.cut_at.take_if(|words| contains(&piece[..read], words)).is_some()
            };
            if cuts {
                // No answer gets through from here on.
                connection.is_lost.store(true, Ordering::Release);
            }
            if to.write_all(&piece[..read]).is_err() || cuts {
                return connection.close();
            }
        }
    }
}

impl Connection {
    fn close(&self) {
        for end in [&self.client, &self.server] {
            // It may be closed.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn connect(client: TcpStream, server: SocketAddr, network: &Arc<Network>) -> Result<()> {
    let connection = Arc::new(Connection {
        server: TcpStream::connect(server)?,
        client,
        is_lost: AtomicBool::new(network.is_silent.load(Ordering::Acquire)),
    });
    connection.client.set_nodelay(true)?;
    connection.server.set_nodelay(true)?;
    network.told().connections.push(Arc::clone(&connection));
    for from_client in [true, false] {
        let (network, connection) = (Arc::clone(network), Arc::clone(&connection));
        std::thread::spawn(move || network.pass(&connection, from_client));
    }
    Ok(())
}

fn contains(piece: &[u8], words: &[u8]) -> bool {
    piece.windows(words.len()).any(|window| window == words)
}
