//! Connections whose packets are sent at once.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on (mended after it, transact-rs/sqlx#4336): the second of two packets that are written
//! without an answer in between waits until the first was acknowledged, which the other side puts off for 40 ms. A statement that
//! takes more than one TLS record is such a pair, and so is the one after a statement that is forgotten. The driver lets nobody
//! at its sockets, so they are looked for among those of the process. To go with the next version of sqlx.

/// Has everything that is connected to this port send its packets at once. Where the system does not let us, all is slower.
pub(crate) fn send_at_once(port: u16) {
    #[cfg(target_os = "linux")]
    if let Err(error) = linux::send_at_once(port) {
        tracing::debug!(%error, "packets for the database may wait for 40 ms");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = port;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Error, Result};
    use std::net::SocketAddr;
    use std::os::fd::OwnedFd;

    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    pub(super) fn send_at_once(port: u16) -> Result<()> {
        let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let path = entry?.path();
            let is_socket = std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let Some(number) = number.filter(|_| is_socket) else {
                continue;
            };
            // It may have been closed meanwhile.
            if let Ok(socket) = pidfd_getfd(&ourselves, number, PidfdGetfdFlags::empty())
                && peer(&socket).is_some_and(|peer| peer.port() == port)
            {
                sockopt::set_tcp_nodelay(&socket, true).map_err(Error::from)?;
            }
        }
        Ok(())
    }

    /// Whom it is connected to, if that is by TCP.
    fn peer(socket: &OwnedFd) -> Option<SocketAddr> {
        getpeername(socket).ok()??.try_into().ok()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_is_connected_there_sends_at_once_and_nothing_else_does() {
        let [database, another] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let [to_database, to_another] = [&database, &another].map(|listener| {
            let address = listener.local_addr().expect("it is bound");
            TcpStream::connect(address).expect("it listens")
        });
        send_at_once(database.local_addr().expect("it is bound").port());
        assert!(to_database.nodelay().expect("it is a socket"));
        assert!(!to_another.nodelay().expect("it is a socket"));
    }
}
