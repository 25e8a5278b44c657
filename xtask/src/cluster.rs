//! A shop of many processes, as long as somebody needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use servers::{Deployed, Deployment, Kind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::services::Services;
use crate::step::Step;

const BUILD: Step = Step::cargo(
    "build",
    &["build", "--package", "tradewind", "--features", "tradewind/full"],
);
/// Two of each service behind two gateways and nginx.
const CLUSTER: &str = "cluster";
/// In place of a server's name: whichever broker was chosen.
const BROKER: &str = "broker";
/// How often it is looked at whether somebody has ended it, or a process has ended by itself.
const GLANCE: Duration = Duration::from_millis(200);

/// What is started.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What carries the events: nats, kafka, rabbitmq or redis
    #[arg(long, default_value = "nats", conflicts_with = "example")]
    broker: Kind,
    /// One of deploy/examples in place of two of each service
    #[arg(long)]
    example: Option<String>,
    /// The shop's binary, in place of one that is built now
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs it until it is told to end.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let deployment = options.deployment()?;
    if !Kind::BROKERS.contains(&options.broker) {
        bail!("{} carries no events", options.broker);
    }
    let wanted = deployment.servers();
    let kinds = wanted.iter().map(|name| kind(name, options.broker));
    let kinds = kinds.collect::<Result<BTreeSet<_>>>()?;
    let binary = match &options.binary {
        Some(binary) => binary
            .canonicalize()
            .with_context(|| format!("there is no {}", binary.display()))?,
        None => build()?,
    };
    if deployment.has_nginx()? {
        servers::install_nginx()?;
    }
    // Told by the terminal, too, the shop would not finish what it has accepted, and its databases would be gone.
    servers::keep_apart();
    let services = Services::start(&kinds.into_iter().collect::<Vec<_>>())?;
    let mut urls = BTreeMap::new();
    for name in &wanted {
        urls.insert(name.clone(), services.url(kind(name, options.broker)?)?);
    }
    let mut deployed = deployment.start(&binary, &urls, services.directory())?;
    println!("{}", told(&deployed, &urls));
    eprintln!("running until Ctrl-C; then all of it is stopped and its data removed");
    while signals.pending().next().is_none() {
        for (name, how) in deployed.ended() {
            eprintln!("{name} has ended ({how})");
        }
        std::thread::sleep(GLANCE);
    }
    eprintln!("stopping");
    drop(deployed);
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn deployment(&self) -> Result<Deployment> {
        let Some(example) = &self.example else {
            return Deployment::read(CLUSTER);
        };
        let examples = Deployment::examples()?;
        if !examples.contains(example) {
            bail!("there is no example {example}, but {}", examples.join(", "));
        }
        Deployment::read(&format!("examples/{example}"))
    }
}

fn kind(name: &str, broker: Kind) -> Result<Kind> {
    match name {
        BROKER => Ok(broker),
        name => name.parse(),
    }
}

/// Builds the shop with all that it can be built with.
fn build() -> Result<PathBuf> {
    if BUILD.replace(&[]) != ExitCode::SUCCESS {
        bail!("the shop is not built");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let binary = root.join(target).join("debug/tradewind");
    binary
        .canonicalize()
        .with_context(|| format!("there is no {}", binary.display()))
}

/// Where everything is.
fn told(deployed: &Deployed, urls: &BTreeMap<String, String>) -> String {
    let mut lines = vec![
        String::new(),
        format!("the shop    {}", deployed.way_in()),
        format!(
            "its admin   admin@example.com with the password {}",
            deployed.password()
        ),
        String::new(),
    ];
    for part in deployed.parts() {
        lines.push(format!("{:18}{:26}process {}", part.name(), part.url(), part.pid()));
    }
    lines.push(String::new());
    lines.extend(urls.iter().map(|(name, url)| format!("{name:18}{url}")));
    if let Some(log) = deployed.parts().first().and_then(|part| part.log().parent()) {
        lines.push(format!("{:18}{}", "logs", log.join("*.log").display()));
    }
    lines.join("\n")
}
