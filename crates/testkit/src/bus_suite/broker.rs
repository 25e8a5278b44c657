//! Brokers that run here in private, as an adapter's tests join them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::shares::LEASE;
use servers::{Kind, Server};
use tempfile::TempDir;
use uuid::Uuid;

use super::{BrokerFactory, BusFactory, Process};

/// How one adapter joins its broker.
#[async_trait]
pub trait Joins: Send + Sync + 'static {
    /// What runs.
    const KIND: Kind;
    /// What names begin with on a broker that nobody else uses.
    const PREFIX: &'static str = "tradewind";

    /// A process whose line to the broker can be cut; one that has had this name before, if there is any.
    async fn join(process: Option<Uuid>, url: &str, prefix: &str, lanes: u16) -> Process;

    /// Waits until a broker that has just started keeps what it is told when it is killed.
    async fn settle(_: &Shared<Self>)
    where
        Self: Sized,
    {
    }
}

/// Names of its own on the broker that tests share.
pub struct Shared<J> {
    /// Where it is, with its login.
    pub url: String,
    /// What the names begin with.
    pub prefix: String,
    joins: PhantomData<J>,
}

impl<J: Joins> Shared<J> {
    /// On the one that all tests of this run share.
    #[must_use]
    pub fn new() -> Self {
        Self::on(J::KIND.shared())
    }

    /// On this one.
    #[must_use]
    pub fn on(url: String) -> Self {
        Self {
            url,
            prefix: servers::unique_name(),
            joins: PhantomData,
        }
    }

    /// A process that has had this name before.
    pub async fn join_as(&self, process: Uuid, lanes: u16) -> Process {
        J::join(Some(process), &self.url, &self.prefix, lanes).await
    }
}

impl<J: Joins> Default for Shared<J> {
    fn default() -> Self {
        Self::new()
    }
}

impl<J> fmt::Debug for Shared<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<J: Joins> BusFactory for Shared<J> {
    async fn join(&self, lanes: u16) -> Process {
        J::join(None, &self.url, &self.prefix, lanes).await
    }

    /// Brokers wait for nobody. What others go by is the lease.
    fn patience(&self) -> Duration {
        LEASE
    }
}

/// A broker that nobody else uses.
pub struct Own<J> {
    server: Arc<Mutex<Server>>,
    url: String,
    _directory: TempDir,
    joins: PhantomData<J>,
}

impl<J: Joins> Own<J> {
    /// Starts it.
    pub async fn new() -> Self {
        let directory = TempDir::new().expect("a directory for the test");
        let server = Server::start(J::KIND, &directory.path().join("broker")).expect("a broker starts");
        let own = Self {
            url: server.url(),
            server: Arc::new(Mutex::new(server)),
            _directory: directory,
            joins: PhantomData,
        };
        J::settle(&Shared::on(own.url.clone())).await;
        own
    }

    /// Starting and stopping block.
    async fn with(&self, act: impl FnOnce(MutexGuard<'_, Server>) + Send + 'static) {
        let server = Arc::clone(&self.server);
        let done = tokio::task::spawn_blocking(move || act(server.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.expect("it ends well");
    }
}

impl<J> fmt::Debug for Own<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

#[async_trait]
impl<J: Joins> BusFactory for Own<J> {
    async fn join(&self, lanes: u16) -> Process {
        J::join(None, &self.url, J::PREFIX, lanes).await
    }

    fn patience(&self) -> Duration {
        LEASE
    }
}

#[async_trait]
impl<J: Joins> BrokerFactory for Own<J> {
    async fn kill(&self) {
        self.with(|mut server| server.kill().expect("the broker runs")).await;
    }

    async fn pause(&self) {
        self.with(|server| server.pause().expect("the broker runs")).await;
    }

    async fn resume(&self) {
        self.with(|server| server.resume().expect("the broker stands still"))
            .await;
    }

    async fn start(&self) {
        self.with(|mut server| server.start_again().expect("the broker starts again"))
            .await;
    }

    async fn wipe(&self) {
        self.with(|server| server.wipe().expect("its data is there")).await;
    }
}
