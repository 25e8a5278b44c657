//! Where the services' stores are, and opening them.

mod opening;
mod reading;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use contracts::Service;
use kernel::clock::{Clock, Ids};
use kernel::store::Opened;
use kernel::store::opening::Refusal;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::stores::opening::Opening;
pub use crate::stores::reading::Source;
use crate::system::{Described, SERVICES};
use crate::topology::Topology;

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
    fn feature(self) -> &'static str {
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
    database: String,
    /// Whether the database is made, if it is not there.
    is_made: bool,
    /// With its question mark, or empty.
    options: String,
}

impl ServerUrl {
    /// The whole of it, with the password. A database that is to be made cannot be connected to.
    #[cfg(any(feature = "postgres", feature = "mysql", feature = "mongodb"))]
    fn reveal(&self) -> String {
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

/// Where the store of one service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    service: Service,
    /// What its part of a database is called.
    name: &'static str,
    url: StoreUrl,
}

impl Place {
    /// As configured: its own, or its part of the one for all, or a file in the data directory.
    #[must_use]
    pub fn of(service: Service, config: &Config, data: &DataDirectory) -> Self {
        let url = match (config.store_of(service), &config.store) {
            (Some(own), _) => own.clone(),
            (None, Some(all)) => Self::part_of(all, service.as_str()),
            (None, None) => StoreUrl::Sqlite(data.store(service)),
        };
        Self::called(service, service.as_str(), url)
    }

    /// A service's part of one for all.
    #[must_use]
    pub fn within(service: Service, all: &StoreUrl) -> Self {
        Self::beside(service, service.as_str(), all)
    }

    /// A store like that of a service, under another name beside those of all services.
    #[must_use]
    pub fn beside(service: Service, name: &'static str, all: &StoreUrl) -> Self {
        Self::called(service, name, Self::part_of(all, name))
    }

    /// This one, for this service alone.
    #[must_use]
    pub fn at(service: Service, url: &StoreUrl) -> Self {
        Self::called(service, service.as_str(), url.clone())
    }

    fn called(service: Service, name: &'static str, url: StoreUrl) -> Self {
        Self { service, name, url }
    }

    /// A service's part of what all have together: a file in the directory, a schema of the database, or a database whose
    /// name begins with it.
    fn part_of(all: &StoreUrl, name: &str) -> StoreUrl {
        match all {
            StoreUrl::Sqlite(directory) => StoreUrl::Sqlite(directory.join(format!("{name}.sqlite"))),
            StoreUrl::Server(Driver::Postgres, _) => all.clone(),
            StoreUrl::Server(driver, url) => {
                let part = ServerUrl {
                    database: format!("{}_{name}", url.database),
                    is_made: true,
                    ..url.clone()
                };
                StoreUrl::Server(*driver, part)
            }
        }
    }

    /// What a person is told of the stores: those that lie elsewhere than in the data directory, one line each.
    #[must_use]
    pub fn summary(config: &Config, topology: &Topology, data: &DataDirectory) -> Vec<String> {
        let here = || SERVICES.iter().filter(|it| topology.runs(it.service));
        let shares_one = here().any(|it| config.store_of(it.service).is_none());
        let all = config.store.iter().filter(|_| shares_one).map(ToString::to_string);
        let own = here().filter(|it| config.store_of(it.service).is_some());
        let own = own.map(|it| format!("{}, of {}", Self::of(it.service, config, data), it.service));
        all.chain(own).collect()
    }

    /// Refuses a configuration in which two services would write into one store: it has room for one journal.
    pub fn check_apart(config: &Config) -> Result<()> {
        let data = DataDirectory::imagine(&config.data)?;
        let places = SERVICES.map(|described| Self::of(described.service, config, &data));
        for (number, place) in places.iter().enumerate() {
            let same = places[..number].iter().find(|other| other.is_same_store(place));
            if let Some(other) = same {
                bail!(
                    "{} and {} would share the store {place}, which has room for one of them: give each its own, or set \
                     TRADEWIND_STORE alone",
                    other.service,
                    place.service
                );
            }
        }
        Ok(())
    }

    fn is_same_store(&self, other: &Self) -> bool {
        let parts_by_name = matches!(self.url, StoreUrl::Server(Driver::Postgres, _));
        match (&self.url, &other.url) {
            (StoreUrl::Server(_, one), StoreUrl::Server(_, two)) => {
                let is_same_database = one.server == two.server && one.database == two.database;
                is_same_database && (!parts_by_name || self.name == other.name)
            }
            (one, two) => one == two,
        }
    }

    /// Whether other processes may write there too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.url, StoreUrl::Server(..))
    }

    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.url {
            StoreUrl::Sqlite(path) => Some(path),
            StoreUrl::Server(..) => None,
        }
    }

    /// Opens, and so makes and migrates, the store. The collections of `rebuild` are emptied, to be filled again.
    pub async fn open(
        &self,
        described: &Described,
        rebuild: Vec<&'static str>,
        ids: &Ids,
        clock: &dyn Clock,
    ) -> Result<Arc<dyn Opened>> {
        let opened = async { Opening::of(self, described, rebuild, ids, clock)?.open().await };
        opened.await.with_context(|| self.unopened())
    }

    /// Refuses a store that a running shop uses, as far as others may use it at all. It is made and migrated if need be.
    pub async fn check_unused(&self, described: &Described, ids: &Ids, clock: &dyn Clock) -> Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        // What its own collections lack is what a rebuild is for.
        let kernel_only = Described {
            collections: &[],
            ..*described
        };
        match self.open(&kernel_only, Vec::new(), ids, clock).await {
            Ok(store) => {
                let checked = reading::check_unused(self, store.as_ref(), clock).await;
                store.close().await;
                checked
            }
            // No shop starts on it before it is whole.
            Err(error) if is_unfinished(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What opening it would run, in order: SQL, or commands for mongosh. Changes nothing; refuses what opening refuses.
    pub async fn plan(&self, described: &Described, ids: &Ids, clock: &dyn Clock) -> Result<Vec<String>> {
        let planned = async { Opening::of(self, described, Vec::new(), ids, clock)?.plan().await };
        planned.await.with_context(|| self.unopened())
    }

    /// How a remark begins in the language of a plan.
    #[must_use]
    pub fn remark(&self) -> &'static str {
        match self.url {
            StoreUrl::Server(Driver::Mongodb, _) => "//",
            StoreUrl::Sqlite(_) | StoreUrl::Server(..) => "--",
        }
    }

    fn unopened(&self) -> String {
        format!("cannot open the store of {} at {self}", self.service)
    }
}

/// Whether a store was not opened because it is not whole: filling it was begun and not finished.
#[must_use]
pub fn is_unfinished(error: &anyhow::Error) -> bool {
    #[cfg(feature = "mongodb")]
    if let Some(store_mongodb::OpenError::Refused(refusal)) = error.downcast_ref() {
        return matches!(refusal, Refusal::Unfinished(_));
    }
    matches!(
        error.downcast_ref(),
        Some(store_sql::OpenError::Refused(Refusal::Unfinished(_)))
    )
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            StoreUrl::Sqlite(path) => write!(f, "{}", path.display()),
            StoreUrl::Server(Driver::Postgres, _) => write!(f, "{} (schema {})", self.url, self.name),
            StoreUrl::Server(..) => write!(f, "{}", self.url),
        }
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
        assert_eq!(Place::part_of(&postgres, "orders"), postgres);
        let mysql = Place::part_of(&StoreUrl::Server(Driver::Mysql, url), "orders");
        assert_eq!(mysql.to_string(), "mysql://h/shop_orders");
        let sqlite = Place::part_of(&StoreUrl::Sqlite("/a".into()), "orders");
        assert_eq!(sqlite.to_string(), "sqlite:/a/orders.sqlite");
    }
}
