//! Where the broker is, and what is made there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::url;
use kernel::clock::{Clock, Ids};
use uuid::Uuid;

use crate::failure::OpenError;

/// What the names of exchanges and streams begin with.
pub const PREFIX_DEFAULT: &str = "tradewind";
/// How long the broker keeps events. A consumer that was away for longer has missed some, which it sees, and which
/// `tradewind republish` sends again.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const PORT_DEFAULT: u16 = 5672;
const PORT_DEFAULT_TLS: u16 = 5671;
/// Where RabbitMQ begins, and where a URL without a path leads.
const VHOST_DEFAULT: &str = "/";
/// Whom RabbitMQ lets in from its own host, with the same word for a password.
const USER_DEFAULT: &str = "guest";

/// What a bus is opened with.
#[derive(Clone, Debug)]
pub struct RabbitmqOptions {
    pub(crate) place: Place,
    pub(crate) prefix: String,
    pub(crate) lanes: u16,
    /// See [`MAX_AGE_DEFAULT`]. In whole seconds.
    pub max_age: Duration,
    /// The name that this process has again after a restart, and nobody else ever; without one, what it held when it
    /// was killed lapses before it goes on.
    pub process: Option<Uuid>,
    /// A file with certificates (PEM) of the authorities that may vouch for a server, instead of those that this machine
    /// knows.
    pub authorities: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
}

impl RabbitmqOptions {
    /// For the broker under `url`, `amqp://user:password@host:port/vhost` or `amqps://…`; further nodes of a cluster follow
    /// the first behind commas. `prefix` tells shops in one virtual host apart.
    ///
    /// # Errors
    /// If the URL or the prefix cannot be understood.
    pub fn new(url: &str, prefix: &str, lanes: u16, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Result<Self, OpenError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_word) {
            return Err(OpenError::Prefix(prefix.to_owned()));
        }
        Ok(Self {
            place: Place::parse(url)?,
            prefix: prefix.to_owned(),
            lanes,
            max_age: MAX_AGE_DEFAULT,
            process: None,
            authorities: None,
            clock,
            ids,
        })
    }
}

/// Names in AMQP have 255 bytes, of which the rest is for services, consumers and lanes.
const PREFIX_BYTES_MAX: usize = 100;

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_tls: bool,
    pub(crate) user: String,
    pub(crate) password: String,
    /// At least one.
    pub(crate) addresses: Vec<Address>,
    pub(crate) vhost: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Of an IPv6 address, without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// Without the login.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("is_tls", &self.is_tls)
            .field("addresses", &self.addresses)
            .field("vhost", &self.vhost)
            .finish_non_exhaustive()
    }
}

impl Place {
    fn parse(url: &str) -> Result<Self, OpenError> {
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let place = Self::parse_path(url).ok_or(OpenError::Url)?;
        match query.split('&').next() {
            None | Some("") => Ok(place),
            Some(option) => {
                let (name, _) = option.split_once('=').unwrap_or((option, ""));
                Err(OpenError::Option(name.to_owned()))
            }
        }
    }

    fn parse_path(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (is_tls, port) = match scheme {
            "amqp" => (false, PORT_DEFAULT),
            "amqps" => (true, PORT_DEFAULT_TLS),
            _ => return None,
        };
        let (rest, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let vhost = match vhost {
            "" => VHOST_DEFAULT.to_owned(),
            vhost if vhost.contains('/') => return None,
            vhost => url::decoded(vhost)?,
        };
        let (login, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (url::decoded(user)?, url::decoded(password)?),
            None if login.is_empty() => (USER_DEFAULT.to_owned(), USER_DEFAULT.to_owned()),
            None => return None,
        };
        let address = |host| {
            let (host, port) = url::host_and_port(host, port)?;
            let host = host.trim_matches(['[', ']']).to_owned();
            Some(Address { host, port })
        };
        Some(Self {
            is_tls,
            user,
            password,
            addresses: hosts.split(',').map(address).collect::<Option<_>>()?,
            vhost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(is_tls: bool, login: (&str, &str), addresses: &[(&str, u16)], vhost: &str) -> Place {
        let address = |&(host, port): &(&str, u16)| Address {
            host: host.to_owned(),
            port,
        };
        Place {
            is_tls,
            user: login.0.to_owned(),
            password: login.1.to_owned(),
            addresses: addresses.iter().map(address).collect(),
            vhost: vhost.to_owned(),
        }
    }

    #[test]
    fn a_url_names_servers_a_login_and_a_virtual_host() {
        let guest = ("guest", "guest");
        for (url, expected) in [
            ("amqp://broker", place(false, guest, &[("broker", 5672)], "/")),
            ("amqps://broker/", place(true, guest, &[("broker", 5671)], "/")),
            (
                "amqp://ann:s3cret@broker:1/%2F",
                place(false, ("ann", "s3cret"), &[("broker", 1)], "/"),
            ),
            (
                "amqp://a%3An:p%40ss%25:x@h/my%20shop",
                place(false, ("a:n", "p@ss%:x"), &[("h", 5672)], "my shop"),
            ),
            (
                "amqp://a:b@one,two:4333/shop",
                place(false, ("a", "b"), &[("one", 5672), ("two", 4333)], "shop"),
            ),
            (
                "amqps://[::1]:4333,[::2]",
                place(true, guest, &[("::1", 4333), ("::2", 5671)], "/"),
            ),
        ] {
            let parsed = Place::parse(url).expect("it is a URL");
            assert!(parsed == expected, "{url}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_broker_is_refused() {
        for url in [
            "",
            "broker:5672",
            "http://broker",
            "amqp://",
            "amqp://broker:port",
            "amqp://broker:99999",
            "amqp://one,,two",
            "amqp://broker/shop/orders",
            "amqp://ann@broker",
            "amqp://ann:p%4@broker",
            "amqp://ann:%ff@broker",
            "amqp://a b",
        ] {
            let refused = Place::parse(url);
            assert!(matches!(refused, Err(OpenError::Url)), "{url}: {refused:?}");
        }
    }

    #[test]
    fn an_option_that_there_is_not_is_named() {
        for (url, option) in [
            ("amqp://broker?heartbeat=s3cret", "heartbeat"),
            ("amqp://broker/shop?verify", "verify"),
        ] {
            let error = Place::parse(url).expect_err("there are no options");
            assert!(matches!(&error, OpenError::Option(name) if name == option), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::parse("amqp://ann:s3cret@broker").expect("it is a URL");
        let shown = format!("{place:?}");
        assert!(!shown.contains("s3cret") && shown.contains("broker"), "{shown}");
        assert_eq!(place.addresses[0].to_string(), "broker:5672");
    }
}
