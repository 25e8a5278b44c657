//! `tradewind bench`: what this machine can do, measured against a server in a process of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::cluster;
use crate::bench::figures::Mode;
use crate::bench::plot;
use crate::bench::report::{self, Report};
use crate::bench::run::{self, Plan};
use crate::buses::BusUrl;
use crate::output;
use crate::stores::UrlArgument;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Seconds that each measurement counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Connections to measure at
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Vec<u32>,
    /// Only these [default: all]
    #[arg(long, value_delimiter = ',', value_name = "MODE,…")]
    only: Vec<Mode>,
    /// Measure again with so many orders stored
    #[arg(long, value_name = "ORDERS")]
    preload: Option<u64>,
    /// Keep the preloaded orders in this directory, and take them from there the next time
    #[arg(long, value_name = "DIR", requires = "preload")]
    keep: Option<PathBuf>,
    /// Measure on this store in place of the embedded one, beside what its database would do at the most; may be given several
    /// times. The bench fills it: a database must have a name that begins with `bench`, a directory (sqlite:PATH) must be empty
    #[arg(long, value_name = "URL", conflicts_with = "preload")]
    store: Vec<UrlArgument>,
    /// Measure this broker between two processes, orders in the one and the rest in the other, beside the embedded bus and what the
    /// broker takes at the most; as TRADEWIND_BUS has it, and may be given several times. What was published stays there, under names
    /// of its own
    #[arg(long, value_name = "URL", conflicts_with_all = ["connections", "only", "preload", "keep", "store", "svg"])]
    cluster: Vec<UrlArgument>,
    /// Draw the figures
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Measures, and says how that compares to the targets. A target that was missed is no error.
pub async fn run(options: &Options) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build, many times slower; measure with `cargo run --release -- bench`");
    }
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::default_spinner());
    match options.cluster.as_slice() {
        [] => modes(options, &progress).await?,
        urls => buses(options, urls, &progress).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The shop in one process.
async fn modes(options: &Options, progress: &ProgressBar) -> Result<()> {
    let only = options.only.as_slice();
    let stores = options.store.iter().map(|url| url.parse("--store"));
    let plan = Plan {
        duration: Duration::from_secs(options.seconds),
        connections: options.connections.clone(),
        modes: match only {
            [] => Mode::value_variants().to_vec(),
            _ => only.to_vec(),
        },
        preload: options.preload,
        keep: options.keep.clone(),
        stores: stores.collect::<Result<_>>()?,
    };
    ensure!(!plan.connections.is_empty(), "--connections names no number");
    // Before the work rather than after it: what cannot be written is known now.
    let mut drawing = options.svg.as_deref().map(drawing).transpose()?;
    progress.enable_steady_tick(TICK);
    if !options.json {
        output::line(report::heading())?;
    }
    let figures = run::run(&plan, progress, |row| match options.json {
        true => Ok(()),
        false => progress.suspend(|| output::line(report::line(row))),
    })
    .await?;
    progress.finish_and_clear();
    if let Some(file) = &mut drawing {
        file.set_len(0)?;
        file.write_all(plot::svg(&figures)?.as_bytes())?;
    }
    let report = Report::new(figures);
    match options.json {
        true => output::json(&report),
        false => report.print(),
    }
}

/// Brokers between two processes.
async fn buses(options: &Options, urls: &[UrlArgument], progress: &ProgressBar) -> Result<()> {
    let plan = cluster::Plan {
        duration: Duration::from_secs(options.seconds),
        buses: urls.iter().map(|url| url.parse("--cluster")).collect::<Result<_>>()?,
    };
    ensure!(
        !plan.buses.contains(&BusUrl::Embedded),
        "--cluster: the embedded bus is within one process, and is measured beside each broker: name a broker"
    );
    progress.enable_steady_tick(TICK);
    let figures = cluster::run(&plan, progress, |row| match options.json {
        true => Ok(()),
        false => progress.suspend(|| cluster::show(row)),
    })
    .await?;
    progress.finish_and_clear();
    let report = cluster::Report::new(figures);
    match options.json {
        true => output::json(&report),
        false => report.print(),
    }
}

/// The file to draw in, whose old content stays until there is another.
fn drawing(path: &Path) -> Result<File> {
    let file = File::options().append(true).create(true).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}
