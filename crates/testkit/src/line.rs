//! A line between a client and a server that can be cut: what a broker sees of a process that was killed.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Passes on what comes, as long as it is not cut. Cheap to clone; all clones are the same line.
#[derive(Clone, Debug)]
pub struct Line {
    address: SocketAddr,
    cut: Arc<CutOnDrop>,
}

#[derive(Debug)]
struct CutOnDrop(CancellationToken);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Line {
    /// To the server at this address, by way of a port of its own on loopback.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let cut = CancellationToken::new();
        let is_cut = cut.clone();
        let passing = async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(is_cut.clone().run_until_cancelled_owned(pass(client, server.clone())));
            }
        };
        tokio::spawn(cut.clone().run_until_cancelled_owned(passing));
        let cut = Arc::new(CutOnDrop(cut));
        Self { address, cut }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it for ever: connections end, and new ones are refused.
    pub fn cut(&self) {
        self.cut.0.cancel();
    }
}

async fn pass(mut client: TcpStream, server: String) {
    // A server that is away ends the connection, as it would without the line.
    if let Ok(mut server) = TcpStream::connect(server).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
