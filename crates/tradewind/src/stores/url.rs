//! Databases by their URLs.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// A database, by its URL.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`.
    Sqlite(PathBuf),
    /// Any other: one that is reached over a network, and that several processes may use.
    Server(Driver, ServerUrl),
}

/// A URL as an argument of a command. It is understood only afterwards: what is said of an argument that cannot be would repeat
/// it, password and all.
#[derive(Clone)]
pub struct UrlArgument(String);

impl fmt::Debug for UrlArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlArgument")
    }
}

impl FromStr for UrlArgument {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl UrlArgument {
    /// What it says, or why that is no URL of what is asked for.
    pub fn parse<T: FromStr<Err = anyhow::Error>>(&self, argument: &str) -> Result<T> {
        self.0
            .parse()
            .map_err(|error: anyhow::Error| anyhow!("{argument}: {error}"))
    }
}

impl StoreUrl {
    /// What is spoken to there.
    #[must_use]
    pub fn server(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Server(Driver::Postgres, _) => "PostgreSQL",
            Self::Server(Driver::Mysql, _) => "MySQL",
            Self::Server(Driver::Mongodb, _) => "MongoDB",
        }
    }

    /// As it was given, with the password.
    #[must_use]
    pub fn reveal(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Server(
                _,
                ServerUrl {
                    server,
                    database,
                    options,
                    ..
                },
            ) => format!("{server}{database}{options}"),
        }
    }

    /// The name of the database or, of SQLite, that of the directory.
    #[must_use]
    pub fn database(&self) -> Cow<'_, str> {
        match self {
            Self::Sqlite(path) => path.file_name().unwrap_or_default().to_string_lossy(),
            Self::Server(_, url) => url.database.as_str().into(),
        }
    }

    /// A part of what is for all: a file in the directory, the database itself of which each takes a schema, or a database
    /// whose name begins with it.
    #[must_use]
    pub(super) fn part(&self, name: &str) -> Self {
        match self {
            Self::Sqlite(directory) => Self::Sqlite(directory.join(format!("{name}.sqlite"))),
            Self::Server(Driver::Postgres, _) => self.clone(),
            Self::Server(driver, url) => {
                let part = ServerUrl {
                    database: format!("{}_{name}", url.database),
                    is_made: true,
                    ..url.clone()
                };
                Self::Server(*driver, part)
            }
        }
    }
}

/// What speaks to a database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// MongoDB.
    Mongodb,
}

impl Driver {
    /// The Cargo feature that it is built in with.
    pub(super) fn feature(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mongodb => "mongodb",
        }
    }

    fn is_built_in(self) -> bool {
        match self {
            Self::Postgres => cfg!(feature = "postgres"),
            Self::Mysql => cfg!(feature = "mysql"),
            Self::Mongodb => cfg!(feature = "mongodb"),
        }
    }
}

/// `scheme://user:password@host:port/database?options`, cut around the database.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "it has the password")]
pub struct ServerUrl {
    /// `scheme://user:password@host:port/`.
    server: String,
    pub(super) database: String,
    /// Whether the database is made, if it is not there.
    is_made: bool,
    /// With its question mark, or empty.
    options: String,
}

impl ServerUrl {
    /// Whether both lead to one database, however they do.
    pub(super) fn is_same_database(&self, other: &Self) -> bool {
        self.server == other.server && self.database == other.database
    }

    /// The whole of it, with the password. A database that is to be made cannot be connected to.
    #[cfg(any(feature = "postgres", feature = "mysql", feature = "mongodb"))]
    pub(super) fn reveal(&self) -> String {
        let database = if self.is_made { "" } else { &self.database };
        format!("{}{database}{}", self.server, self.options)
    }
}

impl FromStr for StoreUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "use sqlite:PATH, postgres://…, mysql://… or mongodb://…";
        let (scheme, rest) = text.split_once(':').ok_or_else(|| anyhow!("is no URL; {known}"))?;
        let driver = match scheme {
            "sqlite" if rest.is_empty() => bail!("names no path; use sqlite:PATH"),
            "sqlite" => return Ok(Self::Sqlite(rest.strip_prefix("//").unwrap_or(rest).into())),
            "postgres" | "postgresql" => Driver::Postgres,
            "mysql" | "mariadb" => Driver::Mysql,
            "mongodb" | "mongodb+srv" => Driver::Mongodb,
            _ => bail!("there is no driver for {scheme}; {known}"),
        };
        if !driver.is_built_in() {
            let feature = driver.feature();
            bail!(
                "the driver for {scheme} is not built in; build with `--features {feature}`, or `--features full` for all"
            );
        }
        Ok(Self::Server(driver, server_url(text)?))
    }
}

fn server_url(text: &str) -> Result<ServerUrl> {
    let example = "write scheme://user:password@host:port/database";
    let (_, rest) = text.split_once("://").ok_or_else(|| anyhow!("is no URL; {example}"))?;
    let (authority, path) = rest
        .split_once('/')
        .ok_or_else(|| anyhow!("names no database; {example}"))?;
    let (database, _) = path.split_once('?').unwrap_or((path, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if authority.is_empty() {
        bail!("names no server; {example}");
    }
    if path.contains('@') {
        // What stands before it belongs to a password, then, and is not repeated.
        bail!("has an @ behind a /; write / in a name or password as %2F, and @ as %40");
    }
    if database.is_empty() || !database.chars().all(is_plain) {
        bail!("must name a database of letters, digits, _ and -; {example}");
    }
    let (server, options) = (text.len() - path.len(), text.len() - path.len() + database.len());
    Ok(ServerUrl {
        server: text[..server].to_owned(),
        database: database.to_owned(),
        is_made: false,
        options: text[options..].to_owned(),
    })
}

/// Without the password, and without options, which may hold one too.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerUrl { server, database, .. } = match self {
            Self::Sqlite(path) => return write!(f, "sqlite:{}", path.display()),
            Self::Server(_, url) => url,
        };
        match server.rsplit_once('@') {
            Some((user, host)) => {
                let (scheme, user) = user.split_once("://").unwrap_or(("", user));
                let (user, _) = user.split_once(':').unwrap_or((user, ""));
                write!(f, "{scheme}://{user}@{host}{database}")
            }
            None => write!(f, "{server}{database}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<StoreUrl>().expect_err("it is refused").to_string()
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        for text in ["sqlite:/a/b.sqlite", "sqlite:///a/b.sqlite"] {
            assert_eq!(
                text.parse::<StoreUrl>().unwrap(),
                StoreUrl::Sqlite("/a/b.sqlite".into())
            );
        }
        assert!(error("sqlite:").contains("sqlite:PATH"));
    }

    #[test]
    fn what_has_no_driver_is_refused_with_those_that_there_are() {
        for text in ["oracle://h/d", "", "orders.db", "/a/b"] {
            assert!(
                error(text).contains("use sqlite:PATH, postgres://"),
                "{text}: {}",
                error(text)
            );
        }
    }

    #[test]
    #[cfg(not(feature = "postgres"))]
    fn a_driver_that_is_not_built_in_is_named_by_its_feature() {
        assert!(error("postgres://h/d").contains("--features postgres"));
    }

    #[test]
    fn a_server_is_cut_around_its_database() {
        let url = server_url("mysql://me:p/w@h:1/shop?ssl-mode=required");
        assert!(url.is_err(), "a slash must be written as %2F");
        let url = server_url("mysql://me:pw@h:1/shop?ssl-mode=required").unwrap();
        assert_eq!(
            (&*url.server, &*url.database, &*url.options),
            ("mysql://me:pw@h:1/", "shop", "?ssl-mode=required")
        );
        for text in ["mysql://h", "mysql://h/", "mysql:///d", "mysql://h/a b", "mysql:h/d"] {
            assert!(server_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_password_is_not_taken_for_a_database() {
        let error = server_url("postgres://me:ab/cd?ef@host/db")
            .err()
            .expect("it is refused");
        assert!(
            error.to_string().contains("%2F") && !error.to_string().contains("ab"),
            "{error}"
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        let url = StoreUrl::Server(
            Driver::Postgres,
            server_url("postgres://me:secret@h:1/shop?password=secret").unwrap(),
        );
        assert_eq!(url.to_string(), "postgres://me@h:1/shop");
        assert_eq!(format!("{url:?}"), "StoreUrl(postgres://me@h:1/shop)");
    }

    #[test]
    fn services_share_a_postgres_database_and_have_one_each_elsewhere() {
        let url = server_url("mysql://h/shop?x=y").unwrap();
        let postgres = StoreUrl::Server(Driver::Postgres, url.clone());
        assert_eq!(postgres.part("orders"), postgres);
        let mysql = StoreUrl::Server(Driver::Mysql, url).part("orders");
        assert_eq!(mysql.to_string(), "mysql://h/shop_orders");
        let sqlite = StoreUrl::Sqlite("/a".into()).part("orders");
        assert_eq!(sqlite.to_string(), "sqlite:/a/orders.sqlite");
    }
}
