//! `tradewind replay FILE.csv`: real order history played through the API, and reconciled exactly.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use contracts::Currency;
use indicatif::{ProgressBar, ProgressStyle};
use kernel::clock::Ids;

use crate::commands::serve::OwnServer;
use crate::config::Config;
use crate::output;
use crate::replay::{Plan, Player, Rejected, Report, read, reconcile};

/// A small history of the project's own making.
const SAMPLE: &[u8] = include_bytes!("../../data/sample.csv");
const ADMIN: &str = "admin@replay.example";
const PASSWORD: &str = "only for this replay";

/// What to play, and against whom.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Order history with the columns of the UCI "Online Retail" data set [default: a built-in sample]
    file: Option<PathBuf>,
    /// A running server, as its admin (TRADEWIND_ADMIN_EMAIL, TRADEWIND_ADMIN_PASSWORD) [default: one of its own]
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// Where rows go that cannot be played [default: FILE.rejects.csv in the working directory]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// The currency of the prices
    #[arg(long, default_value = "GBP", value_parser = currency)]
    currency: Currency,
    /// The report as JSON
    #[arg(long)]
    json: bool,
}

fn currency(code: &str) -> Result<Currency, String> {
    Currency::from_code(code).ok_or_else(|| format!("{code} is no ISO 4217 currency, such as GBP"))
}

/// Plays and reports; fails if anything differs from the file.
pub async fn run(config: &Config, options: &Options) -> Result<ExitCode> {
    let rows = match &options.file {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            read(file).with_context(|| path.display().to_string())?
        }
        None => read(SAMPLE)?,
    };
    let plan = Plan::new(rows, options.currency);
    let rejects = write_rejects(options, &plan.rejected)?;
    let report = match &options.against {
        Some(url) => {
            let (email, password) = config
                .admin_email
                .as_ref()
                .zip(config.admin_password.as_ref())
                .ok_or_else(|| {
                    anyhow!("--against signs in as the admin: set TRADEWIND_ADMIN_EMAIL and TRADEWIND_ADMIN_PASSWORD")
                })?;
            let run = format!("~{:08x}", random());
            let player = Player::new(url, email.as_str(), password.reveal(), options.currency, run).await?;
            play(&player, &plan, options).await?
        }
        None => Box::pin(play_on_own_server(&plan, options)).await?,
    };
    match options.json {
        true => output::json(&report)?,
        false => {
            report.print()?;
            if let Some(path) = rejects {
                output::line(format_args!("Rows that could not be played are in {}.", path.display()))?;
            }
        }
    }
    Ok(if report.exact {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn play_on_own_server(plan: &Plan, options: &Options) -> Result<Report> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let config = Config::with(&[
        ("listen", "127.0.0.1:0"),
        ("data", &directory.path().join("data").to_string_lossy()),
        ("rate_limit_anonymous", "off"),
        ("rate_limit_user", "off"),
        ("admin_email", ADMIN),
        ("admin_password", PASSWORD),
    ])?;
    let server = OwnServer::start(&config).await?;
    let player = Player::new(&server.url, ADMIN, PASSWORD, options.currency, String::new()).await?;
    let report = play(&player, plan, options).await;
    server.stop().await?;
    report
}

async fn play(player: &Player, plan: &Plan, options: &Options) -> Result<Report> {
    let bar = |name: &'static str, length: usize| -> Result<ProgressBar> {
        let bar = if options.json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(length as u64)
        };
        bar.set_style(ProgressStyle::with_template(
            "{prefix:<10} {wide_bar} {pos}/{len} {eta}",
        )?);
        bar.set_prefix(name);
        Ok(bar)
    };
    let products = bar("products", plan.products.len())?;
    player.create_products(plan, &products).await?;
    products.finish_and_clear();
    let orders = bar("orders", plan.invoices.len())?;
    let played = player.play(plan, &orders).await?;
    orders.finish_and_clear();
    let compared = bar("reconciled", plan.products.len() + plan.invoices.len())?;
    let reconciled = reconcile(player, plan, &played.orders, &compared).await?;
    compared.finish_and_clear();
    Report::new(plan, &played, reconciled, options.currency)
}

/// Writes the rows that cannot be played, with the reason. No file if there are none.
fn write_rejects(options: &Options, rejected: &[Rejected]) -> Result<Option<PathBuf>> {
    if rejected.is_empty() {
        return Ok(None);
    }
    let name = options
        .file
        .as_deref()
        .and_then(Path::file_stem)
        .map_or("sample".into(), |stem| stem.to_string_lossy());
    let path = options
        .rejects
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.rejects.csv")));
    let writer = csv::Writer::from_path(&path);
    let mut writer =
        writer.with_context(|| format!("cannot write {}; choose another with --rejects", path.display()))?;
    writer.write_record(crate::replay::COLUMNS.iter().chain(&["Line", "Reason"]))?;
    for Rejected { row, reason } in rejected {
        let line = row.line.to_string();
        writer.write_record(row.fields.iter().map(String::as_str).chain([line.as_str(), reason]))?;
    }
    writer.flush()?;
    Ok(Some(path))
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    Ids::from_entropy().fill(&mut bytes);
    u32::from_be_bytes(bytes)
}
