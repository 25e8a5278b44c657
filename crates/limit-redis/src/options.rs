//! Where the server is, and what is counted there.

use std::sync::Arc;
use std::time::Duration;

use gateway::config::RateLimits;
use kernel::clock::Clock;
use redis_access::{Place, Prefix};

use crate::failure::OpenError;

/// How long a request waits for the server.
pub const ANSWER_MAX: Duration = Duration::from_millis(50);

/// What a limiter is opened with.
#[derive(Clone, Debug)]
pub struct RedisLimiterOptions {
    pub(crate) place: Place,
    pub(crate) prefix: Prefix,
    pub(crate) limits: RateLimits,
    pub(crate) clock: Arc<dyn Clock>,
    /// See [`ANSWER_MAX`].
    pub answer_max: Duration,
}

impl RedisLimiterOptions {
    /// Whether `new` understands this URL.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(url: &str) -> Result<(), OpenError> {
        parsed(url).map(drop)
    }

    /// For the server under `url`: `redis://user:password@host:port/database`, or `rediss://…` for TLS, where `?cacert=FILE`
    /// names the authority and `?prefix=WORD` tells shops on one server apart.
    ///
    /// # Errors
    /// If the URL or the prefix cannot be understood.
    pub fn new(url: &str, limits: RateLimits, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (place, prefix) = parsed(url)?;
        Ok(Self {
            place,
            prefix,
            limits,
            clock,
            answer_max: ANSWER_MAX,
        })
    }
}

/// A URL with the options of this limiter and those of any connection.
fn parsed(url: &str) -> Result<(Place, Prefix), OpenError> {
    let (before, options) = url.split_once('?').unwrap_or((url, ""));
    let options = options.split('&').filter(|option| !option.is_empty());
    let (prefixes, others): (Vec<&str>, Vec<&str>) = options.partition(|option| option.starts_with("prefix="));
    let prefix = match prefixes.as_slice() {
        [] => Prefix::DEFAULT,
        [.., last] => last.trim_start_matches("prefix="),
    };
    Ok((
        Place::parse(&format!("{before}?{}", others.join("&")))?,
        prefix.parse()?,
    ))
}
