//! Real servers for tests: private instances on loopback, each on a free port and with data of its own, which are stopped
//! when they are dropped. What is missing on the machine is installed.
//!
//! Durability is left on: what these tests are about is that a commit survives.

mod certificates;
mod deployment;
mod install;
mod kafka;
mod mariadb;
mod mongodb;
mod nats;
mod other;
mod port;
mod postgres;
mod process;
mod proxy;
mod rabbitmq;
mod redis;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use crate::certificates::Certificates;
pub use crate::deployment::{Deployed, Deployment, Part};
pub use crate::install::{install, install_nginx};
pub use crate::nats::BARE_USER as NATS_BARE_USER;
pub use crate::other::Other;
pub use crate::port::free_port;
pub use crate::postgres::GUARDED_USER;
use crate::process::Process;
pub use crate::process::keep_apart;
pub use crate::proxy::Proxy;
pub use crate::rabbitmq::BARE_USER as RABBITMQ_BARE_USER;

/// How long a server may take to answer: RabbitMQ takes 4 s with the machine to itself, and was seen to take more than 60 beside
/// the tests of two of each service.
const READY_MAX: Duration = Duration::from_secs(240);

/// A program that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
    /// MongoDB, a replica set of one.
    Mongodb,
    /// NATS with JetStream.
    Nats,
    /// RabbitMQ.
    Rabbitmq,
    /// Redis.
    Redis,
    /// Apache Kafka, a broker that is its own controller.
    Kafka,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Postgres,
        Self::Mariadb,
        Self::Mongodb,
        Self::Nats,
        Self::Rabbitmq,
        Self::Redis,
        Self::Kafka,
    ];
    /// Those that keep what services have.
    pub const DATABASES: &'static [Self] = &[Self::Postgres, Self::Mariadb, Self::Mongodb];
    /// Those that carry what services tell each other.
    pub const BROKERS: &'static [Self] = &[Self::Nats, Self::Rabbitmq, Self::Redis, Self::Kafka];

    /// As it is called on a command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Mongodb => "mongodb",
            Self::Nats => "nats",
            Self::Rabbitmq => "rabbitmq",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
        }
    }

    /// The one that tests share. Panics if there is none: a test that cannot get its server fails.
    #[must_use]
    pub fn shared(self) -> String {
        let variable = self.variable();
        std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run `cargo xtask test --servers`, or `cargo xtask services`")
        })
    }

    /// The environment variable that names one to tests.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "TEST_POSTGRES_URL",
            Self::Mariadb => "TEST_MARIADB_URL",
            Self::Mongodb => "TEST_MONGODB_URL",
            Self::Nats => "TEST_NATS_URL",
            Self::Rabbitmq => "TEST_RABBITMQ_URL",
            Self::Redis => "TEST_REDIS_URL",
            Self::Kafka => "TEST_KAFKA_URL",
        }
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        // Which the shop speaks to in the same words.
        let name = if name == "mysql" { "mariadb" } else { name };
        let found = Self::ALL.iter().find(|kind| kind.as_str() == name);
        found.copied().with_context(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("there is no server {name}, but {}", names.join(", "))
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    directory: PathBuf,
    port: u16,
    process: Process,
}

impl Server {
    /// Starts one on the data in this directory, or on new data if it is empty, and waits until it answers.
    pub fn start(kind: Kind, directory: &Path) -> Result<Self> {
        Self::start_on(kind, directory, free_port()?)
    }

    fn start_on(kind: Kind, directory: &Path, port: u16) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let start = match kind {
            Kind::Postgres => postgres::start,
            Kind::Mariadb => mariadb::start,
            Kind::Mongodb => mongodb::start,
            Kind::Nats => nats::start,
            Kind::Rabbitmq => rabbitmq::start,
            Kind::Redis => redis::start,
            Kind::Kafka => kafka::start,
        };
        let process = start(directory, port).with_context(|| format!("{kind} does not start"))?;
        Ok(Self {
            kind,
            directory: directory.to_owned(),
            port,
            process,
        })
    }

    /// Which program it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How to connect to it.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.port;
        match self.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Kind::Mariadb => format!("mysql://root@127.0.0.1:{port}/test"),
            Kind::Mongodb => format!("mongodb://127.0.0.1:{port}/test?replicaSet={}", mongodb::REPLICA_SET),
            Kind::Nats => format!("nats://{0}:{0}@127.0.0.1:{port}", nats::USER),
            Kind::Rabbitmq => format!("amqp://{0}:{0}@127.0.0.1:{port}/%2F", rabbitmq::USER),
            Kind::Redis => format!("redis://{0}:{0}@127.0.0.1:{port}", redis::USER),
            Kind::Kafka => format!("kafka://{0}:{0}@127.0.0.1:{port}", kafka::USER),
        }
    }

    /// The file of the authority that vouches for it, where a connection is to be encrypted.
    pub fn authority(&self) -> Result<PathBuf> {
        let certificates = Certificates::of(&self.directory, None)?;
        Ok(certificates.authority())
    }

    /// Kills it with SIGKILL: whatever it had not written is lost.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Removes all that it has written, after [`Server::stop`] or [`Server::kill`].
    pub fn wipe(&self) -> Result<()> {
        let directory = &self.directory;
        std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
    }

    /// Lets it stand still, with SIGSTOP: connections stay open, and nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on, after [`Server::pause`].
    pub fn resume(&self) -> Result<()> {
        self.process.signal_all(Signal::CONT)
    }

    /// Databases on it for one shop.
    pub fn fresh(&self) -> Result<Fresh> {
        Fresh::on(self.kind, self.url(), unique_name())
    }

    /// Starts it again on the same port, and on the same data unless that was removed.
    pub fn start_again(&mut self) -> Result<()> {
        *self = Self::start_on(self.kind, &self.directory, self.port)?;
        Ok(())
    }
}

/// Databases that one test has to itself, on a server that several use. They are removed when this is dropped.
#[derive(Debug)]
pub struct Fresh {
    kind: Kind,
    server: String,
    name: String,
}

impl Fresh {
    /// Where nothing is yet, on the server that tests share.
    pub fn new(kind: Kind) -> Result<Self> {
        Self::on(kind, kind.shared(), unique_name())
    }

    /// The same, with names that begin with this word.
    pub fn called(kind: Kind, word: &str) -> Result<Self> {
        Self::on(kind, kind.shared(), format!("{word}_{}", unique_name()))
    }

    fn on(kind: Kind, server: String, name: String) -> Result<Self> {
        ensure!(Kind::DATABASES.contains(&kind), "{kind} is no database");
        if kind == Kind::Postgres {
            postgres::tell(&server, &format!("CREATE DATABASE {name}"))?;
        }
        Ok(Self { kind, server, name })
    }

    /// The URL for all services. Where each has a database of its own, its name begins with the one given.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&self.name)
    }

    /// The URL for one service, whose database is there.
    pub fn url_for(&self, service: &str) -> Result<String> {
        let name = format!("{}_{service}", self.name);
        match self.kind {
            // Each has a schema of its own there.
            Kind::Postgres => return Ok(self.url()),
            Kind::Mariadb => mariadb::tell(&self.server, &format!("CREATE DATABASE {name}"))?,
            // It is made when it is written to.
            Kind::Mongodb => {}
            Kind::Nats | Kind::Rabbitmq | Kind::Redis | Kind::Kafka => bail!("{} is no database", self.kind),
        }
        Ok(self.url_of(&name))
    }

    /// Has PostgreSQL do something in the database.
    pub fn tell(&self, statement: &str) -> Result<()> {
        ensure!(self.kind == Kind::Postgres, "{} is told nothing", self.kind);
        postgres::tell(&self.url(), statement)
    }

    fn url_of(&self, database: &str) -> String {
        let (server, rest) = self.server.rsplit_once('/').expect("a server's URL has a path");
        let options = rest.find('?').map_or("", |at| &rest[at..]);
        format!("{server}/{database}{options}")
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let removed = match self.kind {
            Kind::Postgres => postgres::tell(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)),
            Kind::Mariadb => mariadb::drop_all(&self.server, &self.name),
            Kind::Mongodb => mongodb::drop_all(&self.server, &self.name),
            Kind::Nats | Kind::Rabbitmq | Kind::Redis | Kind::Kafka => Ok(()),
        };
        if let Err(error) = removed {
            eprintln!("{} is left on the server: {error:#}", self.name);
        }
    }
}

/// A MongoDB that was not set up as a replica set, until it is dropped: to see that it is refused.
#[derive(Debug)]
pub struct BareMongod {
    port: u16,
    _process: Process,
}

impl BareMongod {
    /// Starts one on new data, with these arguments besides.
    pub fn start(directory: &Path, arguments: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let process = mongodb::run(directory, port, arguments).context("mongod does not start")?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A NATS that was not set up for a shop, until it is dropped: to see that it is refused.
#[derive(Debug)]
pub struct BareNats {
    port: u16,
    _process: Process,
}

impl BareNats {
    /// Starts one with this configuration, besides where it listens.
    pub fn start(directory: &Path, settings: &str) -> Result<Self> {
        let port = free_port()?;
        let process = nats::run(directory, port, settings).context("nats-server does not start")?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// How a Kafka takes its clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Anybody.
    Plaintext,
    /// Users with a password that is sent as it is.
    Plain,
    /// Users with a password that is not sent, by SCRAM-SHA-512.
    Scram,
    /// The same over TLS, by SCRAM-SHA-256.
    Tls,
}

/// A Kafka that is set up otherwise than for a shop, until it is dropped.
#[derive(Debug)]
pub struct BareKafka {
    port: u16,
    directory: PathBuf,
    _process: Process,
}

impl BareKafka {
    /// Starts one with this configuration, besides where it listens.
    pub fn start(directory: &Path, listener: Listener, settings: &str) -> Result<Self> {
        let port = free_port()?;
        let process = kafka::run(directory, port, listener, settings).context("Kafka does not start")?;
        Ok(Self {
            port,
            directory: directory.to_owned(),
            _process: process,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file of the authority that vouches for it.
    pub fn authority(&self) -> Result<PathBuf> {
        let certificates = Certificates::of(&self.directory, None)?;
        Ok(certificates.authority())
    }
}

/// A name that no other test has, for a schema or a database of its own.
#[must_use]
pub fn unique_name() -> String {
    static COUNTED: AtomicU32 = AtomicU32::new(0);
    let number = COUNTED.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{number}", std::process::id())
}
