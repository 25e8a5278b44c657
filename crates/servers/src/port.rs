//! Ports for servers that have to be told where to listen.

use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Below those that Linux gives to connections and to whoever listens anywhere: a server takes seconds until it listens, and comes
/// back to its port after it was away.
const PORTS: Range<u16> = 10_000..32_768;

/// Those that this process has given away, by a name each that one process at a time can have.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody listens on, and that nobody else is given while this process lives.
pub fn free_port() -> Result<u16> {
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = u32::from(PORTS.end - PORTS.start);
    let begin = PORTS.start + u16::try_from(std::process::id() % count)?;
    let (port, claim) = (begin..PORTS.end)
        .chain(PORTS.start..begin)
        .find_map(|port| Some((port, claim(port)?)))
        .context("no port is free")?;
    claims.push(claim);
    Ok(port)
}

/// The right to a port, if it is free.
fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("tradewind-servers-port-{port}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok().map(|_| claim)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn nobody_is_given_it_who_asks_for_any_port() {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(free_port().unwrap() < lowest, "{range}");
    }

    #[test]
    fn no_port_is_given_away_twice() {
        let ports: BTreeSet<_> = (0..100).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_port_that_was_given_away_belongs_to_nobody_else() {
        let port = free_port().unwrap();
        assert!(claim(port).is_none());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_by() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(claim(listener.local_addr().unwrap().port()).is_none());
    }
}
