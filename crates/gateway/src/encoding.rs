//! Compression, for clients that ask for it and answers that are worth it.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use tower::{ServiceExt, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// A smaller answer fits in a packet or two anyway.
const WORTHWHILE_BYTES_MIN: u64 = 1025;
/// Of 9 (gzip) and 11 (brotli): beyond this, time grows faster than answers shrink.
const LEVEL: CompressionLevel = CompressionLevel::Precise(4);

/// The codings that we know, the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
}

/// The coding that the client likes best (RFC 9110, section 12.5.3), if it is one of ours.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Coding> {
    let mut best = None;
    let lines = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|line| line.to_str().ok());
    for item in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = item
            .split_once(';')
            .map_or((item, None), |(name, weight)| (name, Some(weight)));
        let coding = match name.trim() {
            name if name.eq_ignore_ascii_case("br") => Coding::Brotli,
            name if name.eq_ignore_ascii_case("gzip") => Coding::Gzip,
            _ => continue,
        };
        let weight = match weight.map(str::trim) {
            None => 1.0,
            Some(weight) => weight
                .strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                .unwrap_or(0.0),
        };
        let better = match best {
            None => weight > 0.0,
            Some((known, _)) if known == coding => false,
            Some((_, least)) => weight > least || (weight == least && coding == Coding::Brotli),
        };
        if better {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

/// Compresses an answer if it is worth it. Event streams never are: each event has to arrive when it happens.
pub(crate) async fn compress(response: Response, coding: Coding) -> Response {
    let worthwhile = SizeAbove::new(WORTHWHILE_BYTES_MIN)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("application/octet-stream"));
    if !worthwhile.should_compress(&response) {
        return response;
    }
    // The library makes answers to clients that accept nothing into 406, after the fact. So it sees the answer alone, and
    // a client that accepts what we have chosen.
    let accepted = match coding {
        Coding::Brotli => "br",
        Coding::Gzip => "gzip",
    };
    let mut request = Request::new(());
    request
        .headers_mut()
        .insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
    let mut response = Some(response);
    let answer = service_fn(|_| ready(Ok::<_, Infallible>(response.take().expect("one request, one answer"))));
    let compression = Compression::new(answer).quality(LEVEL).compress_when(worthwhile);
    let Ok(response) = compression.oneshot(request).await;
    response.map(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_coding_is_taken() {
        let wanted = |value: &str| wanted(&HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]));
        for (value, coding) in [
            ("br", Some(Coding::Brotli)),
            ("GZIP", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Brotli)),
            ("br;q=0.5, gzip;q=0.8", Some(Coding::Gzip)),
            ("br ; q=0, gzip", Some(Coding::Gzip)),
            ("gzip;q=0.5, br;q=0.5", Some(Coding::Brotli)),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("identity;q=0, zstd", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(wanted(value), coding, "{value}");
        }
    }
}
