//! What the binary is made of: configuration, wiring and the command line.

#![expect(
    unreachable_pub,
    reason = "only tests, fuzzing and the crash harness depend on it; `pub` marks what its other modules use"
)]

mod bench;
pub mod buses;
mod carry;
mod client;
mod commands;
pub mod config;
pub mod data;
mod first_admin;
pub mod limits;
mod metrics;
mod output;
mod recipients;
mod remote;
pub mod replay;
mod server;
mod stopwatch;
pub mod stores;
pub mod system;
pub mod topology;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::{admin, serve};
use crate::config::{Config, LogFormat};
use crate::system::{Around, Plain};

/// An event-driven commerce backend: it takes an order from sign-up to reserved, paid, confirmed and notified.
#[derive(Debug, Parser)]
#[command(name = "tradewind", version, propagate_version = true)]
struct Arguments {
    /// The configuration file [default: tradewind.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the shop, or some of its services in a process of their own
    Serve {
        /// Only these, with a broker between them and the others: users, catalog, inventory, orders, payments, notifications, events, and
        /// gateway, the way in
        #[arg(value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Watch an order go through all services, on a temporary store
    Demo(commands::demo::Options),
    /// Play real order history through the API, and reconcile it exactly
    Replay(commands::replay::Options),
    /// Measure what this machine can do
    Bench(commands::bench::Options),
    /// The server that `bench` measures
    #[command(hide = true)]
    BenchServer(bench::server::Options),
    /// Make an admin
    #[command(subcommand)]
    Admin(admin::Command),
    /// Follow the events of a running system
    #[command(subcommand)]
    Events(commands::api::Events),
    /// See to events that a consumer could not handle
    #[command(subcommand)]
    DeadLetters(commands::api::DeadLetters),
    /// Show how far the events of each service have come
    Status(commands::status::Options),
    /// Send a service's journal to the broker again, which heals one that has lost events
    Republish(commands::status::Republish),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Make the stores, or bring them up to date; embedded ones only while the server does not run
    Migrate(commands::migrate::Options),
    /// Move services from one database to another; the server must not run
    Copy(commands::copy::Options),
    /// Write what all services hold into a directory; the server may run
    Backup(commands::backup::Options),
    /// Fill empty stores from a backup; the server must not run
    Restore(commands::restore::Options),
    /// Fold all views anew from the journals; the server must not run
    Rebuild(commands::rebuild::Options),
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    main_with(&Plain)
}

/// The same, with something around the ports of what is served.
#[must_use]
pub fn main_with(around: &dyn Around) -> ExitCode {
    let arguments = Arguments::parse();
    // The first, and only, provider of TLS in this process.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: TLS has been set up twice");
        return ExitCode::FAILURE;
    }
    match run(arguments, around) {
        Ok(code) => code,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) if error.is::<output::Unread>() => ExitCode::from(output::UNREAD),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, around: &dyn Around) -> Result<ExitCode> {
    let config = Config::load(arguments.config.as_deref())?;
    log_to_standard_error(&config, arguments.command.default_log())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Serve { services } => serve::run(&config, &services, around).await?,
            Command::Demo(options) => unless_interrupted(Box::pin(commands::demo::run(&options))).await?,
            Command::Replay(options) => {
                return unless_interrupted(Box::pin(commands::replay::run(&config, &options))).await;
            }
            Command::Bench(options) => {
                return unless_interrupted(Box::pin(commands::bench::run(&options))).await;
            }
            Command::BenchServer(options) => Box::pin(bench::server::run(&options)).await?,
            Command::Admin(command) => admin::run(&config, command).await?,
            Command::Events(command) => commands::api::events(&config, command).await?,
            Command::DeadLetters(command) => commands::api::dead_letters(&config, command).await?,
            Command::Status(options) => commands::status::status(&config, &options).await?,
            Command::Republish(options) => commands::status::republish(&config, &options).await?,
            Command::Config(command) => commands::config::run(&config, &command)?,
            Command::Migrate(options) => commands::migrate::run(&config, &options).await?,
            Command::Copy(options) => unless_interrupted(Box::pin(commands::copy::run(&config, &options))).await?,
            Command::Backup(options) => unless_interrupted(Box::pin(commands::backup::run(&config, &options))).await?,
            Command::Restore(options) => {
                unless_interrupted(Box::pin(commands::restore::run(&config, &options))).await?
            }
            Command::Rebuild(options) => commands::rebuild::run(&config, &options).await?,
        }
        Ok(ExitCode::SUCCESS)
    });
    // What still runs was given up on.
    runtime.shutdown_background();
    done
}

/// Runs a command to its end, or until it is told to end: then it is dropped, and with it what it keeps for a while.
async fn unless_interrupted<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = serve::Signals::listen()?;
    tokio::select! {
        biased;
        done = command => done,
        () = signals.wait() => Err(Interrupted.into()),
    }
}

/// What a command exits with that was told to end: as if by SIGINT.
const INTERRUPTED: u8 = 128 + 2;

/// Somebody has told the command to end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

impl Command {
    /// What is logged unless the configuration says: commands that talk to a person are not interrupted by their server.
    fn default_log(&self) -> &'static str {
        match self {
            // What the brokers' clients say of their connections, the buses say in our words.
            Self::Serve { .. } => "info,async_nats=off,lapin=off",
            _ => "warn",
        }
    }
}

fn log_to_standard_error(config: &Config, default: &str) -> Result<()> {
    let log = config.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(log)
        .map_err(|error| anyhow!("log = {log:?}: {error}; use a level such as info, or a filter"))?;
    // Colours are for people; a log that goes to a file or a collector has none.
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_coloured)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
