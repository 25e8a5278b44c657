//! Where the brokers are, and what is made there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::url::{decoded, host_and_port};
use kernel::clock::{Clock, Ids};

use crate::failure::OpenError;

/// What the names of topics and groups begin with.
pub const PREFIX_DEFAULT: &str = "tradewind";
/// How long the brokers keep events. A consumer that was away for longer has missed some, which it sees, and which
/// `tradewind republish` sends again.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const PORT_DEFAULT: u16 = 9092;
/// The name of a topic has at most 249 characters, and ours ends with a service.
const PREFIX_BYTES_MAX: usize = 100;

/// What a bus is opened with.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    pub(crate) place: Place,
    pub(crate) prefix: String,
    pub(crate) lanes: u16,
    /// See [`MAX_AGE_DEFAULT`].
    pub max_age: Duration,
    /// How many brokers keep each event, 1 or 3 as a rule. All of them but one must have it before it is taken.
    pub replicas: u16,
    /// A file with certificates (PEM) of the authorities that may vouch for a broker, instead of those that this machine
    /// knows.
    pub authorities: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
}

impl KafkaOptions {
    /// For the cluster that is found under `url`, `kafka://user:password@host:port` or `kafka+ssl://…`; further brokers to
    /// ask follow behind commas. `prefix` tells shops on one cluster apart.
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
            replicas: 1,
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
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
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
    fn parse(url: &str) -> Result<Self, OpenError> {
        let (scheme, rest) = url.split_once("://").ok_or(OpenError::Url)?;
        let is_tls = match scheme {
            "kafka" => false,
            "kafka+ssl" => true,
            _ => return Err(OpenError::Url),
        };
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::parse(login).ok_or(OpenError::Url)?), hosts),
            None => (None, rest),
        };
        // What comes before an @ was the login, so that no password is taken for an option.
        let (hosts, options) = hosts.split_once('?').unwrap_or((hosts, ""));
        if let Some(option) = options.split('&').find(|option| !option.is_empty()) {
            let (name, _) = option.split_once('=').unwrap_or((option, ""));
            return Err(OpenError::Option(name.to_owned()));
        }
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let address = |host| host_and_port(host, PORT_DEFAULT).map(|(name, port)| format!("{name}:{port}"));
        let addresses = hosts.split(',').map(address).collect::<Option<Vec<_>>>();
        Ok(Self {
            is_tls,
            login,
            addresses: addresses.ok_or(OpenError::Url)?,
        })
    }
}

impl Login {
    fn parse(login: &str) -> Option<Self> {
        let (user, password) = login.split_once(':')?;
        Some(Self {
            user: decoded(user)?,
            password: decoded(password)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(is_tls: bool, login: Option<(&str, &str)>, addresses: &[&str]) -> Place {
        let login = login.map(|(user, password)| Login {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Place {
            is_tls,
            login,
            addresses,
        }
    }

    #[test]
    fn a_url_names_brokers_and_a_login() {
        for (url, expected) in [
            ("kafka://broker", place(false, None, &["broker:9092"])),
            ("kafka+ssl://broker:9093/", place(true, None, &["broker:9093"])),
            (
                "kafka://ann:s3cret@broker",
                place(false, Some(("ann", "s3cret")), &["broker:9092"]),
            ),
            (
                "kafka://a%3An:p%40ss%25@h:1",
                place(false, Some(("a:n", "p@ss%")), &["h:1"]),
            ),
            (
                "kafka://a:b@one,two:4333",
                place(false, Some(("a", "b")), &["one:9092", "two:4333"]),
            ),
            (
                "kafka://[::1]:4333,[::2]",
                place(false, None, &["[::1]:4333", "[::2]:9092"]),
            ),
        ] {
            assert_eq!(Place::parse(url).expect(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_brokers_is_refused() {
        for url in [
            "",
            "broker:9092",
            "http://broker",
            "kafka://",
            "kafka://broker:port",
            "kafka://one,,two",
            "kafka://broker/shop",
            "kafka://ann@broker",
            "kafka://ann:p%4@broker",
        ] {
            assert!(matches!(Place::parse(url), Err(OpenError::Url)), "{url}");
        }
        let error = Place::parse("kafka://a:s3cr?t@h?acks=1&b").expect_err("there are no options");
        assert!(matches!(&error, OpenError::Option(name) if name == "acks"), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cr"), "{error}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::parse("kafka://ann:s3cret@broker").expect("it is a URL");
        assert_eq!(
            format!("{place:?}"),
            "Place { is_tls: false, addresses: [\"broker:9092\"], .. }"
        );
    }
}
