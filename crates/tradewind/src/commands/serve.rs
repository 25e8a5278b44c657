//! `tradewind serve`: everything, or some of it, in one process until it is told to stop.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use contracts::Service;
use kernel::store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::buses::BusUrl;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::server::Listener;
use crate::stores::Place;
use crate::system::{Around, Plain, System};
use crate::topology::Topology;
use crate::{first_admin, metrics, server};

/// Runs until SIGTERM or SIGINT, then finishes what was accepted, unless told a second time.
pub async fn run(config: &Config, services: &[String], around: &dyn Around) -> Result<()> {
    let topology = Topology::of(services, config)?;
    // Before anything is begun: whoever asks to end while it starts is obeyed once that can be done in order.
    let mut signals = Signals::listen()?;
    let data = DataDirectory::lock(&config.data)?;
    let listener = Listener::bind(config.listen).await?;
    let address = listener.address()?;
    let system = System::start(config, &topology, &data, metrics::install()?, around).await?;
    let admin = match &system.users {
        Some(users) => first_admin::ensure(users, config, &data).await?,
        None => None,
    };
    let stop = CancellationToken::new();
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    say(&format!("Tradewind listens on http://{address}"));
    say(&format!("  data    {}", data.path().display()));
    if topology != Topology::whole() {
        say(&format!("  runs    {topology}"));
    }
    if config.bus != BusUrl::Embedded {
        say(&format!("  bus     {}", config.bus));
    }
    for line in Place::summary(config, &topology, &data) {
        say(&format!("  store   {line}"));
    }
    if let Some(admin) = admin {
        say(&format!(
            "  admin   {} with the password {}",
            admin.email, admin.password
        ));
        say(&format!(
            "          (printed once; kept in {})",
            admin.kept_in.display()
        ));
    }
    let serving = tokio::spawn(server::serve(listener, system.door.clone(), stop.clone()));
    signals.wait().await;
    say("Tradewind finishes what was accepted");
    stop.cancel();
    system.door.close_streams();
    let finish = async {
        serving.await?;
        system.stop().await;
        Ok(())
    };
    tokio::select! {
        biased;
        finished = finish => finished,
        () = signals.wait() => bail!("ended at once; what was acknowledged is stored, and goes on at the next start"),
    }
}

/// Whoever started the server may read no more of what it says; that must not keep it from ending in order.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What tells a process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Hears them from now on.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A server that a command runs for itself, on a free port.
#[derive(Debug)]
pub struct OwnServer {
    /// Where it listens.
    pub url: String,
    system: System,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    _data: DataDirectory,
}

impl OwnServer {
    /// Starts everything on the data directory of `config`, listening as it says.
    pub async fn start(config: &Config) -> Result<Self> {
        Self::start_within(config, &Topology::whole(), &Plain).await
    }

    /// The same of some parts, with something around their ports.
    pub async fn start_within(config: &Config, topology: &Topology, around: &dyn Around) -> Result<Self> {
        let data = DataDirectory::lock(&config.data)?;
        let listener = Listener::bind(config.listen).await?;
        let url = format!("http://{}", listener.address()?);
        let system = System::start(config, topology, &data, metrics::install()?, around).await?;
        if let Some(users) = &system.users {
            first_admin::ensure(users, config, &data).await?;
        }
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, system.door.clone(), stop.clone()));
        Ok(Self {
            url,
            system,
            stop,
            serving,
            _data: data,
        })
    }

    /// The journal of a service that runs in it.
    pub fn journal(&self, service: Service) -> &Arc<dyn Store> {
        self.system.journal(service)
    }

    /// Finishes what was accepted, and ends.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.system.door.close_streams();
        self.serving.await?;
        self.system.stop().await;
        // Requests that went to the background settle before the directory is let go.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}
