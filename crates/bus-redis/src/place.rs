//! What a URL says.

use std::fmt;
use std::path::PathBuf;

use kernel::bus::url::{decoded, host_and_port};

use crate::failure::OpenError;

const PORT_DEFAULT: u16 = 6379;

/// Where the server is, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_tls: bool,
    pub(crate) login: Option<Login>,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: u16,
    pub(crate) authorities: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// Without one it is the default user's password.
    pub(crate) user: Option<String>,
    pub(crate) password: String,
}

/// Without the login.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("is_tls", &self.is_tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}

impl Place {
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let (before, options) = url.split_once('?').unwrap_or((url, ""));
        let mut place = Self::parse_place(before).ok_or(OpenError::Url)?;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or(OpenError::Url)?;
            match name {
                "cacert" if place.is_tls => {
                    place.authorities = Some(decoded(value).ok_or(OpenError::Url)?.into());
                }
                "cacert" => return Err(OpenError::NoTls),
                _ => return Err(OpenError::UrlOption(name.to_owned())),
            }
        }
        Ok(place)
    }

    fn parse_place(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(Login::parse(login)?), rest),
            None => (None, rest),
        };
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let (host, port) = host_and_port(host, PORT_DEFAULT)?;
        Some(Self {
            is_tls,
            login,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            database,
            authorities: None,
        })
    }

    /// As it is shown.
    pub(crate) fn address(&self) -> String {
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

impl Login {
    fn parse(login: &str) -> Option<Self> {
        let (user, password) = login.split_once(':')?;
        let user = decoded(user)?;
        Some(Self {
            user: (!user.is_empty()).then_some(user),
            password: decoded(password)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, port: u16) -> Place {
        Place {
            is_tls: false,
            login: None,
            host: host.to_owned(),
            port,
            database: 0,
            authorities: None,
        }
    }

    fn login(user: Option<&str>, password: &str) -> Option<Login> {
        Some(Login {
            user: user.map(str::to_owned),
            password: password.to_owned(),
        })
    }

    #[test]
    fn a_url_names_a_server_a_login_and_a_database() {
        let plain = place("broker", 6379);
        let expectations = [
            ("redis://broker", plain.clone()),
            ("redis://broker:6379/0", plain.clone()),
            (
                "redis://ann:s3cret@broker/3",
                Place {
                    login: login(Some("ann"), "s3cret"),
                    database: 3,
                    ..plain.clone()
                },
            ),
            (
                "redis://:p%40ss%2F%3A@broker",
                Place {
                    login: login(None, "p@ss/:"),
                    ..plain.clone()
                },
            ),
            (
                "rediss://broker/?cacert=/etc/our%20ca.pem",
                Place {
                    is_tls: true,
                    authorities: Some("/etc/our ca.pem".into()),
                    ..plain
                },
            ),
            ("redis://[::1]:7000/", place("::1", 7000)),
        ];
        for (url, expected) in expectations {
            assert_eq!(Place::parse(url).ok().as_ref(), Some(&expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for url in [
            "",
            "broker:6379",
            "http://broker",
            "redis://",
            "redis://broker:port",
            "redis://one,two",
            "redis://broker/shop",
            "redis://broker/-1",
            "redis://broker/70000",
            "redis://ann@broker",
            "redis://ann:p%4@broker",
            "rediss://broker?cacert",
        ] {
            assert!(matches!(Place::parse(url), Err(OpenError::Url)), "{url}");
        }
        let unknown = Place::parse("redis://broker?timeout=3");
        assert!(matches!(unknown, Err(OpenError::UrlOption(name)) if name == "timeout"));
        let plain = Place::parse("redis://broker?cacert=ca.pem");
        assert!(matches!(plain, Err(OpenError::NoTls)));
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::parse("redis://ann:s3cret@broker").expect("it is a URL");
        assert!(!format!("{place:?}").contains("s3cret"), "{place:?}");
    }
}
