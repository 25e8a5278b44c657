//! What a URL says, and a client for it.

use std::fmt;
use std::path::{Path, PathBuf};

use kernel::bus::url::{decoded, host_and_port};
use redis::{
    Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisError,
    TlsCertificates,
};

use crate::failure::{AccessError, code, is_about_tls, words};

const PORT_DEFAULT: u16 = 6379;

/// Where the server is, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    is_tls: bool,
    login: Option<Login>,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    database: u16,
    /// A file with certificates (PEM) of the authorities that may vouch for the server, instead of those that this machine
    /// knows. The URL may name one, as `cacert`.
    pub authorities: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    /// Without one it is the default user's password.
    user: Option<String>,
    password: String,
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
    /// Reads `redis://user:password@host:port/database`, or `rediss://…` for TLS.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn parse(url: &str) -> Result<Self, AccessError> {
        let (before, options) = url.split_once('?').unwrap_or((url, ""));
        let mut place = Self::parse_place(before).ok_or(AccessError::Url)?;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or(AccessError::Url)?;
            match name {
                "cacert" if place.is_tls => {
                    place.authorities = Some(decoded(value).ok_or(AccessError::Url)?.into());
                }
                "cacert" => return Err(AccessError::NoTls),
                _ => return Err(AccessError::UrlOption(name.to_owned())),
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

    /// As it is shown: `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }

    /// What connects to it. It has the password, and is not to be shown.
    ///
    /// # Errors
    /// If the file of authorities is of no use.
    pub fn client(&self, protocol: ProtocolVersion) -> Result<Client, AccessError> {
        let certificates = self.authorities.as_ref().map(|path| authorities(path)).transpose()?;
        let (host, port) = (self.host.clone(), self.port);
        let server = match self.is_tls {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let mut who = RedisConnectionInfo::default()
            .set_db(self.database.into())
            .set_protocol(protocol);
        if let Some(login) = &self.login {
            who = who.set_password(&login.password);
            if let Some(user) = &login.user {
                who = who.set_username(user);
            }
        }
        let info = server
            .into_connection_info()
            .map_err(|_| AccessError::Url)?
            .set_redis_settings(who);
        let client = match certificates.filter(|_| self.is_tls) {
            None => Client::open(info),
            root_cert => {
                let client_tls = None;
                Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
            }
        };
        client.map_err(|error| match &self.authorities {
            Some(path) => AccessError::Authorities {
                path: path.clone(),
                reason: words(&error),
            },
            None => AccessError::Url,
        })
    }

    /// What an error means that came of connecting there, or of asking.
    #[must_use]
    pub fn failed(&self, error: &RedisError) -> AccessError {
        let (address, reason) = (self.address(), words(error));
        match (error.kind(), code(error).as_deref()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => AccessError::Login(address),
            (ErrorKind::Server(_), _) if reason.contains("DB index") => AccessError::Database {
                address,
                database: self.database,
            },
            (ErrorKind::Server(_), _) | (_, Some(_)) => AccessError::Server { address, reason },
            _ if is_about_tls(error) => AccessError::Tls { address, reason },
            _ => AccessError::Unreachable { address, reason },
        }
    }
}

/// What is in a file of certificates.
fn authorities(path: &Path) -> Result<Vec<u8>, AccessError> {
    let refused = |reason: String| AccessError::Authorities {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    match text.contains("-----BEGIN CERTIFICATE-----") {
        true => Ok(text.into_bytes()),
        false => Err(refused("there is none in it".to_owned())),
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
            assert!(matches!(Place::parse(url), Err(AccessError::Url)), "{url}");
        }
        let unknown = Place::parse("redis://broker?timeout=3");
        assert!(matches!(unknown, Err(AccessError::UrlOption(name)) if name == "timeout"));
        let plain = Place::parse("redis://broker?cacert=ca.pem");
        assert!(matches!(plain, Err(AccessError::NoTls)));
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::parse("redis://ann:s3cret@broker").expect("it is a URL");
        assert!(!format!("{place:?}").contains("s3cret"), "{place:?}");
    }
}
