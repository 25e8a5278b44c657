//! Where the server is, and what is made there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::clock::{Clock, Ids};
use redis_access::{Place, Prefix};
use uuid::Uuid;

use crate::failure::OpenError;

/// What the names of keys begin with.
pub const PREFIX_DEFAULT: &str = Prefix::DEFAULT;
/// How long the server keeps events. A consumer that was away for longer has missed some, which it sees, and which
/// `tradewind republish` sends again.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a bus is opened with.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    pub(crate) place: Place,
    pub(crate) prefix: Prefix,
    pub(crate) lanes: u16,
    /// See [`MAX_AGE_DEFAULT`]. Each process removes what is older of what it publishes to.
    pub max_age: Duration,
    /// The name that this process has again after a restart, and nobody else ever; without one, what it held when it
    /// was killed lapses before it goes on.
    pub process: Option<Uuid>,
    /// A file with certificates (PEM) of the authorities that may vouch for a server, instead of those that this machine
    /// knows. The URL may name one, as `cacert`.
    pub authorities: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
}

impl RedisOptions {
    /// For the server under `url`: `redis://user:password@host:port/database`, or `rediss://…` for TLS, where `?cacert=FILE`
    /// names the authority. `prefix` tells shops on one server apart.
    ///
    /// # Errors
    /// If the URL or the prefix cannot be understood.
    pub fn new(url: &str, prefix: &str, lanes: u16, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Result<Self, OpenError> {
        let prefix = prefix.parse()?;
        let mut place = Place::parse(url)?;
        let authorities = place.authorities.take();
        Ok(Self {
            place,
            prefix,
            lanes,
            max_age: MAX_AGE_DEFAULT,
            process: None,
            authorities,
            clock,
            ids,
        })
    }
}
