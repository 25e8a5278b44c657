//! From which address a request comes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::{HeaderMap, HeaderName};

use crate::config::Network;

/// In which proxies name the client, each adding the address that it was called from at the right end.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers by which proxies speak of the client. Nothing behind the gateway sees what a client made them say.
const HEARSAY: [HeaderName; 5] = [
    X_FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("forwarded"),
];

/// The client's address: whoever opened the connection, unless that is a trusted proxy. Then it is the right-most hop of
/// `X-Forwarded-For` that is not a trusted proxy, the last one that anybody we trust has seen with own eyes; what stands
/// to the left of it, the client may have made up.
///
/// Without a connection (a test, a socket of another kind) all clients share one address, the unspecified one.
pub(crate) fn address(request: &Request, trusted: &[Network]) -> IpAddr {
    let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = connection.map_or(Ipv6Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| {
        peer.ip().to_canonical()
    });
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if trusted.is_empty() || !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    for hop in hops_from_the_right(request.headers()) {
        // Who wrote something else than an address is trusted no further.
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// Takes away what a client may have said of itself or others.
pub(crate) fn forget_hearsay(headers: &mut HeaderMap) {
    for name in &HEARSAY {
        headers.remove(name);
    }
}

/// What requests are counted under: the address, or for IPv6 its /64, of which anybody has a whole one at least.
pub(crate) fn network(address: IpAddr) -> u128 {
    match address {
        // Its lower 64 bits are never all zero, as those of a /64 are.
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

fn hops_from_the_right(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',').map(parse))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = hop
        .parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut request = Request::new(Body::empty());
        let peer = SocketAddr::new(peer.parse().unwrap(), 4321);
        request.extensions_mut().insert(ConnectInfo(peer));
        for line in forwarded {
            request.headers_mut().append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        address(&request, &trusted).to_string()
    }

    #[test]
    fn who_is_no_trusted_proxy_speaks_for_itself_alone() {
        assert_eq!(seen("192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(seen("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(seen("::ffff:192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_names_the_right_most_hop_that_is_not_one() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            seen("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(
            seen("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.0.0.2, fd00::1"]),
            "198.51.100.7"
        );
        assert_eq!(seen("10.0.0.1", &["198.51.100.7:5050"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::7]:5050"]), "2001:db8::7");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::7]"]), "2001:db8::7");
    }

    #[test]
    fn behind_what_is_no_address_nobody_is_believed() {
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9,"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_64() {
        let key = |address: &str| network(address.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_ne!(key("0.0.0.0"), key("::"));
    }

    proptest! {
        #[test]
        fn what_a_client_writes_into_the_header_makes_it_nobody_else(
            made_up in prop_oneof!["203\\.0\\.113\\.[1-9](, ?unknown)?", "[0-9a-f:., \\[\\]]{0,30}"],
            client in any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from(bits | 0xC000_0000)),
            proxies in prop::collection::vec("10\\.[0-9]\\.[0-9]\\.[0-9]", 0..3),
        ) {
            let hops: Vec<String> = [client.to_string()].into_iter().chain(proxies).collect();
            let forwarded = [&*made_up, ", ", &hops.join(", ")].concat();
            prop_assert_eq!(seen("10.0.0.1", &[&forwarded]), client.to_string());
            prop_assert_eq!(seen(&client.to_string(), &[&forwarded]), client.to_string());
            // The same in lines of their own.
            let lines: Vec<&str> = [&*made_up].into_iter().chain(hops.iter().map(String::as_str)).collect();
            prop_assert_eq!(seen("10.0.0.1", &lines), client.to_string());
        }
    }
}
