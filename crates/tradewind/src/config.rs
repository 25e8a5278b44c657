//! Configuration: defaults in the binary, then `tradewind.toml`, then `TRADEWIND_*` variables, which a `.env` file may
//! hold. One flat list of settings; `listen` in the file is `TRADEWIND_LISTEN` in the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use contracts::{Email, Password, Service};

mod legacy;
mod value;

use value::Setting;
pub use value::{Concealed, List, Span};

use crate::buses::BusUrl;
use crate::data::DataDirectory;
use crate::limits::CounterUrl;
use crate::stores::{Place, StoreUrl};

/// The file looked for in the working directory unless `--config` names another.
pub const FILE: &str = "tradewind.toml";
/// Read from the directory that the command is run in, if it is there.
const DOTENV: &str = ".env";
const PREFIX: &str = "TRADEWIND_";
/// A name that is at least so like a setting's (Jaro-Winkler, from 0 to 1) is taken for a slip.
const RESEMBLES: f64 = 0.85;
/// What no list of words has.
const SERVICE_SECRET_CHARACTERS_MIN: usize = 32;
/// A variable that a command reads in place of an argument; it is no setting.
const TOKEN: &str = "TRADEWIND_TOKEN";

/// Declares the settings: name, type, default, and what it means.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $Type:ty = $default:literal;)+) => {
        /// All settings, validated.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $Type,)+
            /// Where each setting's value is from, in order of declaration.
            pub shown: Vec<Shown>,
            /// What a person should know about the configuration.
            pub notes: Vec<String>,
        }

        const NAMES: &[&str] = &[$(stringify!($name)),+];

        impl Config {
            fn parse(values: &mut Values) -> Result<Self> {
                let (mut shown, mut wrong) = (Vec::new(), Vec::new());
                $(let $name = values
                    .take::<$Type>(stringify!($name), $default, &[$($doc),+], &mut shown)
                    .map_err(|error| wrong.push(error.to_string()))
                    .ok();)+
                // Whoever has several mistakes to mend is told of all of them.
                let ($(Some($name),)+) = ($($name,)+) else {
                    bail!(wrong.join("; "));
                };
                Ok(Self { $($name,)+ shown, notes: Vec::new() })
            }
        }
    };
}

settings! {
    /// Where the process listens. Port 0 takes any free one.
    listen: SocketAddr = "127.0.0.1:3000";
    /// The directory of the embedded stores, the payment ledger and the first admin's password.
    data: PathBuf = "./tradewind-data";
    /// The database of all services: `sqlite:DIRECTORY`, `postgres://…` (each service in a schema of its own), `mysql://…` or
    /// `mongodb://…` (each in a database of its own, whose name begins with the one given). Without it they are in SQLite
    /// files in the data directory.
    store: Option<StoreUrl> = "";
    /// The store of users alone, in place of its part of `store`.
    users_store: Option<StoreUrl> = "";
    /// The store of catalog alone, in place of its part of `store`.
    catalog_store: Option<StoreUrl> = "";
    /// The store of inventory alone, in place of its part of `store`.
    inventory_store: Option<StoreUrl> = "";
    /// The store of orders alone, in place of its part of `store`.
    orders_store: Option<StoreUrl> = "";
    /// The store of payments alone, in place of its part of `store`.
    payments_store: Option<StoreUrl> = "";
    /// The store of notifications alone, in place of its part of `store`.
    notifications_store: Option<StoreUrl> = "";
    /// The store of events alone, in place of its part of `store`.
    events_store: Option<StoreUrl> = "";
    /// How events go between services: `embedded:` within one process, or the URL of a broker (`nats://user:password@host:port`,
    /// `kafka://…`, `amqp://…` for RabbitMQ, `redis://…`).
    bus: BusUrl = "embedded:";
    /// Where replicas of users listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    users_url: List<gateway::BaseUrl> = "";
    /// Where replicas of catalog listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    catalog_url: List<gateway::BaseUrl> = "";
    /// Where replicas of inventory listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    inventory_url: List<gateway::BaseUrl> = "";
    /// Where replicas of orders listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    orders_url: List<gateway::BaseUrl> = "";
    /// Where replicas of payments listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    payments_url: List<gateway::BaseUrl> = "";
    /// Where replicas of notifications listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    notifications_url: List<gateway::BaseUrl> = "";
    /// Where replicas of events listen (`http://host:port`, separated by commas), for processes that need it and do not run it.
    events_url: List<gateway::BaseUrl> = "";
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,orders=debug`. The server logs info
    /// unless told otherwise, other commands warn.
    log: Option<String> = "";
    /// How logs look: `text` for people, `json` for machines.
    log_format: LogFormat = "text";
    /// Requests without a token, per address.
    rate_limit_anonymous: gateway::config::Rate = "100/15m";
    /// Requests with a token, per user.
    rate_limit_user: gateway::config::Rate = "6000/15m";
    /// All requests of an address, whoever sends them.
    rate_limit_ip: gateway::config::Rate = "off";
    /// The Redis in which all gateways count requests together (`redis://user:password@host:port`, or `rediss://…` for TLS).
    /// Without it, and while it is away, each gateway counts for itself.
    redis: Option<CounterUrl> = "";
    /// Proxies whose X-Forwarded-For is believed: addresses or networks, separated by commas.
    trusted_proxies: List<gateway::config::Network> = "";
    /// Web origins that may call the API from a browser, separated by commas; `*` is any.
    cors_origins: List<String> = "";
    /// How long a request may take.
    request_timeout: Span = "30s";
    /// How long a confirmed order waits for its payment.
    payment_window: Span = "30m";
    /// The file in which the simulated payment provider keeps its ledger: one for all replicas of payments. Without it the ledger
    /// is in the data directory.
    simulated_ledger: Option<PathBuf> = "";
    /// A directory with message templates that replace the built-in ones.
    templates: Option<PathBuf> = "";
    /// The first admin's e-mail, made at the first start.
    admin_email: Option<Email> = "";
    /// The first admin's password.
    admin_password: Option<Concealed> = "";
    /// What services show each other to get a token of their own: 32 characters or more.
    service_secret: Option<Concealed> = "";
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => bail!("must be `text` or `json`"),
        }
    }
}

/// A setting as `config print` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    /// Its name.
    pub name: &'static str,
    /// Its value as text; secrets are concealed.
    pub value: String,
    /// `default`, a file's path, or a variable's name.
    pub from: String,
    /// What it means.
    pub meaning: String,
}

/// The values that files and the environment give, before they are parsed.
#[derive(Debug, Default)]
struct Values {
    given: BTreeMap<String, (String, String)>,
}

impl Values {
    fn take<T: Setting>(
        &mut self,
        name: &'static str,
        default: &str,
        meaning: &[&str],
        shown: &mut Vec<Shown>,
    ) -> Result<T> {
        let (value, from) = self
            .given
            .remove(name)
            .unwrap_or_else(|| (default.to_owned(), "default".to_owned()));
        let parsed = T::parse(&value).map_err(|error| match T::SECRET {
            true => anyhow!("{name} (from {from}): {error}"),
            false => anyhow!("{name} = {value:?} (from {from}): {error}"),
        })?;
        let meaning = meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        shown.push(Shown {
            name,
            value: parsed.shown(&value),
            from,
            meaning,
        });
        Ok(parsed)
    }

    fn add_file(&mut self, path: &Path, text: &str) -> Result<()> {
        let table: toml::Table = text
            .parse()
            .with_context(|| format!("{} is not TOML", path.display()))?;
        for (name, value) in table {
            check_name(&name, &format!("{} in {}", name, path.display()))?;
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Array(entries) => join(&entries)?,
                toml::Value::Integer(_) | toml::Value::Boolean(_) => value.to_string(),
                _ => bail!(
                    "{name} in {}: must be text, a number or a list of texts",
                    path.display()
                ),
            };
            self.given.insert(name, (value, path.display().to_string()));
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        from: impl Fn(&str) -> String,
    ) -> Result<()> {
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(PREFIX).filter(|_| variable != TOKEN) else {
                continue;
            };
            let name = name.to_ascii_lowercase();
            check_name(&name, &variable)?;
            self.given.insert(name, (value, from(&variable)));
        }
        Ok(())
    }
}

fn join(entries: &[toml::Value]) -> Result<String> {
    let texts = entries
        .iter()
        .map(|entry| entry.as_str().ok_or_else(|| anyhow!("a list must hold texts")));
    Ok(texts.collect::<Result<Vec<_>>>()?.join(","))
}

/// The `.env` file in this directory, if there is one.
fn dotenv(path: &Path) -> Result<Vec<u8>> {
    if !path
        .try_exists()
        .with_context(|| format!("cannot look for {}", path.display()))?
    {
        return Ok(Vec::new());
    }
    std::fs::read(path).with_context(|| format!("the file {} cannot be read", path.display()))
}

/// The environment's variables, but for those that are no text, which are none of ours.
fn environment() -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => drop(variables.insert(name, value)),
            (Ok(name), Err(_)) if name.starts_with(PREFIX) => bail!("{name} is not UTF-8"),
            _ => {}
        }
    }
    Ok(variables)
}

fn check_name(name: &str, shown: &str) -> Result<()> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    let resembles = |known: &&&str| strsim::jaro_winkler(known, name) > RESEMBLES || known.contains(name);
    let likeness = |known: &&&str| strsim::jaro_winkler(known, name);
    let near = NAMES.iter().filter(resembles);
    match near.max_by(|one, other| likeness(one).total_cmp(&likeness(other))) {
        Some(near) => bail!("{shown} is not a setting; did you mean `{near}`? `tradewind config print` lists all"),
        None => bail!("{shown} is not a setting; `tradewind config print` lists all"),
    }
}

impl Config {
    /// Reads `.env`, the file and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let dotenv = dotenv(Path::new(DOTENV))?;
        let environment = environment()?;
        let file = file.or_else(|| Some(Path::new(FILE)).filter(|file| file.exists()));
        let file = file.map(|path| match std::fs::read_to_string(path) {
            Ok(text) => Ok((path, text)),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        });
        let file = file.transpose()?;
        Self::read(file.as_ref().map(|(path, text)| (*path, &**text)), &dotenv, environment)
    }

    /// Makes sense of a file, of what is in `.env`, and of the environment's variables.
    pub fn read(file: Option<(&Path, &str)>, dotenv: &[u8], environment: BTreeMap<String, String>) -> Result<Self> {
        let dotenv = dotenvy::from_read_iter(dotenv).collect::<dotenvy::Result<BTreeMap<_, _>>>();
        let dotenv = dotenv.with_context(|| format!("the file {DOTENV} cannot be read"))?;
        let mut values = Values::default();
        if let Some((path, text)) = file {
            values.add_file(path, text)?;
        }
        values.add_environment(dotenv.clone(), |variable| format!("{variable} in {DOTENV}"))?;
        values.add_environment(environment.clone(), str::to_owned)?;
        let mut config = Self::parse(&mut values)?;
        config.notes = legacy::notes(&dotenv.into_iter().chain(environment).collect());
        config.check()?;
        config.note_weak_secret();
        Ok(config)
    }

    /// The defaults with some settings given, for servers that commands start for themselves.
    pub fn with(settings: &[(&str, &str)]) -> Result<Self> {
        let mut values = Values::default();
        for (name, value) in settings {
            check_name(name, name)?;
            values
                .given
                .insert((*name).to_owned(), ((*value).to_owned(), "this command".to_owned()));
        }
        Self::parse(&mut values)
    }

    /// The store of a service, if it has one of its own.
    #[must_use]
    pub fn store_of(&self, service: Service) -> Option<&StoreUrl> {
        let own = match service {
            Service::Users => &self.users_store,
            Service::Catalog => &self.catalog_store,
            Service::Inventory => &self.inventory_store,
            Service::Orders => &self.orders_store,
            Service::Payments => &self.payments_store,
            Service::Notifications => &self.notifications_store,
            Service::Events => &self.events_store,
        };
        own.as_ref()
    }

    /// Where other processes run the service.
    #[must_use]
    pub fn replicas_of(&self, service: Service) -> &[gateway::BaseUrl] {
        let List(replicas) = match service {
            Service::Users => &self.users_url,
            Service::Catalog => &self.catalog_url,
            Service::Inventory => &self.inventory_url,
            Service::Orders => &self.orders_url,
            Service::Payments => &self.payments_url,
            Service::Notifications => &self.notifications_url,
            Service::Events => &self.events_url,
        };
        replicas
    }

    /// Where the ledger of the simulated payment provider is.
    #[must_use]
    pub fn ledger(&self, data: &DataDirectory) -> PathBuf {
        self.simulated_ledger.clone().unwrap_or_else(|| data.ledger())
    }

    fn note_weak_secret(&mut self) {
        let secret = self.service_secret.as_ref();
        if secret.is_some_and(|secret| secret.reveal().chars().count() < SERVICE_SECRET_CHARACTERS_MIN) {
            self.notes.push(format!(
                "service_secret has fewer than {SERVICE_SECRET_CHARACTERS_MIN} characters, and whoever guesses it reads addresses: make \
                 one with `openssl rand -hex 32`"
            ));
        }
    }

    fn check(&self) -> Result<()> {
        if self.admin_email.is_some() != self.admin_password.is_some() {
            bail!(
                "admin_email and admin_password go together: set both TRADEWIND_ADMIN_EMAIL and TRADEWIND_ADMIN_PASSWORD"
            );
        }
        if self.data.as_os_str().is_empty() {
            bail!("data: must name a directory");
        }
        if let Some(password) = &self.admin_password {
            Password::try_from(password.reveal().to_owned()).map_err(|error| anyhow!("admin_password: {error}"))?;
        }
        self.bus.check().map_err(|error| anyhow!("bus: {error}"))?;
        Place::check_apart(self)?;
        notifications::check_templates(self.templates.as_deref()).map_err(|error| anyhow!("templates: {error}"))?;
        let origins = gateway::config::Origins::try_from(self.cors_origins.0.clone());
        origins.map_err(|error| anyhow!("cors_origins: {error}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
