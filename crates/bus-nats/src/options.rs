//! Where the server is, and what is made there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::url::{decoded, host_and_port};
use kernel::clock::{Clock, Ids};
use uuid::Uuid;

use crate::failure::OpenError;

/// What the names of streams and subjects begin with.
pub const PREFIX_DEFAULT: &str = "TRADEWIND";
/// How long the server keeps events. A consumer that was away for longer has missed some, which it sees, and which
/// `tradewind republish` sends again.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const PORT_DEFAULT: u16 = 4222;

/// What a bus is opened with.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    pub(crate) place: Place,
    pub(crate) prefix: String,
    pub(crate) lanes: u16,
    /// See [`MAX_AGE_DEFAULT`].
    pub max_age: Duration,
    /// How many servers of a cluster keep each stream: 1, 3 or 5.
    pub replicas: usize,
    /// The name that this process has again after a restart, and nobody else ever; without one, what it held when it
    /// was killed lapses before it goes on.
    pub process: Option<Uuid>,
    /// A file with certificates (PEM) of the authorities that may vouch for a server, instead of those that this machine
    /// knows.
    pub authorities: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
}

impl NatsOptions {
    /// For the server under `url`, `nats://user:password@host:port` or `tls://…`; further servers of a cluster follow
    /// behind commas. `prefix` tells shops on one server apart.
    ///
    /// # Errors
    /// If the URL or the prefix cannot be understood.
    pub fn new(url: &str, prefix: &str, lanes: u16, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Result<Self, OpenError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if prefix.is_empty() || !prefix.bytes().all(is_word) {
            return Err(OpenError::Prefix(prefix.to_owned()));
        }
        Ok(Self {
            place: Place::parse(url).ok_or(OpenError::Url)?,
            prefix: prefix.to_owned(),
            lanes,
            max_age: MAX_AGE_DEFAULT,
            replicas: 1,
            process: None,
            authorities: None,
            clock,
            ids,
        })
    }
}

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_tls: bool,
    pub(crate) login: Option<Login>,
    /// `host:port`, at least one.
    pub(crate) addresses: Vec<String>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Password { user: String, password: String },
    Token(String),
}

/// Without the login.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("is_tls", &self.is_tls)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Place {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::parse(login)?), hosts),
            None => (None, rest),
        };
        let addresses = hosts
            .split(',')
            .map(|host| host_and_port(host, PORT_DEFAULT).map(|(name, port)| format!("{name}:{port}")))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            is_tls,
            login,
            addresses,
        })
    }
}

impl Login {
    fn parse(login: &str) -> Option<Self> {
        match login.split_once(':') {
            Some((user, password)) => Some(Self::Password {
                user: decoded(user)?,
                password: decoded(password)?,
            }),
            None => Some(Self::Token(decoded(login)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(is_tls: bool, login: Option<Login>, addresses: &[&str]) -> Option<Place> {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Some(Place {
            is_tls,
            login,
            addresses,
        })
    }

    fn password(user: &str, password: &str) -> Option<Login> {
        let (user, password) = (user.to_owned(), password.to_owned());
        Some(Login::Password { user, password })
    }

    #[test]
    fn a_url_names_servers_and_a_login() {
        for (url, expected) in [
            ("nats://broker", place(false, None, &["broker:4222"])),
            ("tls://broker:4333/", place(true, None, &["broker:4333"])),
            (
                "nats://ann:s3cret@broker",
                place(false, password("ann", "s3cret"), &["broker:4222"]),
            ),
            (
                "nats://a%3An:p%40ss%25:x@h:1",
                place(false, password("a:n", "p@ss%:x"), &["h:1"]),
            ),
            (
                "nats://tok%2Fen@h",
                place(false, Some(Login::Token("tok/en".into())), &["h:4222"]),
            ),
            (
                "nats://a:b@one,two:4333",
                place(false, password("a", "b"), &["one:4222", "two:4333"]),
            ),
            (
                "nats://[::1]:4333,[::2]",
                place(false, None, &["[::1]:4333", "[::2]:4222"]),
            ),
        ] {
            assert_eq!(Place::parse(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for url in [
            "",
            "broker:4222",
            "http://broker",
            "nats://",
            "nats://broker:port",
            "nats://broker:99999",
            "nats://one,,two",
            "nats://broker/shop",
            "nats://ann:p%4@broker",
            "nats://ann:%ff@broker",
            "nats://a b",
        ] {
            assert_eq!(Place::parse(url), None, "{url}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::parse("nats://ann:s3cret@broker").expect("it is a URL");
        assert_eq!(
            format!("{place:?}"),
            "Place { is_tls: false, addresses: [\"broker:4222\"], .. }"
        );
    }
}
